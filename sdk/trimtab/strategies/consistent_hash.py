"""Affinity: find a key's instance in a hash table, and a stand-in when that one is passed over.

`RingHash` and `Maglev` make the tables. XXH64 gives the same hashes in every process and language.
"""

from __future__ import annotations

from collections import Counter
from itertools import chain, islice
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias, get_args

from xxhash import xxh64_intdigest

from trimtab.errors import ConfigurationError
from trimtab.strategies.settings import require

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence
    from random import Random

    from trimtab.member import Member

__all__ = [
    "ConsistentHash",
    "HashBy",
    "HashTable",
    "InFlightTotal",
    "check_hash_by",
    "check_load_factor",
    "hash_keys",
    "hash_of",
]

_STEPS = 32
"""How many places of the table are tried in order before random ones are."""
_DRAWS = 64
"""How many random places are tried before all members are looked at. With a load factor of 1.25,
64 failures in a row happen about once in a million requests."""
_ROUNDING = 1e-9


def hash_of(text: str, seed: int = 0) -> int:
    """Return the XXH64 of the text in UTF-8: 0 to 2**64 - 1."""
    return xxh64_intdigest(text.encode("utf-8", "surrogatepass"), seed)


HashBy: TypeAlias = Literal["id", "address"]
"""What stands for an instance in a hash table.

`id`: a restart at a new address moves no key. Where a registry gives no ids of its own, such as
DNS, the id is the address. `address`: as Envoy does; for clients of several registries that must
agree, and where every start makes up a new id.
"""


def hash_keys(members: Sequence[Member], by: HashBy = "id") -> list[str]:
    """Return the text that stands for each member in a hash table.

    Members that share an address get their ids appended to it. With equal hashes, one of them
    would get no traffic.
    """
    if by == "id":
        return [member.id for member in members]
    addresses = [member.instance.address for member in members]
    times = Counter(addresses)
    if len(times) == len(addresses):
        return addresses
    return [
        address if times[address] == 1 else f"{address} {member.id}"
        for address, member in zip(addresses, members, strict=True)
    ]


class HashTable(Protocol):
    """What a ring and a Maglev table have in common: each 64-bit hash has an owner, a number."""

    def owner(self, point: int) -> int:
        """Return the owner of the hash."""
        ...

    def walk(self, point: int) -> Iterator[int]:
        """Yield the owner of the hash, then its stand-ins, always in the same order."""
        ...


class ConsistentHash:
    """Choose the owner of the key's hash, or the next one in line.

    A member is passed over if it is excluded. With a load factor it is also passed over once its
    requests in flight reach `load_factor * (total + 1) * weight / weights`, so no member gets more
    than its share of the mean, times the factor, rounded up. A retry thus goes where the key's
    requests would go if the first instance left, and a hot key spreads over as many instances as
    it needs.

    O(log(points)) per choice. Passing over costs O(len(exclude)) more, and about c / (c - 1) draws
    with a load factor c. Requests in flight are counted in O(1) if the pool calls `begun` and
    `ended`, else in O(n).

    Source: Mirrokni, Thorup, Zadimoghaddam, "Consistent Hashing with Bounded Loads", 2016.
    Deviation: after 32 steps a random place decides. Otherwise a single hot key would pass by
    most of the instances at every request.

    Args:
        rng: places requests that have no key.
        table: makes the table from the keys of instances (sorted) and their weights.
        load_factor: the bound, above 1; None for no bound.
        hash_by: what stands for an instance.
    """

    def __init__(
        self,
        rng: Random,
        table: Callable[[tuple[str, ...], tuple[float, ...]], HashTable],
        *,
        load_factor: float | None = None,
        hash_by: HashBy = "id",
    ) -> None:
        self._rng = rng
        self._hash_by = hash_by
        self._make_table = table
        self._load_factor = load_factor
        self._members: Sequence[Member] = ()
        self._table: HashTable
        self._bounds: list[float] = []
        self._in_flight = InFlightTotal()

    def update(self, members: Sequence[Member]) -> None:
        """Take the eligible members and make the table of their weights."""
        keys = hash_keys(members, self._hash_by)
        keyed = sorted(zip(keys, members, strict=True), key=lambda pair: pair[0])
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
        """Return the key's member, or the next one in line."""
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
        """Look at one member after the other, when those that fit own little of the table.

        When all that are left are at their bound, the bound is ignored.
        """
        members = self._members
        first = point % len(members)
        for number in chain(range(first, len(members)), range(first)):
            if fits(number):
                return number
        in_turn = chain(range(first, len(members)), range(first))
        return next(number for number in in_turn if members[number].id not in exclude)


class InFlightTotal:
    """The requests in flight over a strategy's members, each counted by its cost.

    It is a running total while each begin and end is reported, and a sum over all members if they
    are not. After each call of `now` a `begun` should follow. If none does, the reports are missing
    (or the choice was not used), and the next call of `now` counts.

    Attributes:
        total: the running total; exact while each begin and end is reported.
    """

    __slots__ = ("_asked", "_counted", "_members", "total")

    def __init__(self) -> None:
        self._members: dict[str, Member] = {}
        self._counted: dict[str, float] = {}
        self.total: float = 0
        self._asked = 0

    def update(self, members: Sequence[Member]) -> None:
        """Count over these members from now on. O(n)."""
        self._members = {member.id: member for member in members}
        self._counted = {member.id: member.in_flight for member in members}
        self.total = self._sum()

    def begun(self, member: Member) -> None:
        """Note a request that has been counted in flight. O(1)."""
        self._asked = 0
        self._count(member)

    def ended(self, member: Member) -> None:
        """Note a request that is no longer counted in flight. O(1)."""
        self._count(member)

    def _count(self, member: Member) -> None:
        if self._members.get(member.id) is member:
            self.total += member.in_flight - self._counted[member.id]
            self._counted[member.id] = member.in_flight

    def now(self) -> float:
        """Return the total: O(1) if each begin is reported, else O(n)."""
        self._asked += 1
        return self.total if self._asked == 1 else self._sum()

    def _sum(self) -> float:
        return sum(member.in_flight for member in self._members.values())


def check_hash_by(strategy: str, by: str) -> None:
    """Refuse what cannot stand for an instance.

    Raises:
        ConfigurationError: it is neither "id" nor "address".
    """
    if by not in get_args(HashBy):
        raise ConfigurationError(f"{strategy}: hash_by is {by!r}; it must be 'id' or 'address'")


def check_load_factor(strategy: str, factor: float | None) -> None:
    """Refuse a load factor that no list of instances could keep to.

    Raises:
        ConfigurationError: it is not above 1 and finite.
    """
    if factor is not None:
        wanted = "above 1 (1.25 allows a quarter more than the share), or None for no bound"
        require(f"{strategy}: load_factor", factor, wanted, lambda factor: factor > 1)
