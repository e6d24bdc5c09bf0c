"""Which few instances of a large fleet one client talks to: three rules, each a frozen value.

Each is called with all instances and returns some of them in the same order. They differ in what
the clients must know, in how even the load is, and in what changes when an instance comes or goes;
the table in `trimtab.subsetting` compares them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING

from trimtab.errors import ConfigurationError
from trimtab.strategies.consistent_hash import hash_of
from trimtab.strategies.settings import require_whole

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trimtab.instance import Instance

__all__ = ["DeterministicAperture", "DeterministicSubset", "RandomSubset"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeterministicSubset:
    """Return this client's share of the instances under Google's deterministic subsetting.

    With n instances there are `n // size` subsets, and that number of clients is a round: client c
    is number `c % subsets` of round `c // subsets`. Each round has its own order of the instances,
    cut into pieces of `size`. If size divides n, each instance has exactly one client of each
    complete round; if not, the last `n % size` of a round's order have no client of that round.

    Source: Beyer et al., "Site Reliability Engineering", 2016, chapter 20. Deviation: a round's
    order is that of XXH64 of the ids, seeded with the round, instead of a library's shuffle. It is
    the same in every language and for every order of the registry, and changes less when an
    instance comes or goes.

    Attributes:
        client_id: this client's own number, 0 or more.
        size: how many instances a client talks to, 1 or more. With fewer than twice as many
            instances, each client gets all of them.

    Raises:
        ConfigurationError: a value is out of its range.
    """

    client_id: int
    size: int

    def __post_init__(self) -> None:
        for name, least in (("client_id", 0), ("size", 1)):
            require_whole(f"DeterministicSubset: {name}", getattr(self, name), least)

    def __call__(self, instances: Sequence[Instance]) -> list[Instance]:
        """Return this client's instances. O(n * log(n))."""
        subsets = len(instances) // self.size
        if subsets < 2:  # noqa: PLR2004 - one subset is no subset
            return list(instances)
        round_, number = divmod(self.client_id, subsets)
        order = sorted((hash_of(each.id, round_), each.id) for each in instances)
        mine = order[number * self.size : (number + 1) * self.size]
        ids = {id_ for _, id_ in mine}
        return [each for each in instances if each.id in ids]


@dataclass(frozen=True, slots=True, kw_only=True)
class RandomSubset:
    """Return the instances whose addresses have the lowest hashes under this client's seed.

    When an instance is added or removed, at most one member of the subset changes, and clients
    need to know nothing of each other. The price is an uneven load: with c clients for each of
    the n / size subsets, an instance has about c clients, plus or minus sqrt(c).

    Source: gRPC A68, `random_subsetting`: rendezvous hashing.

    Attributes:
        size: how many instances a client talks to, 1 or more; all, if there are not more.
        seed: of the hashes, 0 to 2**64 - 1, a different one for each client. It is drawn at random
            by default. Forked processes share it, so make the value after the fork.

    Raises:
        ConfigurationError: a value is out of its range.
    """

    size: int
    seed: int = field(default_factory=lambda: Random().getrandbits(64))

    def __post_init__(self) -> None:
        for name, least in (("size", 1), ("seed", 0)):
            require_whole(f"RandomSubset: {name}", getattr(self, name), least)

    def __call__(self, instances: Sequence[Instance]) -> list[Instance]:
        """Return this client's instances. O(n * log(n))."""
        if len(instances) <= self.size:
            return list(instances)
        order = sorted((hash_of(each.address, self.seed), each.id) for each in instances)
        ids = {id_ for _, id_ in order[: self.size]}
        return [each for each in instances if each.id in ids]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeterministicAperture:
    """Return the instances in this client's slice of a ring that they all share evenly.

    n instances divide the ring into n equal parts, and m clients into m. A client's slice begins
    at its part, and is the least number of client parts wide that covers `size` instances. All
    slices together cover each instance equally often. An instance at the edge of a slice, with a
    share f of it inside, is returned with its weight times f. With these weights each instance
    gets exactly the same load.

    Source: Finagle's `DeterministicAperture` and `Ring`. Deviations: shares are computed in whole
    numbers, so they are exact; an instance that both ends of a wide slice touch counts twice.

    Attributes:
        client_id: this client's number, from 0 to `clients - 1`.
        clients: the number of clients, the same at each of them.
        size: the least number of instances. Finagle found that below 12 the fractions are not
            met well, and that a slice without a healthy instance is too likely.
        group: the clients' common name. Groups of different names begin at different places, so
            that their first clients do not all choose the same instances.

    Raises:
        ConfigurationError: a value is out of its range.
    """

    client_id: int
    clients: int
    size: int = 12
    group: str = ""

    def __post_init__(self) -> None:
        for name, least in (("client_id", 0), ("clients", 1), ("size", 1)):
            require_whole(f"DeterministicAperture: {name}", getattr(self, name), least)
        if self.client_id >= self.clients:
            raise ConfigurationError(
                f"DeterministicAperture: client_id is {self.client_id}, but there are "
                f"{self.clients} clients; number them from 0"
            )

    def __call__(self, instances: Sequence[Instance]) -> list[Instance]:
        """Return this client's instances, those at the edges with part of their weight. O(n)."""
        order = sorted((hash_of(each.address), each.id) for each in instances)
        shares = dict(zip((id_ for _, id_ in order), self.shares(len(order)), strict=True))
        return [
            each if shares[each.id] == 1 else each.with_(weight=each.weight * shares[each.id])
            for each in instances
            if shares[each.id]
        ]

    def shares(self, count: int) -> list[float]:
        """Return the share of each of `count` instances in this client's slice: 0 to 1.

        The whole ring is `clients * count` units long: a client's part is `count` units, and an
        instance's `clients`.
        """
        if count == 0:
            return []
        whole = self.clients * count
        # The fewest client parts that are as wide as `size` instances.
        parts = -(-min(self.size, count) * self.clients // count)
        begin = self.client_id * count + (hash_of(self.group) % whole if self.group else 0)
        begin %= whole
        end = begin + parts * count
        return [
            (
                _overlap(begin, end, place, place + self.clients)
                + _overlap(begin, end, place + whole, place + whole + self.clients)
            )
            / self.clients
            for place in range(0, whole, self.clients)
        ]


def _overlap(begin: int, end: int, other_begin: int, other_end: int) -> int:
    return max(min(end, other_end) - max(begin, other_begin), 0)
