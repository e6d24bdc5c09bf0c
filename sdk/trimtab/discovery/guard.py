"""Doubt a list that has suddenly lost most of its instances.

A registry that was restarted without its memory, or is half partitioned, answers promptly and
wrongly: with nothing, or with the few that have registered again so far. Source: Dubbo's empty
protection, Kratos; deviation: a list cut to less than half is doubted too, and a doubted list is
confirmed rather than refused.
"""

from __future__ import annotations

__all__ = ["ShrinkGuard"]


class ShrinkGuard:
    """Holds an empty or more than halved list back until it has stayed so for `grace_s`.

    Args:
        grace_s: how long; 0 lets everything through.
    """

    def __init__(self, grace_s: float) -> None:
        self._grace_s = grace_s
        self._held_since: float | None = None

    @property
    def release_at(self) -> float | None:
        """From when on a fresh read of a doubted list is believed; None when nothing is held."""
        return None if self._held_since is None else self._held_since + self._grace_s

    def admits(self, before: int, after: int, now: float) -> bool:
        """Say whether a list of `after` instances, read at `now`, may replace one of `before`."""
        if before == 0 or after * 2 >= before:
            self._held_since = None
            return True
        if self._held_since is None:
            self._held_since = now
        # The same sum as `release_at`: a difference may round to just below the grace for ever.
        if now < self._held_since + self._grace_s:
            return False
        self._held_since = None
        return True
