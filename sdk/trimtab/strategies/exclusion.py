"""Keep a choice away from members that were tried before, without a cost to first attempts."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence
    from random import Random

    from trimtab.member import Member

__all__ = ["next_allowed"]

_DRAWS = 8


def next_allowed(
    draw: Callable[[], Member],
    members: Sequence[Member],
    exclude: Collection[str],
    rng: Random,
) -> Member:
    """Draw until a member outside `exclude` comes; after a few draws, look from a random place on.

    O(len(exclude)), even when the excluded ones weigh nearly everything.
    """
    for _ in range(_DRAWS + len(exclude)):
        member = draw()
        if member.id not in exclude:
            return member
    count = len(members)
    place = int(rng.random() * count)
    while members[place % count].id in exclude:
        place += 1
    return members[place % count]
