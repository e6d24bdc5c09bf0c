"""The two ways that DNS tells of instances: SRV records, and plain addresses."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, cast

from cachetools import LRUCache
from dns.rdataclass import RdataClass
from dns.rdatatype import RdataType

from trimtab.errors import RegistryUnavailableError
from trimtab.registries.dns.reading import Offer, offered, read_addresses, read_offers
from trimtab.registries.dns.resolving import Asked, Nameservers, absolute

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from dns.name import Name
    from dns.rdata import Rdata
    from dns.rdtypes.IN.A import A
    from dns.rdtypes.IN.AAAA import AAAA
    from dns.rdtypes.IN.SRV import SRV

    from trimtab.instance import Instance

__all__ = ["AddressRecords", "Reading", "Records", "SrvRecords"]

_MAX_LOOKUPS_AT_ONCE = 16
_MAX_TARGETS_REMEMBERED = 4096
_RETRY_S = 5.0


@dataclass(frozen=True, slots=True)
class Reading:
    """What DNS lists of one service, and for how long that holds."""

    instances: tuple[Instance, ...]
    skipped: tuple[str, ...]
    ttl_s: float


class Records(Protocol):
    """A way to ask DNS for the instances that a name stands for."""

    async def read(self, place: str, name: str) -> Reading:
        """Ask for the instances of a name."""
        ...


class AddressRecords:
    """One instance per A or AAAA record, all on one port.

    Args:
        nameservers: whom to ask.
        kinds: A, AAAA or both.
        port: the port of every instance.
    """

    def __init__(self, nameservers: Nameservers, kinds: Sequence[RdataType], *, port: int) -> None:
        self._nameservers, self._kinds, self._port = nameservers, kinds, port

    async def read(self, place: str, name: str) -> Reading:
        """Ask for the addresses of a name."""
        found = await _addresses(self._nameservers, absolute(place, name), self._kinds)
        instances, skipped = read_addresses(place, found.texts, self._port)
        return Reading(instances, skipped, found.ttl_s)


class SrvRecords:
    """One instance per SRV record and address of its target.

    Addresses that come along with the records are taken, the others are asked for. A target
    whose address nobody can tell at the moment keeps the one it had, as RFC 8767 has it for
    resolvers: the list must not shrink with every lost packet.

    Args:
        nameservers: whom to ask.
        kinds: A, AAAA or both.
        all_priorities: see `trimtab.registries.dns.reading`.
    """

    def __init__(
        self, nameservers: Nameservers, kinds: Sequence[RdataType], *, all_priorities: bool
    ) -> None:
        self._nameservers, self._kinds = nameservers, kinds
        self._all_priorities = all_priorities
        self._known: LRUCache[str, _Addresses] = LRUCache(_MAX_TARGETS_REMEMBERED)

    async def read(self, place: str, name: str) -> Reading:
        """Ask for the SRV records of a name, and for what addresses they lack."""
        asked = await self._nameservers.ask(absolute(place, name), RdataType.SRV)
        offers = offered(_offers(asked), all_priorities=self._all_priorities)
        found = await self._targets(place, asked, offers)
        texts = {target: addresses.texts for target, addresses in found.items()}
        instances, skipped = read_offers(place, offers, texts)
        ttls_s = (addresses.ttl_s for addresses in found.values())
        return Reading(instances, skipped, min([asked.ttl_s, *ttls_s]))

    async def _targets(
        self, place: str, asked: Asked, offers: Iterable[Offer]
    ) -> dict[str, _Addresses]:
        """Find the addresses of all targets; those that nobody knows have none.

        Raises:
            RegistryUnavailableError: not one can be told, and one of them only for the moment.
        """
        known = _brought_along(asked, self._kinds)
        found = {offer.target: known.get(offer.target, _NOTHING) for offer in offers}
        missing = [target for target, addresses in found.items() if not addresses.texts]
        turns = asyncio.Semaphore(_MAX_LOOKUPS_AT_ONCE)
        answers = await asyncio.gather(*(self._look_up(place, each, turns) for each in missing))
        trouble = None
        for target, answer in zip(missing, answers, strict=True):
            if isinstance(answer, RegistryUnavailableError):
                trouble = answer
                texts = self._known[target].texts if target in self._known else ()
                found[target] = _Addresses(texts, _RETRY_S)
            else:
                found[target] = answer
        if trouble and not any(addresses.texts for addresses in found.values()):
            raise trouble
        self._known.update(found)
        return found

    async def _look_up(
        self, place: str, target: str, turns: asyncio.Semaphore
    ) -> _Addresses | RegistryUnavailableError:
        async with turns:
            try:
                return await _addresses(self._nameservers, absolute(place, target), self._kinds)
            except RegistryUnavailableError as error:
                return error


@dataclass(frozen=True, slots=True)
class _Addresses:
    texts: tuple[str, ...]
    ttl_s: float


_NOTHING = _Addresses((), 0.0)


async def _addresses(
    nameservers: Nameservers, name: Name, kinds: Sequence[RdataType]
) -> _Addresses:
    """Ask for all addresses of a name: half of them would look like a loss of instances."""
    answers = await asyncio.gather(*(nameservers.ask(name, kind) for kind in kinds))
    # A family that is not there may have its absence forgotten sooner than addresses change.
    telling = [answer for answer in answers if answer.records] or answers
    texts = (record.address for answer in telling for record in _hosts(answer.records))
    return _Addresses(tuple(texts), min(answer.ttl_s for answer in telling))


def _hosts(records: Iterable[Rdata]) -> Iterable[A | AAAA]:
    return cast("Iterable[A | AAAA]", records)


def _offers(asked: Asked) -> Iterable[Offer]:
    for record in cast("Iterable[SRV]", asked.records):
        target = record.target.to_text().lower()
        yield Offer(record.priority, target, record.port, record.weight)


def _brought_along(asked: Asked, kinds: Sequence[RdataType]) -> dict[str, _Addresses]:
    """Read the addresses in the additional section, per name."""
    found: dict[str, _Addresses] = {}
    for rrset in asked.additional:
        if rrset.rdclass == RdataClass.IN and rrset.rdtype in kinds:
            name = rrset.name.to_text().lower()
            before = found.get(name, _Addresses((), rrset.ttl))
            texts = (*before.texts, *(record.address for record in _hosts(rrset)))
            found[name] = _Addresses(texts, min(before.ttl_s, rrset.ttl))
    return found
