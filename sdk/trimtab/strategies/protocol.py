"""What a strategy is."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from trimtab.member import Member

__all__ = ["Strategy", "StrategyFactory"]


class Strategy(Protocol):
    """A rule that chooses one of the eligible members."""

    def update(self, members: Sequence[Member]) -> None:
        """Take the eligible members: at the start, and when they or their weights changed.

        The order is that of the registry. O(n) is fine here. The list belongs to the pool and
        will not change; it may be empty, and then `choose` is not called.
        """
        ...

    def choose(self, now: float, key: str | None, exclude: Collection[str]) -> Member:
        """Return a member whose id is not in `exclude`; the pool sees to it that there is one.

        O(1) wherever the rule permits. `key` is what the caller wants kept on one instance;
        rules without affinity ignore it. `exclude` is short, and empty for first attempts.
        """
        ...


StrategyFactory: TypeAlias = Callable[[Random], Strategy]
