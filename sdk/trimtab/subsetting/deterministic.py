"""The SRE book's subsets: clients share the instances out among themselves, round by round."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from trimtab.strategies.hashing import hash_of
from trimtab.strategies.settings import require_whole

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trimtab.instance import Instance

__all__ = ["DeterministicSubset"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeterministicSubset:
    """Take the part of this client, when every round of clients deals all instances out.

    With n instances there are `n // size` subsets, and as many clients make a round: client c is
    number `c % subsets` of round `c // subsets`. Each round has the instances in another order,
    and cuts it into pieces of `size`. If size divides n, every instance has exactly one client of
    each whole round; if not, the `n % size` last of a round's order have none of that round.

    Source: Beyer et al., "Site Reliability Engineering", 2016, chapter 20. Deviation: a round's
    order is that of XXH64 of the ids, seeded with the round, in place of a library's shuffle:
    the same in every language, whatever the registry's order, and less upset by a change.

    Attributes:
        client_id: this client's number among its like, 0 or more; each must have its own.
        size: how many instances a client talks to, 1 or more. When there are not twice as many,
            the clients get them all.

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
