"""Read services from DNS: the settings, the reader, and a watch that asks when TTLs end."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import unquote

from dns.rdatatype import RdataType

from trimtab.errors import ConfigurationError, RegistryRequestError, RegistryUnavailableError
from trimtab.hiding import shown
from trimtab.registries.dns.nameservers import Nameservers
from trimtab.registries.dns.records import AddressRecords, SrvRecords
from trimtab.registries.entries import Complaints
from trimtab.registries.protocol import ComposedRegistry, Listing
from trimtab.registries.urls import (
    Settings,
    above_zero,
    credentials,
    digest,
    duration_s,
    flag,
    hosts_of,
    path_of,
    split_options,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from random import Random

    from trimtab.registries.dns.records import Reading, Records

__all__ = ["DnsReader", "DnsSettings", "DnsWatch", "make"]

_OPTIONS = ("name", "family", "tcp", "timeout", "poll", "min_interval", "max_interval")
_OWN_OPTION = {"dns+srv": "priority", "dns+a": "port"}
_NAMES = {"dns+srv": "_{service}._tcp.{domain}", "dns+a": "{service}.{domain}"}
_FAMILIES = {"4": [RdataType.A], "6": [RdataType.AAAA], "": [RdataType.A, RdataType.AAAA]}
_MAX_PORT = 65535
# The records themselves, and two turns of targets whose addresses were not in the answer.
_QUESTIONS_IN_A_ROW = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class DnsSettings(Settings):
    """How DNS is asked.

    Attributes:
        name: the template of the names: `{service}` stands for the service.
        hosts: the nameservers with their ports; none means those of the system.
        port: the port of every instance; None asks for SRV records, which have ports.
        family: "4" asks for A records alone, "6" for AAAA alone, "" for both.
        all_priorities: list every priority of SRV records as a tier, not only the lowest one.
        tcp: ask over TCP at once.
        timeout_s: bound on one question; a whole reading may take three times that.
        poll: whether TTLs are ignored, and lists only read when asked for.
        min_interval_s: an answer is kept so long even if its TTL is shorter; above 0.
        max_interval_s: an answer is kept no longer than this. Asking before the TTL is over is
            never wrong, and a TTL of a day is meant for records that do not change.

    Raises:
        ConfigurationError: a setting is wrong.
    """

    name: str
    hosts: tuple[tuple[str, int], ...] = ()
    port: int | None = None
    family: Literal["", "4", "6"] = ""
    all_priorities: bool = True
    tcp: bool = False
    timeout_s: float = 3.0
    poll: bool = False
    min_interval_s: float = 1.0
    max_interval_s: float = 300.0

    def __post_init__(self) -> None:
        above_zero(self, "timeout_s")
        if "{service}" not in self.name:
            raise ConfigurationError(
                f"{self.url}: the name {self.name!r} must hold {{service}}, which stands for the "
                "service"
            )
        if not 0 < self.min_interval_s <= self.max_interval_s:
            raise ConfigurationError(
                f"{self.url}: min_interval_s is {self.min_interval_s!r} and max_interval_s "
                f"{self.max_interval_s!r}; they must be above 0 and in this order"
            )

    @classmethod
    def from_url(cls, url: str) -> DnsSettings:
        """Read `dns+srv://nameserver,nameserver/domain` or `dns+a://`, with options.

        Raises:
            ConfigurationError: the URL or one of its options is wrong.
        """
        scheme = url.partition("://")[0]
        base, options = split_options(url, known=(*_OPTIONS, _OWN_OPTION[scheme]))
        if credentials(base):
            raise ConfigurationError(f"registry URL {shown(url)!r}: DNS has no user and password")
        # From here on no part of the URL is secret.
        has_hosts = not base.partition("://")[2].startswith("/")
        return cls(
            url=url,
            name=_name(url, base, options),
            hosts=tuple(hosts_of(base, default_port=53)) if has_hosts else (),
            port=_port(url, options) if scheme == "dns+a" else None,
            family=_choice(url, options, "family", {"": "", "4": "4", "6": "6"}),
            all_priorities=_choice(url, options, "priority", {"all": True, "lowest": False}),
            tcp=flag(url, options, "tcp"),
            timeout_s=duration_s(url, options, "timeout", 3.0),
            poll=flag(url, options, "poll"),
            min_interval_s=duration_s(url, options, "min_interval", 1.0),
            max_interval_s=duration_s(url, options, "max_interval", 300.0),
        )


def make(settings: DnsSettings, *, rng: Random | None = None) -> ComposedRegistry:
    """Make the registry; `rng` chooses the nameserver to begin with."""
    nameservers = Nameservers(
        settings.url, settings.hosts, tcp=settings.tcp, timeout_s=settings.timeout_s, rng=rng
    )
    kinds = _FAMILIES[settings.family]
    records: Records
    if settings.port is None:
        records = SrvRecords(nameservers, kinds, all_priorities=settings.all_priorities)
    else:
        records = AddressRecords(nameservers, kinds, port=settings.port)
    reader = DnsReader(settings, records)
    watch = None if settings.poll else DnsWatch(settings, reader)
    return ComposedRegistry(settings, reader, watch=watch)


class DnsReader:
    """Reads a service's instances from DNS.

    Ids are `host:port`; DNS has no zones, schemes and health. A name that does not exist
    (NXDOMAIN), or has no such records, is an empty list; nameservers that cannot answer (SERVFAIL,
    REFUSED, silence) are unavailable.

    Args:
        settings: see `DnsSettings`.
        records: asks for the instances of one name.
    """

    def __init__(self, settings: DnsSettings, records: Records) -> None:
        self.url, self._settings, self._records = settings.url, settings, records
        self._bound_s = settings.timeout_s * _QUESTIONS_IN_A_ROW
        self._complaints = Complaints()

    async def fetch(self, service: str) -> Listing:
        """Ask for the whole list.

        Raises:
            RegistryError: see `trimtab.registries.protocol`.
        """
        listing, _ = await self.read(service)
        return listing

    async def services(self) -> list[str]:
        """Refuse: DNS has no such question.

        Raises:
            RegistryRequestError: always.
        """
        raise RegistryRequestError(
            f"{self.url}: DNS cannot name the services in a domain; name those that you call"
        )

    async def aclose(self) -> None:
        """Do nothing: nothing stays open between two questions."""

    async def read(self, service: str) -> tuple[Listing, float]:
        """Return the list, and for how many seconds it holds."""
        place = f"{self.url}: {service!r}"
        reading = await self._reading(place, self._settings.name.replace("{service}", service))
        self._complaints.about(service, reading.skipped)
        instances = reading.instances
        listing = Listing(instances=instances, version=digest(instances), skipped=reading.skipped)
        return listing, reading.ttl_s

    async def _reading(self, place: str, name: str) -> Reading:
        try:
            async with asyncio.timeout(self._bound_s):
                return await self._records.read(place, name)
        except TimeoutError:
            raise RegistryUnavailableError(
                f"{place}: no whole answer within {self._bound_s:g} s"
            ) from None


class DnsWatch:
    """Reads a service's instances again each time that their TTL is over.

    Args:
        settings: see `DnsSettings`.
        reader: reads one list.
    """

    def __init__(self, settings: DnsSettings, reader: DnsReader) -> None:
        self._settings, self._reader = settings, reader

    async def watch(self, service: str) -> AsyncIterator[Listing]:
        """Yield the list at once, and each time that its TTL is over.

        Raises:
            RegistryError: see `trimtab.registries.protocol`.
        """
        while True:
            listing, ttl_s = await self._reader.read(service)
            yield listing
            await asyncio.sleep(
                min(max(ttl_s, self._settings.min_interval_s), self._settings.max_interval_s)
            )


def _name(url: str, base: str, options: Mapping[str, list[str]]) -> str:
    scheme = url.partition("://")[0]
    name = options.get("name", [_NAMES[scheme]])[0]
    domain = unquote(path_of(base)).strip("/")
    if "{domain}" in name and not domain:
        raise ConfigurationError(
            f"registry URL {shown(url)!r}: no domain; write {scheme}://nameserver/domain, "
            "or ?name= with a name of your own that holds {service}"
        )
    return name.replace("{domain}", domain)


def _choice(url: str, options: Mapping[str, list[str]], name: str, meanings: dict[str, Any]) -> Any:
    text = options.get(name, [next(iter(meanings))])[0]
    if text not in meanings:
        known = " or ".join(each for each in meanings if each)
        raise ConfigurationError(f"registry URL {shown(url)!r}: {name}={text!r} must be {known}")
    return meanings[text]


def _port(url: str, options: Mapping[str, list[str]]) -> int:
    text = options.get("port", [""])[0]
    if not (text.isdecimal() and 0 < int(text) <= _MAX_PORT):
        raise ConfigurationError(
            f"registry URL {shown(url)!r}: port={text!r}; addresses have no port of their own: "
            f"write ?port= with a number from 1 to {_MAX_PORT}"
        )
    return int(text)
