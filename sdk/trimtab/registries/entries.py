"""Read instances as people and servers write them; skip and log what cannot be read.

An answer of a registry may hold anything. So one bad entry costs that entry alone, messages are
few and short, and the work grows with the number of entries and no faster.
"""

from __future__ import annotations

import ipaddress
import json
import logging
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from trimtab.errors import (
    ConfigurationError,
    InvalidInstanceError,
    RegistryAnswerError,
    RegistryRequestError,
)
from trimtab.instance import MAX_PRIORITY, Instance, Status

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

__all__ = [
    "FIELDS",
    "MOST_ENTRIES",
    "Complaints",
    "StatusWords",
    "check_case",
    "check_protocol",
    "gather",
    "plain_name",
    "priority_of",
    "read_entry",
    "take_priority",
    "text_or_json",
    "usual_fields",
]

FIELDS = (
    *("host", "port", "id", "scheme", "weight", "zone", "priority", "metadata", "status"),
    "address",
)
"""The fields of an entry. `address` is `host:port` in one, or a host beside a `port`."""
MOST_ENTRIES = 250_000
"""A longer list is refused before it is read: reading it would hold up the event loop."""
_MOST_MESSAGES = 100
_MESSAGE_LENGTH = 400
_MOST_WORDS = 20
_PORT_DIGITS = 5
_PRIORITY_DIGITS = 3
_SHORT = 80

_NAMES: dict[str, tuple[str, ...]] = {
    "host": (
        "host",
        "ip",
        "ipaddr",
        "ipaddress",
        "ipv4",
        "hostip",
        "serviceaddress",
        "servicehost",
    ),
    "address": ("address", "addr", "hostport", "endpoint", "hostname"),
    "port": ("port", "serviceport"),
    # Not the id of the service: with Consul that is one for all instances.
    "id": ("id", "instanceid"),
    "scheme": ("scheme",),
    "weight": ("weight",),
    "zone": ("zone", "availabilityzone"),
    "priority": ("priority",),
    "metadata": ("metadata", "meta", "servicemeta"),
    "status": ("status", "health", "healthy", "state"),
}
"""The usual names of the fields, without case, "_" and "-". Of several the first is taken."""
_FIELD_OF = {name: field for field, names in _NAMES.items() for name in names}
_RANK_OF = {name: at for names in _NAMES.values() for at, name in enumerate(names)}


def _all(words: str, status: Status) -> dict[str, Status]:
    return dict.fromkeys(words.split(), status)


# Common words for the four states, in lower case, with "_" for spaces and hyphens.
_STATUS_WORDS: dict[str, Status] = {
    **{status.value: status for status in Status},
    **_all(
        "up healthy ok serving alive true success succeeded successful pass passed running ready "
        "active online available good green enabled started normal in_service inservice live yes "
        "1 on open reachable connected valid",
        Status.PASSING,
    ),
    **_all("warn degraded yellow partial", Status.WARNING),
    **_all(
        "down unhealthy not_serving dead false error err failed failing fail failure bad red "
        "offline inactive unavailable stopped not_ready notready no 0 crashed timeout lost "
        "unreachable terminated starting pending initializing exited closed fatal off disconnected "
        "invalid deleted removed gone",
        Status.CRITICAL,
    ),
    **_all(
        "out_of_service outofservice maintenance leaving drain drained terminating stopping "
        "shutting_down disabled deregistering cordoned paused suspended",
        Status.DRAINING,
    ),
}
_HTTP_PROTOCOLS = frozenset(
    {
        *("http", "https", "http1", "http/1.1", "http2", "h2", "h2c"),
        *("rest", "restful", "tri", "webservice", "hessian"),
    }
)

_log = logging.getLogger("trimtab.registries")


class StatusWords:
    """The meaning of a registry's words for the state of an instance.

    A word that is not known counts as critical: a request to an instance that is ill costs more
    than none. `unknown` names these words once a list is read.

    Args:
        more: meanings beside the common ones, or instead of them, in any case.

    Raises:
        ConfigurationError: a meaning is no status.
    """

    def __init__(self, more: Mapping[str, str] | None = None) -> None:
        self._meanings = dict(_STATUS_WORDS)
        self._unknown: dict[str, None] = {}
        for word, meaning in (more or {}).items():
            if meaning not in set(Status):
                raise ConfigurationError(
                    f"status_words: {word!r} means {meaning!r}; it must be one of "
                    f"{', '.join(Status)}"
                )
            self._meanings[_word(word)] = Status(meaning)

    def status_of(self, value: object) -> Status:
        """Return the meaning of a word, a boolean or a number."""
        status = self._meanings.get(_word(value))
        if status is None and len(self._unknown) < _MOST_WORDS:
            self._unknown[_short(value)] = None
        return status or Status.CRITICAL

    def unknown(self, place: str) -> tuple[str, ...]:
        """Return a message about the unknown words since the last call, if there are any."""
        words, self._unknown = list(self._unknown), {}
        if not words:
            return ()
        named = ", ".join(words)
        return (
            f"{place}: unknown status {named} counts as critical; status_words= gives its meaning",
        )


