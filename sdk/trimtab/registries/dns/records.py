"""The records of DNS as instances: SRV records with their targets, and plain addresses.

RFC 2782's priority is a tier: clients use the lowest number that can be reached. The numbers that
are there, such as 10, 20 and 30, become the priorities 0, 1 and 2 of instances in their order; the
number itself is in `metadata["priority"]`. On demand only the lowest one is listed.

A weight may be 0: "a very small chance", beside others above 0, and no preference where all are 0.
Ours takes 0 as "no traffic", and so such a record gets a hundredth of the smallest weight beside
it, or 1 like all the others. A target with several addresses shares its weight out among them.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, cast

from cachetools import LRUCache
from dns.rdataclass import RdataClass
from dns.rdatatype import RdataType

from trimtab.errors import InvalidInstanceError, RegistryUnavailableError
from trimtab.instance import MAX_PRIORITY, Instance
from trimtab.registries.dns.nameservers import Asked, Nameservers, absolute
from trimtab.registries.entries import gather

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from dns.name import Name
    from dns.rdata import Rdata
    from dns.rdtypes.IN.A import A
    from dns.rdtypes.IN.AAAA import AAAA
    from dns.rdtypes.IN.SRV import SRV

__all__ = [
    "AddressRecords",
    "Offer",
    "Reading",
    "Records",
    "SrvRecords",
    "offered",
    "read_addresses",
    "read_offers",
]

_MAX_LOOKUPS_AT_ONCE = 16
_MAX_TARGETS_REMEMBERED = 4096
_RETRY_S = 5.0
_NOT_OFFERED = "."
_ZERO_RATIO = 0.01


@dataclass(frozen=True, slots=True)
class Reading:
    """The instances of one service in DNS, and how long the answer holds."""

    instances: tuple[Instance, ...]
    skipped: tuple[str, ...]
    ttl_s: float


class Records(Protocol):
    """Asks DNS for the instances of a name."""

    async def read(self, place: str, name: str) -> Reading:
        """Ask for the instances of a name."""
        ...


class AddressRecords:
    """One instance per A or AAAA record, all on one port.

    Args:
        nameservers: answer the questions.
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

    Addresses in the same answer are taken, the others are asked for. A target whose address
    cannot be had at the moment keeps its last one, as RFC 8767 has it for resolvers: the list must
    not shrink with every lost packet.

    Args:
        nameservers: answer the questions.
        kinds: A, AAAA or both.
        all_priorities: list every priority, not only the lowest one.
    """

    def __init__(
        self, nameservers: Nameservers, kinds: Sequence[RdataType], *, all_priorities: bool
    ) -> None:
        self._nameservers, self._kinds = nameservers, kinds
        self._all_priorities = all_priorities
        self._known: LRUCache[str, _Addresses] = LRUCache(_MAX_TARGETS_REMEMBERED)

    async def read(self, place: str, name: str) -> Reading:
        """Ask for the SRV records of a name, and for the addresses that are missing."""
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
        """Find the addresses of all targets; a target without any has an empty list.

        Raises:
            RegistryUnavailableError: no target has an address, and one of them only for the moment.
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


@dataclass(frozen=True, slots=True, order=True)
class Offer:
    """One SRV record; `target` in lower case and with its last dot."""

    priority: int
    target: str
    port: int
    weight: int


def offered(offers: Iterable[Offer], *, all_priorities: bool = False) -> list[Offer]:
    """Return the records that count, sorted: servers shuffle them.

    A target of "." means that the service is not offered.
    """
    there = sorted(offer for offer in offers if offer.target != _NOT_OFFERED)
    if all_priorities:
        return there
    return [offer for offer in there if offer.priority == there[0].priority]


def read_offers(
    place: str, offers: Sequence[Offer], addresses: Mapping[str, Sequence[str]]
) -> tuple[tuple[Instance, ...], tuple[str, ...]]:
    """Make an instance per record and address; name the records that make none.

    Raises:
        RegistryAnswerError: there are records, and none makes an instance.
    """
    least: dict[int, float] = defaultdict(lambda: 1 / _ZERO_RATIO)
    for offer in offers:
        if offer.weight:
            least[offer.priority] = min(least.get(offer.priority, offer.weight), offer.weight)
    numbers = sorted({offer.priority for offer in offers})
    tiers = {number: min(tier, MAX_PRIORITY) for tier, number in enumerate(numbers)}
    weights = [offer.weight or least[offer.priority] * _ZERO_RATIO for offer in offers]
    entries = [
        (offer, tiers[offer.priority], address, weight / len(found))
        for offer, weight in zip(offers, weights, strict=True)
        for found in [addresses.get(offer.target) or [""]]
        for address in sorted(found)
    ]
    return gather(entries, _instance, place=place)


def read_addresses(
    place: str, addresses: Iterable[str], port: int
) -> tuple[tuple[Instance, ...], tuple[str, ...]]:
    """Make an instance per address."""
    return gather(sorted(addresses), lambda address: Instance(host=address, port=port), place=place)


def _instance(entry: tuple[Offer, int, str, float]) -> Instance:
    offer, tier, address, weight = entry
    target = offer.target.removesuffix(".")
    if not address:
        raise InvalidInstanceError(f"target {target} has no address")
    try:
        return Instance(
            host=address,
            port=offer.port,
            weight=weight,
            priority=tier,
            metadata={"priority": str(offer.priority), "target": target},
        )
    except InvalidInstanceError as error:
        raise InvalidInstanceError(f"target {target}: {error}") from None


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
    # The absence of a family may expire sooner than the addresses of the other.
    filled = [answer for answer in answers if answer.records] or answers
    texts = (record.address for answer in filled for record in _hosts(answer.records))
    return _Addresses(tuple(texts), min(answer.ttl_s for answer in filled))


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
