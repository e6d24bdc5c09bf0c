"""`least_latency` (the default) and `least_request`: the power of two choices.

Draw two different members and take the one that costs less. Source: M. Mitzenmacher, "The Power of
Two Choices in Randomized Load Balancing", 2001; Finagle `p2c`. The two are always different:
drawing with replacement sends 25 % of the requests to the busier of two instances (Envoy issue
#11004).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from trimtab.strategies.drawing import AliasTable, next_allowed

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from random import Random

    from trimtab.member import Member

__all__ = ["LeastLatency", "LeastRequest", "TwoChoices"]

_PAIR = 2
SIMILAR = 1.5
"""Latencies that differ by less than this factor count as equal."""


class TwoChoices:
    """Draws the pair; a subclass says what each of the two costs. O(1) per choice.

    With equal costs it is the one that was picked longer ago: chance would leave an instance out
    for a while, and leave another one too busy.

    With unequal weights both are drawn by weight, and the second wins only if it is cheaper by
    `margin`. The first is drawn exactly in proportion to the weights, so an idle service is shared
    by weight, and a busy or slow member is still avoided. With equal weights there is no margin.
    """

    margin = 1.0
    """How much cheaper the second must be when weights differ: a factor, 1 or less."""

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._members: Sequence[Member] = ()
        self._table: AliasTable | None = None

    def cost(self, member: Member, now: float) -> float:
        """Return the cost of one more request on a member; only the ratio of two matters."""
        raise NotImplementedError

    def costs(self, one: Member, other: Member, now: float) -> tuple[float, float]:
        """Return both costs, where a cost depends on what it is compared with."""
        return self.cost(one, now), self.cost(other, now)

    def update(self, members: Sequence[Member]) -> None:
        """Take the eligible members; note whether their weights differ."""
        self._members = members
        weights = [member.weight for member in members]
        equal = not weights or min(weights) == max(weights)
        self._table = None if equal else AliasTable(weights)

    def choose(self, now: float, key: str | None, exclude: Collection[str]) -> Member:  # noqa: ARG002 - the protocol's
        """Return the cheaper of two random members."""
        members, count = self._members, len(self._members)
        if exclude:
            one, other = self._pair_allowed(exclude)
        elif count < _PAIR:
            return members[0]
        elif self._table is not None:
            one = members[self._table.draw(self._rng)]
            other = next_allowed(self._draw, members, (one.id,), self._rng)
        else:
            random = self._rng.random
            first = int(random() * count)
            second = int(random() * (count - 1))
            one, other = members[first], members[second + (second >= first)]
        return one if one is other else self.better(one, other, now)

    def better(self, one: Member, other: Member, now: float) -> Member:
        """Return the cheaper one; of two equal ones that which was picked longer ago."""
        cost, others = self.costs(one, other, now)
        if self._table is not None:
            return other if others < self.margin * cost else one
        is_better = others < cost or (others == cost and other.picked_at < one.picked_at)
        return other if is_better else one

    def _pair_allowed(self, exclude: Collection[str]) -> tuple[Member, Member]:
        """Draw two that are not excluded; the same one twice if there is only one."""
        one = next_allowed(self._draw, self._members, exclude, self._rng)
        if sum(member_id not in exclude for member_id in self._some_ids(len(exclude))) < _PAIR:
            return one, one
        return one, next_allowed(self._draw, self._members, (*exclude, one.id), self._rng)

    def _some_ids(self, excluded: int) -> list[str]:
        # Enough ids to see whether two are allowed: at most `excluded` of them are not.
        return [member.id for member in self._members[: excluded + _PAIR]]

    def _draw(self) -> Member:
        if self._table is not None:
            return self._members[self._table.draw(self._rng)]
        return self._members[int(self._rng.random() * len(self._members))]


class LeastLatency(TwoChoices):
    """Take the member that should answer sooner: the default.

    1. One that has failed is avoided, but for its trials; see `trimtab.member`.
    2. If one is slower by more than `SIMILAR`, compare latency squared times the queue. The slower
       one gets a request all the same when it is due, so that it is not slow for good.
    3. Otherwise the latencies differ by no more than they do by chance. Compare the requests in
       flight.

    Source: Finagle `PeakEwma`, tower `load/peak_ewma.rs`. Deviations: the third rule, since by
    latencies alone equal instances had shares from nearly nothing to a half; and the square, since
    the latencies that a busy client sees contain its own waits, which makes their ratio too small.
    """

    margin = 0.75

    def costs(self, one: Member, other: Member, now: float) -> tuple[float, float]:
        """Return the cost of one more request on each."""
        if one.failed_in_row or other.failed_in_row:
            avoids_one, avoids_other = one.is_avoided(now), other.is_avoided(now)
            if avoids_one is not avoids_other:
                return (1.0, 0.0) if avoids_one else (0.0, 1.0)
        first, second = one.expected_s(now), other.expected_s(now)
        if first and second:
            if first > SIMILAR * second and one.latency.differs(other.latency, first - second):
                if one.is_due(first / second, now):
                    return 0.0, 1.0
                return first**2 * (one.in_flight + 1), second**2 * (other.in_flight + 1)
            if second > SIMILAR * first and one.latency.differs(other.latency, second - first):
                if other.is_due(second / first, now):
                    return 1.0, 0.0
                return first**2 * (one.in_flight + 1), second**2 * (other.in_flight + 1)
        return one.in_flight + 1, other.in_flight + 1


class LeastRequest(TwoChoices):
    """Take the member with fewer requests in flight per weight.

    Source: Envoy's least request balancer. Deviation: Envoy turns to a weighted schedule when
    weights differ; here the pair is drawn by weight and compared by `in_flight / weight`.
    """

    def cost(self, member: Member, now: float) -> float:  # noqa: ARG002 - does not depend on the time
        """Return the requests in flight per weight."""
        return member.in_flight / member.weight