def read_entry(entry: object, *, words: StatusWords | None = None) -> Instance:
    """Make an instance of an `Instance`, a "host:port" or a table of the `FIELDS`.

    Fields may have other usual names (see `usual_fields`), and numbers may be written as text.
    Metadata that is not text is kept as JSON text.

    Args:
        entry: as the registry gives it.
        words: the meanings of statuses; without it an unknown status is an error.

    Raises:
        InvalidInstanceError: naming the field, and what it must be.
    """
    if isinstance(entry, Instance):
        return entry
    if isinstance(entry, str):
        return Instance(**_place(entry, needs_port=True))
    if not isinstance(entry, dict):
        raise InvalidInstanceError(f"{_short(entry)} is neither a table nor a 'host:port'")
    for name in entry:
        if _plain(name) not in _FIELD_OF:
            raise InvalidInstanceError(
                f"unknown field {_short(name)}; known are {', '.join(FIELDS)}"
            )
    fields = usual_fields(entry)
    where = [fields.pop(name) for name in ("host", "address") if name in fields]
    if where:
        fields = _place(where[0]) | fields
    if "host" not in fields:
        raise InvalidInstanceError(f"{_short(entry)} has no host")
    if "port" not in fields:
        is_place = usual_fields(entry).get("host") is None
        raise InvalidInstanceError(
            f"{_short(where[0])} is not 'host:port'" if is_place else f"{_short(entry)} has no port"
        )
    return Instance(**_converted(fields, words))


def usual_fields(entry: Mapping[Any, Any]) -> dict[str, Any]:
    """Return the fields of an entry that have a usual name, under our names.

    `ip`, `ServiceAddress` and `ip_addr` are names of the host, for example. Case, "_" and "-" do
    not count. Fields that are empty are left out.
    """
    found: dict[str, tuple[int, Any]] = {}
    for name, value in entry.items():
        plain = _plain(name)
        field = _FIELD_OF.get(plain)
        if field is None or value is None or value == "":
            continue
        if field not in found or _RANK_OF[plain] < found[field][0]:
            found[field] = (_RANK_OF[plain], value)
    return {field: value for field, (_, value) in found.items()}


def priority_of(value: object) -> int | None:
    """Return the priority that a value means, as a number or as text; None if it means none."""
    if isinstance(value, str) and value.isdecimal() and len(value) <= _PRIORITY_DIGITS:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MAX_PRIORITY:
        return None
    return value


def take_priority(metadata: dict[str, str]) -> int:
    """Return an instance's own priority, and take it out of its metadata; 0 without one.

    What is no priority stays there: other writers use this name with another meaning.
    """
    priority = priority_of(metadata.get("priority"))
    if priority is None:
        return 0
    del metadata["priority"]
    return priority


def plain_name(service: str) -> str:
    """Return a service's name as names compare: without case, and without a dot at its end."""
    return service.lower().removesuffix(".")


def check_case(place: str, service: str, names: Iterable[str]) -> None:
    """Refuse a name that may mean several services.

    Raises:
        RegistryRequestError: several names differ by case only from this one.
    """
    wanted = plain_name(service)
    found = sorted({name for name in names if plain_name(name) == wanted})
    if len(found) > 1:
        raise RegistryRequestError(
            f"{place}: {', '.join(map(repr, found))} differ by case only, and {service!r} may mean "
            "each of them: in URLs names have no case; rename all but one"
        )


def check_protocol(protocol: str) -> None:
    """Refuse an instance that does not speak HTTP, as far as its registry tells its protocol.

    Raises:
        InvalidInstanceError: it speaks another protocol.
    """
    if protocol.lower() not in _HTTP_PROTOCOLS:
        raise InvalidInstanceError(f"it speaks {_short(protocol)} and not HTTP")


def gather(
    entries: Iterable[Any], read: Callable[[Any], Instance], *, place: str
) -> tuple[tuple[Instance, ...], tuple[str, ...]]:
    """Read all entries; return the instances, and messages about entries that were left out.

    Whatever an entry makes `read` raise, the other entries are used. The first entries that are
    left out are named, the others are counted. O(n).

    Raises:
        RegistryAnswerError: there are too many entries, or there are some and not one can be read.
    """
    found: dict[str, Instance] = {}
    skipped = _Skipped(place)
    for number, entry in enumerate(entries):
        if number >= MOST_ENTRIES:
            raise RegistryAnswerError(f"{place}: more than {MOST_ENTRIES} entries")
        try:
            instance = read(entry)
        except (ConfigurationError, RegistryAnswerError) as error:
            skipped.add(number, error)
        except Exception as error:  # noqa: BLE001 - one bad entry must not cost the others
            skipped.add(number, f"{type(error).__name__}: {error}")
        else:
            if found.setdefault(instance.id, instance) is not instance:
                skipped.add(number, f"a second instance {_short(instance.id)}")
    if skipped.count and not found:
        raise RegistryAnswerError(f"{skipped.messages[0]} (and no other entry can be read)")
    return tuple(found.values()), skipped.all()


