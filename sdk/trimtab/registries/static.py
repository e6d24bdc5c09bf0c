"""`static://host:port,host:port`: a list that never changes."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlsplit

from trimtab.errors import ConfigurationError
from trimtab.instance import MAX_PRIORITY, Instance
from trimtab.registries.entries import check_case, plain_name, priority_of
from trimtab.registries.protocol import Listing

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["StaticRegistry", "from_url"]


class StaticRegistry:
    """A fixed list of instances: the same for every service, or one per service.

    Names of services compare as the hosts of URLs do, without case and a dot at their end.

    Args:
        instances: what every service name resolves to.
        services: instances per service name; a name found here beats `instances`.
    """

    def __init__(
        self,
        instances: Iterable[Instance] = (),
        *,
        services: Mapping[str, Iterable[Instance]] | None = None,
    ) -> None:
        self._any = _distinct(instances)
        self._services = {name: _distinct(list_) for name, list_ in (services or {}).items()}
        self._names = {plain_name(name): name for name in self._services}
        self.url = "static://" + ",".join(instance.address for instance in self._any)
        # Equal lists are the same registry; weights, zones and priorities are part of the list.
        self.key = f"static {self._any!r} {self._services!r}"

    async def fetch(self, service: str) -> Listing:
        """Return the list of the service.

        Raises:
            RegistryRequestError: two services differ by case only.
        """
        check_case(self.url, service, self._services)
        name = self._names.get(plain_name(service), service)
        return Listing(instances=self._services.get(name, self._any), version="static")

    async def services(self) -> list[str]:
        """Name the services that have a list of their own."""
        return sorted(self._services)

    async def aclose(self) -> None:
        """Do nothing: nothing is open."""


def _distinct(instances: Iterable[Instance]) -> tuple[Instance, ...]:
    # Of several with one id the last counts, as in a pool.
    return tuple({instance.id: instance for instance in instances}.values())


def from_url(url: str) -> StaticRegistry:
    """Read `static://host:port[;weight=2][;zone=a][;priority=1],[::1]:8080,...`.

    Raises:
        ConfigurationError: an entry cannot be read, with the entry named.
    """
    rest = url.partition("://")[2].rstrip("/")
    if not rest:
        raise ConfigurationError(f"registry URL {url!r} lists no host:port")
    return StaticRegistry([_entry(url, text) for text in rest.split(",")])


def _entry(url: str, text: str) -> Instance:
    address, _, options = text.strip().partition(";")
    try:
        parts = urlsplit(f"//{address}")
        port = parts.port
    except ValueError as error:
        raise ConfigurationError(f"registry URL {url!r}: {text!r}: {error}") from None
    if not parts.hostname or port is None or parts.path or parts.query or parts.username:
        raise ConfigurationError(f"registry URL {url!r}: {text!r} is not host:port")
    weight, zone, priority = 1.0, "", 0
    for name, value in parse_qsl(options.replace(";", "&"), keep_blank_values=True):
        if name == "weight":
            try:
                weight = float(value)
            except ValueError:
                raise ConfigurationError(
                    f"registry URL {url!r}: {text!r}: weight {value!r} is not a number"
                ) from None
        elif name == "zone":
            zone = value
        elif name == "priority":
            priority = _priority(url, text, value)
        else:
            raise ConfigurationError(
                f"registry URL {url!r}: {text!r}: unknown option {name!r}; known are "
                "weight, zone, priority"
            )
    return Instance(host=parts.hostname, port=port, weight=weight, zone=zone, priority=priority)


def _priority(url: str, text: str, value: str) -> int:
    priority = priority_of(value)
    if priority is None:
        raise ConfigurationError(
            f"registry URL {url!r}: {text!r}: priority {value!r} is no whole number from 0, the "
            f"best, to {MAX_PRIORITY}"
        )
    return priority
