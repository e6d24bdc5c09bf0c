"""Affinity: a key's instance from a hash table, and who comes next when that one cannot."""

from __future__ import annotations

from itertools import chain, islice
from typing import TYPE_CHECKING, Protocol

from trimtab.strategies.hashing import hash_keys, hash_of
from trimtab.strategies.in_flight_total import InFlightTotal
from trimtab.strategies.settings import require

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence
    from random import Random

    from trimtab.member import Member

__all__ = ["ConsistentHash", "HashTable", "check_load_factor"]

_STEPS = 32
"""How far a key goes on from its own place before chance decides."""
_DRAWS = 64
"""How often chance may decide before all are looked at: 64 in vain with a factor of 1.25 come
about once in a million requests."""
_ROUNDING = 1e-9


class HashTable(Protocol):
    """What a ring and a Maglev table have in common: owners, by number, of 64-bit hashes."""

    def owner(self, point: int) -> int:
        """Return who owns the hash."""
        ...

    def walk(self, point: int) -> Iterator[int]:
        """Yield who owns it, and then, always in the same order, who stands in for that one."""
        ...


class ConsistentHash:
    """Choose the owner of the key's hash, or the next in line.

    Someone is passed over who is excluded, or, with a load factor, whose requests in flight have
    reached `load_factor * (total + 1) * weight / weights`: nobody is ever given more than its
    share of the mean, times the factor, rounded up. A retry thus goes where the key's requests
    would go if the first instance left, and a hot key spreads over as many as it needs.

    O(log(points)) per choice; passing over costs O(len(exclude)) more, and with a factor c some
    c / (c - 1) draws. The requests in flight are counted in O(1) if the pool tells of `begun` and
    `ended`, else in O(n).

    Source: Mirrokni, Thorup, Zadimoghaddam, "Consistent Hashing with Bounded Loads", 2016.
    Deviation: after 32 steps a random place decides; one hot key would else have to pass by
    most of the instances, every time.

    Args:
        rng: places requests without a key.
        table: makes the table, from the keys of instances (sorted) and their weights.
        load_factor: the bound, above 1; None for none.
    """

    def __init__(
        self,
        rng: Random,
        table: Callable[[tuple[str, ...], tuple[float, ...]], HashTable],
        *,
        load_factor: float | None = None,
    ) -> None:
        self._rng = rng
        self._make_table = table
        self._load_factor = load_factor
        self._members: Sequence[Member] = ()
        self._table: HashTable
        self._bounds: list[float] = []
        self._in_flight = InFlightTotal()

    def update(self, members: Sequence[Member]) -> None:
        """Take the eligible members and make the table of their weights."""
        keyed = sorted(zip(hash_keys(members), members, strict=True), key=_first)
        self._members = [member for _, member in keyed]
        if not keyed:
            return
        weights = tuple([member.weight for member in self._members])
        self._table = self._make_table(tuple([key for key, _ in keyed]), weights)
        if self._load_factor is not None:
            top = max(weights)
            total = sum(weight / top for weight in weights)
            self._bounds = [self._load_factor * (weight / top) / total for weight in weights]
            self._in_flight.update(members)

    def choose(self, now: float, key: str | None, exclude: Collection[str]) -> Member:  # noqa: ARG002 - the protocol's
        """Return the key's member, or the next in line."""
        point = self._rng.getrandbits(64) if key is None else hash_of(key)
        if exclude or self._load_factor is not None:
            return self._members[self._next_in_line(point, exclude)]
        return self._members[self._table.owner(point)]

    def begun(self, member: Member) -> None:
        """Note that the pool has counted a request in flight on the member."""
        if self._load_factor is not None:
            self._in_flight.begun(member)

    def ended(self, member: Member) -> None:
        """Note that a request is no longer in flight on the member."""
        if self._load_factor is not None:
            self._in_flight.ended(member)

    def _next_in_line(self, point: int, exclude: Collection[str]) -> int:
        fits = self._fitting(exclude)
        for number in islice(self._table.walk(point), _STEPS + 8 * len(exclude)):
            if fits(number):
                return number
        if self._load_factor is not None:
            for _ in range(_DRAWS):
                number = self._table.owner(self._rng.getrandbits(64))
                if fits(number):
                    return number
        return self._first_of_all(point, fits, exclude)

    def _fitting(self, exclude: Collection[str]) -> Callable[[int], bool]:
        members, bounds = self._members, self._bounds
        if self._load_factor is None:
            return lambda number: members[number].id not in exclude
        coming = self._in_flight.now() + 1

        def fits(number: int) -> bool:
            member = members[number]
            bound = coming * bounds[number] - _ROUNDING
            return member.id not in exclude and member.in_flight < max(bound, 1)

        return fits

    def _first_of_all(
        self, point: int, fits: Callable[[int], bool], exclude: Collection[str]
    ) -> int:
        """Look at one after the other: when those who fit own next to nothing of the table.

        When all who are left are at their bound, the bound gives way.
        """
        members = self._members
        first = point % len(members)
        for number in chain(range(first, len(members)), range(first)):
            if fits(number):
                return number
        in_turn = chain(range(first, len(members)), range(first))
        return next(number for number in in_turn if members[number].id not in exclude)


def check_load_factor(strategy: str, factor: float | None) -> None:
    """Refuse a load factor that no list of instances could keep to.

    Raises:
        ConfigurationError: it is not above 1 and finite.
    """
    if factor is not None:
        wanted = "above 1 (1.25 allows a quarter more than the share), or None for no bound"
        require(f"{strategy}: load_factor", factor, wanted, lambda factor: factor > 1)


def _first(pair: tuple[str, Member]) -> str:
    return pair[0]
