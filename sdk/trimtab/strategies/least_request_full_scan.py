"""`least_request_full_scan`: of all, the one with the fewest requests in flight."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from random import Random

    from trimtab.member import Member

__all__ = ["LeastRequestFullScan"]


class LeastRequestFullScan:
    """Compare all members at each choice, where `least_request` compares two. O(n).

    For a few instances with long requests, where a bad pair costs much. In a fleet of clients it
    sends all of them to the same idle newcomer at once.

    Source: Envoy's least request balancer with `FULL_SCAN`; its reservoir sampling breaks ties.
    Deviation: with unequal weights, requests are counted per weight and ties broken by weight,
    where Envoy turns to the schedule of `weighted_least_request`.
    """

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._members: Sequence[Member] = ()

    def update(self, members: Sequence[Member]) -> None:
        """Take the eligible members."""
        self._members = members

    def choose(self, now: float, key: str | None, exclude: Collection[str]) -> Member:  # noqa: ARG002 - the protocol's
        """Return the least busy member; of several equal ones a random one, by weight."""
        best, least, tied = self._members[0], inf, 0.0
        for member in self._members:
            if member.id in exclude:
                continue
            load = member.in_flight / member.weight
            if load < least or not tied:
                best, least, tied = member, load, member.weight
            elif load == least:
                tied += member.weight
                if self._rng.random() * tied < member.weight:
                    best = member
        return best