class _Skipped:
    """Messages about the first entries that were left out, and a count of all."""

    def __init__(self, place: str) -> None:
        self._place = place
        self.messages: list[str] = []
        self.count = 0

    def add(self, number: int, why: object) -> None:
        self.count += 1
        if self.count <= _MOST_MESSAGES:
            text = str(why)
            cut = f"{text[:_MESSAGE_LENGTH]}..." if len(text) > _MESSAGE_LENGTH else text
            self.messages.append(f"{self._place}: entry {number} skipped: {cut}")

    def all(self) -> tuple[str, ...]:
        more = self.count - len(self.messages)
        if more:
            return (*self.messages, f"{self._place}: {self.count} entries are skipped in all")
        return tuple(self.messages)


class Complaints:
    """Logs each skipped entry once, and not again at every poll."""

    def __init__(self) -> None:
        self._logged: dict[str, frozenset[str]] = {}

    def about(self, service: str, skipped: tuple[str, ...]) -> None:
        """Log the messages that are new since the last answer about this service."""
        before = self._logged.pop(service, frozenset())
        for message in skipped:
            if message not in before:
                _log.warning("%s", message)
        if skipped:
            self._logged[service] = frozenset(skipped)


def text_or_json(value: object) -> str:
    """Return text as it is and other values as JSON: metadata is text.

    Raises:
        InvalidInstanceError: it is nested too deeply.
    """
    try:
        return value if isinstance(value, str) else json.dumps(value, default=str)
    except RecursionError:
        raise InvalidInstanceError("metadata is nested too deeply to be kept as text") from None


def _place(text: object, *, needs_port: bool = False) -> dict[str, Any]:
    """Read "host", "host:port" or "http://host:port"."""
    if not isinstance(text, str):
        raise InvalidInstanceError(f"{_short(text)} is not 'host:port'")
    if not needs_port and (":" not in text or _is_ipv6(text)):
        return {"host": text}
    try:
        parts = urlsplit(text if "://" in text else f"//{text}")
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise InvalidInstanceError(f"{_short(text)}: {error}") from None
    if not host or parts.path.strip("/") or (port is None and (needs_port or not parts.scheme)):
        raise InvalidInstanceError(f"{_short(text)} is not 'host:port'")
    found = {"host": host, "port": port, "scheme": parts.scheme}
    return {name: value for name, value in found.items() if value}


def _is_ipv6(text: str) -> bool:
    try:
        ipaddress.IPv6Address(text.removeprefix("[").removesuffix("]"))
    except ValueError:
        return False
    return True


def _converted(fields: Mapping[str, Any], words: StatusWords | None) -> dict[str, Any]:
    """Accept other spellings of the same value; `Instance` checks the rest."""
    result = dict(fields)
    port = result["port"]
    # A text with thousands of digits cannot be made a number; `Instance` refuses it as a text.
    if isinstance(port, str) and port.isdecimal() and len(port) <= _PORT_DIGITS:
        result["port"] = int(port)
    if isinstance(result.get("weight"), str):
        try:
            result["weight"] = float(result["weight"])
        except ValueError:
            raise InvalidInstanceError(
                f"weight {_short(result['weight'])} is not a number"
            ) from None
    if isinstance(result.get("priority"), str):
        priority = priority_of(result["priority"])
        result["priority"] = result["priority"] if priority is None else priority
    if "id" in result:
        result["id"] = text_or_json(result["id"])
    if "status" in result:
        status = result["status"]
        result["status"] = (
            words.status_of(status) if words else _STATUS_WORDS.get(_word(status), status)
        )
    if isinstance(result.get("metadata"), dict):
        result["metadata"] = {
            str(name): text_or_json(value) for name, value in result["metadata"].items()
        }
    return result


def _plain(name: object) -> str:
    return _plain_text(name) if isinstance(name, str) and len(name) <= _SHORT else ""


@lru_cache
def _plain_text(name: str) -> str:
    return name.lower().replace("_", "").replace("-", "")


def _word(value: object) -> str:
    if not isinstance(value, (str, bool, int)) or (isinstance(value, int) and not 0 <= value <= 1):
        return ""
    return str(value).strip().lower().replace(" ", "_").replace("-", "_")


def _short(value: object) -> str:
    """Return the beginning of a value, for messages; it may be large, or nested deeply."""
    try:
        text = repr(value[:_SHORT] if isinstance(value, str) else value)
    except (ValueError, RecursionError):
        return f"a {type(value).__name__} that cannot be shown"
    return text if len(text) <= _SHORT else text[: _SHORT - 3] + "..."
