"""`maglev`: the same instance for the same key, by one lookup in a table."""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import cycle, islice
from math import ceil, isqrt
from typing import TYPE_CHECKING

from trimtab.strategies.consistent_hash import (
    ConsistentHash,
    HashBy,
    check_hash_by,
    check_load_factor,
    hash_of,
)
from trimtab.strategies.settings import in_words, require

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from random import Random

__all__ = ["Maglev", "MaglevTable"]

_MAX_SIZE = 5_000_011
_TAIL = 256
"""At this number of free slots it becomes quicker to compute when each free slot would be reached
than to try one slot after the other: about the square root of the usual size."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Maglev:
    """Choose by the hash of the key, evenly to within a percent; without a key, at random.

    When one of n instances leaves, its keys move, and less than one percent of the others (with a
    hundred instances; with `RingHash(points=...)` no others move). A weight of 2 owns twice the
    slots. A change of list or weights builds a new table, which takes tens of milliseconds.

    Attributes:
        load_factor: an instance is passed over while its requests in flight are this many times
            its share; above 1. None, as in Envoy: no bound.
        table_size: in slots, a prime of at most 5,000,011. With 100 slots per instance or more,
            the shares are within a percent.
        hash_by: what stands for an instance: its "id", or its "address", as in Envoy. Where a
            registry gives no ids of its own they are the same. By id, an instance that returns at
            a new address keeps its keys.

    Raises:
        ConfigurationError: a setting is out of its range.
    """

    load_factor: float | None = None
    table_size: int = 65_537
    hash_by: HashBy = "id"

    def __post_init__(self) -> None:
        check_load_factor("maglev", self.load_factor)
        check_hash_by("maglev", self.hash_by)
        require(
            "maglev: table_size",
            self.table_size,
            f"a prime of at most {_MAX_SIZE}",
            lambda size: isinstance(size, int) and size <= _MAX_SIZE and _is_prime(size),
        )

    @property
    def __name__(self) -> str:
        """Return the text form, for people."""
        return in_words("maglev", self)

    def __call__(self, rng: Random) -> ConsistentHash:
        """Make the strategy."""
        table = partial(_cached, size=self.table_size)
        return ConsistentHash(rng, table, load_factor=self.load_factor, hash_by=self.hash_by)


class MaglevTable:
    """The slots of the table, one per hash modulo the size, each with its owner.

    Every instance has a permutation of the slots, from two hashes of its key. In turn, each claims
    the first slot of its permutation that is still free. An instance of half the greatest weight
    takes every other turn. It takes 25 to 60 ms for 10 to 1,000 instances; the size of the table
    matters more than their number.

    Source: Eisenbud et al., "Maglev: A Fast and Reliable Software Network Load Balancer", NSDI
    2016; hashes, weights and the second tries are those of Envoy's `maglev_lb.cc`.

    Attributes:
        owners: the number of the instance that each slot belongs to.
    """

    __slots__ = ("owners",)

    def __init__(self, keys: tuple[str, ...], weights: tuple[float, ...], size: int) -> None:
        self.owners = array("I", _claimed(keys, _turns(weights, size), size))

    def owner(self, point: int) -> int:
        """Return the number of the instance that owns this hash."""
        return self.owners[point % len(self.owners)]

    def walk(self, point: int) -> Iterator[int]:
        """Yield the owner of this hash, then those of other slots that follow from it."""
        owners = self.owners
        yield owners[point % len(owners)]
        attempt = 2**64
        while True:
            attempt -= 1
            yield owners[(point ^ attempt) % len(owners)]


_cached = lru_cache(maxsize=16)(MaglevTable)


def _turns(weights: tuple[float, ...], size: int) -> Iterable[int]:
    """Return whose turn it is to claim a slot, `size` times or more.

    An instance of the greatest weight takes part in each round. Another takes part in round t if
    t rounds of its weight add up to one more time the greatest weight. All take part in the first.
    """
    top, count = max(weights), len(weights)
    if min(weights) == top:
        return cycle(range(count))
    rounds = ceil(size / sum(weight / top for weight in weights)) + 1
    turns = list(range(count, 2 * count))  # round 1; a turn is round * count + number
    for number, weight in enumerate(weights):
        each = top / weight
        later = range(2, rounds + 1) if each == 1 else _every(each, rounds)
        turns += [turn * count + number for turn in later]
    turns.sort()
    return [turn % count for turn in turns]


def _every(each: float, rounds: int) -> list[int]:
    return [ceil(time * each) for time in range(1, int(rounds / each) + 1)]


def _claimed(keys: tuple[str, ...], turns: Iterable[int], size: int) -> list[int]:
    """Return the owner of each slot, after the instances have claimed all slots in turn."""
    at = [hash_of(key) % size for key in keys]
    skips = [hash_of(key, 1) % (size - 1) + 1 for key in keys]
    owners = [-1] * size
    turn = iter(turns)
    for number in islice(turn, max(size - _TAIL, 0)):
        slot, skip = at[number], skips[number]
        while owners[slot] >= 0:
            slot += skip
            if slot >= size:
                slot -= size
        owners[slot] = number
        at[number] = slot
    free = [slot for slot in range(size) if owners[slot] < 0]
    for number in islice(turn, len(free)):
        # A permutation reaches slot s after (s - at) / skip steps, modulo a prime.
        begin, inverse = at[number], pow(skips[number], -1, size)
        comes_after = {(slot - begin) * inverse % size: slot for slot in free}
        slot = comes_after[min(comes_after)]
        owners[slot] = number
        free.remove(slot)
    return owners


def _is_prime(number: int) -> bool:
    return number > 1 and all(number % divisor for divisor in range(2, isqrt(number) + 1))
