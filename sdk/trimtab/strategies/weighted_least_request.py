"""Variants of least request: by turns (`weighted_least_request`), and of all members.

`weighted_least_request` gives turns by weight, where each request in flight lowers the weight.
`least_request_full_scan` takes the one with the fewest requests in flight.
"""

from __future__ import annotations

from dataclasses import dataclass
from heapq import heapify, heapreplace
from itertools import count
from math import inf
from typing import TYPE_CHECKING

from trimtab.strategies.drawing import next_allowed
from trimtab.strategies.settings import in_words, require

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from random import Random

    from trimtab.member import Member

__all__ = ["EarliestDeadline", "LeastRequestFullScan", "WeightedLeastRequest"]

_LONGEST = 1e300
_MAX_BIAS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightedLeastRequest:
    """Take turns by `weight / (in_flight + 1) ** bias`.

    Idle instances are shared exactly by weight; a busy one waits longer for its next turn. Where
    weights differ much this follows them better than `least_request`, and reacts later, because
    it counts how busy an instance was at its last turn.

    Attributes:
        bias: 0 to 10. With 1, as in Envoy, the first request in flight halves the weight; 0
            ignores requests in flight.

    Raises:
        ConfigurationError: the bias is out of its range.
    """

    bias: float = 1.0

    def __post_init__(self) -> None:
        wanted = f"0 to {_MAX_BIAS}"
        require(
            "weighted_least_request: bias", self.bias, wanted, lambda bias: 0 <= bias <= _MAX_BIAS
        )

    @property
    def __name__(self) -> str:
        """Return the text form, for people."""
        return in_words("weighted_least_request", self)

    def __call__(self, rng: Random) -> EarliestDeadline:
        """Make the strategy."""
        return EarliestDeadline(rng, bias=self.bias)


class EarliestDeadline:
    """Choose the member whose turn comes first; its next comes after `1 / weight` more.

    The weight is `weight / (in_flight + 1) ** bias` at the time of the choice. O(log(n)).

    Source: Envoy's `EdfLoadBalancerBase` and `LeastRequestLoadBalancer::hostWeight`. Turns begin
    at random, so that the clients of a fleet differ. At an update, members that stay keep their
    turns, or get them sooner if their weight has grown.

    Args:
        rng: chooses where turns begin.
        bias: how much requests in flight count; 0 gives a weighted round robin.
    """

    def __init__(self, rng: Random, *, bias: float) -> None:
        self._rng = rng
        self._bias = bias
        self._members: Sequence[Member] = ()
        self._unit = 1.0
        self._time = 0.0
        self._order = count()
        self._turns: list[tuple[float, int, Member]] = []

    def update(self, members: Sequence[Member]) -> None:
        """Take the eligible members."""
        due = {member.id: deadline - self._time for deadline, _, member in self._turns}
        self._members, self._time = members, 0.0
        self._unit = max((member.weight for member in members), default=1.0)
        self._turns = [
            (self._first_turn(member, due.get(member.id)), next(self._order), member)
            for member in members
        ]
        heapify(self._turns)

    def choose(self, now: float, key: str | None, exclude: Collection[str]) -> Member:  # noqa: ARG002 - the protocol's
        """Return the member whose turn it is."""
        if exclude:
            return next_allowed(self._draw, self._members, exclude, self._rng)
        return self._draw()

    def _draw(self) -> Member:
        self._time, _, member = self._turns[0]
        turn = (self._time + self._period(member), next(self._order), member)
        heapreplace(self._turns, turn)
        return member

    def _period(self, member: Member) -> float:
        busy = (member.in_flight + 1) ** self._bias
        return float(min(busy * (self._unit / member.weight), _LONGEST))

    def _first_turn(self, member: Member, due: float | None) -> float:
        period = self._period(member)
        return self._rng.random() * period if due is None else min(due, period)


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
