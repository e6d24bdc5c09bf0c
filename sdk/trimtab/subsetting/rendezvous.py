"""Random subsets that change by no more than they must: gRPC's `random_subsetting`."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING

from trimtab.strategies.hashing import hash_of
from trimtab.strategies.settings import require_whole

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trimtab.instance import Instance

__all__ = ["RandomSubset"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RandomSubset:
    """Take the instances whose addresses have the lowest hashes, under this client's seed.

    When an instance is added or removed, at most one member of the subset changes; and clients
    need to know nothing of each other. The price is an uneven load: with c clients for each of
    the n / size subsets, an instance has some c clients, give or take sqrt(c).

    Source: gRPC A68.

    Attributes:
        size: how many instances a client talks to, 1 or more; all, if there are not more.
        seed: of the hashes, 0 to 2**64 - 1; each client must have its own. Drawn if not given:
            processes that are forked later share it, so make it in each of them.

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
