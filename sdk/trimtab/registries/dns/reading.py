"""What DNS records say, in our words: SRV records to instances. No I/O.

RFC 2782's priority is a tier: clients use the lowest number that can be reached. Ours know one
list, and so the lowest tier alone is listed; `all_priorities` lists them all, each instance with
its `metadata["priority"]`, for whoever wants to do more with it.

Its weight may be 0: "a very small chance", beside others above 0, and no preference where all
are 0. Ours takes 0 as "no traffic", and so such a record gets a hundredth of the smallest weight
beside it, or 1 like all the others. A target with several addresses shares its weight out
among them.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trimtab.errors import InvalidInstanceError
from trimtab.instance import Instance
from trimtab.registries.entries import gather

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

__all__ = ["Offer", "offered", "read_addresses", "read_offers"]

_NOT_OFFERED = "."
_ZERO_RATIO = 0.01


@dataclass(frozen=True, slots=True, order=True)
class Offer:
    """One SRV record; `target` in lower case and with its last dot."""

    priority: int
    target: str
    port: int
    weight: int


def offered(offers: Iterable[Offer], *, all_priorities: bool = False) -> list[Offer]:
    """Give the records that count, in an order of their own: servers shuffle them.

    A target of "." says that the service is decidedly not offered.
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
    entries = [
        (offer, address, (offer.weight or least[offer.priority] * _ZERO_RATIO) / len(found))
        for offer in offers
        for found in [addresses.get(offer.target) or [""]]
        for address in sorted(found)
    ]
    return gather(entries, _instance, place=place)


def read_addresses(
    place: str, addresses: Iterable[str], port: int
) -> tuple[tuple[Instance, ...], tuple[str, ...]]:
    """Make an instance per address."""
    return gather(sorted(addresses), lambda address: Instance(host=address, port=port), place=place)


def _instance(entry: tuple[Offer, str, float]) -> Instance:
    offer, address, weight = entry
    target = offer.target.removesuffix(".")
    if not address:
        raise InvalidInstanceError(f"target {target} has no address")
    try:
        return Instance(
            host=address,
            port=offer.port,
            weight=weight,
            metadata={"priority": str(offer.priority), "target": target},
        )
    except InvalidInstanceError as error:
        raise InvalidInstanceError(f"target {target}: {error}") from None
