"""The DNS adapter: TTLs make a watch of a protocol that cannot push."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from trimtab.errors import ConfigurationError, RegistryRequestError, RegistryUnavailableError
from trimtab.registries.entries import Complaints
from trimtab.registries.options import digest
from trimtab.registries.protocol import Listing

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from trimtab.registries.dns.records import Reading, Records

__all__ = ["DnsPolledRegistry", "DnsRegistry"]

# The records themselves, and targets whose addresses did not come along, which take turns.
_QUESTIONS_IN_A_ROW = 3


class DnsPolledRegistry:
    """Read a service's instances from DNS whenever asked; see `DnsRegistry`.

    Ids are `host:port`; zones, schemes and health are not known to DNS. A name that is not there
    (NXDOMAIN), or has no such records, is an empty list; nameservers that cannot tell (SERVFAIL,
    REFUSED, silence) are unavailable.

    Args:
        url: the registry's URL, for people and to tell registries apart; nothing in it is secret.
        records: how to ask.
        name: the template of the names: `{service}` stands for the service.
        timeout_s: bound on one question; a whole reading may take three times that.

    Raises:
        ConfigurationError: a setting is wrong.
    """

    def __init__(self, url: str, records: Records, *, name: str, timeout_s: float = 3.0) -> None:
        if not timeout_s > 0:
            raise ConfigurationError(f"{url}: timeout_s is {timeout_s!r}; it must be more than 0")
        if "{service}" not in name:
            raise ConfigurationError(
                f"{url}: the name {name!r} must hold {{service}}, which stands for the service"
            )
        self.url = url
        self.key = f"{type(self).__name__} {url}"
        self._records, self._name = records, name
        self._timeout_s = timeout_s * _QUESTIONS_IN_A_ROW
        self._complaints = Complaints()

    async def fetch(self, service: str) -> Listing:
        """Ask for the whole list.

        Raises:
            RegistryError: see `trimtab.registries.protocol`.
        """
        listing, _ = await self._read(service)
        return listing

    async def services(self) -> list[str]:
        """Refuse: DNS has no question for that.

        Raises:
            RegistryRequestError: always.
        """
        raise RegistryRequestError(
            f"{self.url}: DNS cannot name the services in a domain; name those that you call"
        )

    async def aclose(self) -> None:
        """Do nothing: nothing stays open between two questions."""

    async def _read(self, service: str) -> tuple[Listing, float]:
        """Give the list, and for how many seconds it holds."""
        place = f"{self.url}: {service!r}"
        reading = await self._reading(place, self._name.replace("{service}", service))
        self._complaints.about(service, reading.skipped)
        instances = reading.instances
        listing = Listing(instances=instances, version=digest(instances), skipped=reading.skipped)
        return listing, reading.ttl_s

    async def _reading(self, place: str, name: str) -> Reading:
        try:
            async with asyncio.timeout(self._timeout_s):
                return await self._records.read(place, name)
        except TimeoutError:
            raise RegistryUnavailableError(
                f"{place}: no whole answer within {self._timeout_s:g} s"
            ) from None


class DnsRegistry(DnsPolledRegistry):
    """Read a service's instances from DNS, and again each time that its TTL is over.

    Args:
        url: see `DnsPolledRegistry`, also for the others not named here.
        records: how to ask.
        name: the template of the names.
        timeout_s: bound on one question.
        min_interval_s: an answer is kept so long even if its TTL is shorter; above 0.
        max_interval_s: and no longer than this. Asking before the TTL is over is never wrong,
            and whoever sets a day means it for records that do not change.
    """

    def __init__(
        self,
        url: str,
        records: Records,
        *,
        name: str,
        timeout_s: float = 3.0,
        min_interval_s: float = 1.0,
        max_interval_s: float = 300.0,
    ) -> None:
        super().__init__(url, records, name=name, timeout_s=timeout_s)
        if not 0 < min_interval_s <= max_interval_s:
            raise ConfigurationError(
                f"{url}: min_interval_s is {min_interval_s!r} and max_interval_s "
                f"{max_interval_s!r}; they must be above 0 and in this order"
            )
        self._min_interval_s, self._max_interval_s = min_interval_s, max_interval_s

    async def watch(self, service: str) -> AsyncIterator[Listing]:
        """Yield the list at once, and each time that its TTL is over.

        Raises:
            RegistryError: see `trimtab.registries.protocol`.
        """
        while True:
            listing, ttl_s = await self._read(service)
            yield listing
            await asyncio.sleep(min(max(ttl_s, self._min_interval_s), self._max_interval_s))
