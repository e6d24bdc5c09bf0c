"""What one instance may have in flight: a fixed bound, or one that adapts.

Requests count by their cost, which is 1 unless the caller says otherwise (`units_of`).

Circuit breaking in Envoy's sense: requests beyond the bound are refused at once, or wait for a
bounded time in a bounded queue. They do not pile up on an instance that cannot keep up.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING, Literal, get_args

from trimtab.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from trimtab.member import Member

__all__ = ["Adaptation", "ConcurrencyLimits", "Limiter", "units_of"]

Adaptation = Literal["aimd", "gradient"]

_STEPS, _MOST_UNITS = 2**16, 10**9


def units_of(cost: object, name: str = "cost") -> float:
    """Return what a request of this cost counts in flight.

    That is the cost itself, within 1/65,536 and a billion, in steps of 1/65,536: sums of such
    numbers are exact, so that nothing is left in flight when the last request has ended.

    Args:
        cost: a finite number above 0.
        name: what the user calls it, for messages.

    Raises:
        ConfigurationError: it is anything else.
    """
    if isinstance(cost, bool) or not isinstance(cost, (int, float)) or not 0 < cost < inf:
        raise ConfigurationError(
            f"{name} is {cost!r}; it must be a finite number above 0, and is 1 for a usual request"
        )
    if cost >= _MOST_UNITS or isinstance(cost, int):
        return min(cost, _MOST_UNITS)
    units = max(round(cost * _STEPS), 1) / _STEPS
    return int(units) if units.is_integer() else units


@dataclass(frozen=True, slots=True, kw_only=True)
class ConcurrencyLimits:
    """Bounds on the requests in flight on one instance, and on those that wait for room.

    A transport's `limits` bound connections instead, also per instance.

    Attributes:
        max_in_flight: requests in flight on one instance, each counted by its cost; None: no
            bound. One that costs more than the bound is sent to an instance that has nothing else
            in flight.
        max_pending: requests of this client that may wait for room; 0 refuses at once.
        max_wait_s: how long a request waits before it is refused, in seconds.
        adaptation: how the bound adapts between `min_in_flight` and `max_in_flight` (or 1,000).
            `aimd` adds one at a good answer while half of the bound is used, and multiplies by 0.9
            at each failure. `gradient` follows the ratio of long-term to present latency. None: the
            bound is fixed.
        initial_in_flight, min_in_flight: the first and the least value of an adaptive bound.

    Raises:
        ConfigurationError: a value is out of range.

    Source: Envoy's circuit breakers; Netflix concurrency-limits (AIMDLimit, Gradient2Limit).
    """

    max_in_flight: int | None = None
    max_pending: int = 0
    max_wait_s: float = 1.0
    adaptation: Adaptation | None = None
    initial_in_flight: int = 20
    min_in_flight: int = 1

    def __post_init__(self) -> None:
        if self.adaptation not in {None, *get_args(Adaptation)}:
            known = ", ".join(get_args(Adaptation))
            raise ConfigurationError(f"adaptation is {self.adaptation!r}; known are {known}")
        for name in ("max_in_flight", "initial_in_flight", "min_in_flight"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigurationError(f"{name} is {value!r}; it must be 1 or more")
        if self.max_pending < 0 or not self.max_wait_s >= 0:
            raise ConfigurationError(
                f"max_pending is {self.max_pending!r} and max_wait_s {self.max_wait_s!r}; neither "
                "may be negative"
            )

    @property
    def is_bounded(self) -> bool:
        """Whether there is any bound at all."""
        return self.max_in_flight is not None or self.adaptation is not None


class Limiter:
    """Keeps the bound of each member, and which eligible members are full. O(1) per request.

    Args:
        limits: with a bound.

    Attributes:
        is_full: whether no eligible member has room.
    """

    def __init__(self, limits: ConcurrencyLimits) -> None:
        self._limits = limits
        self._bounds: dict[str, _Bound] = {}
        self._full: set[str] = set()
        self._eligible: frozenset[str] = frozenset()
        self.is_full = True

    def update(self, members: Iterable[Member], eligible: Iterable[Member]) -> None:
        """Take all members, and those that may be picked. O(n)."""
        make = _KINDS[self._limits.adaptation]
        self._bounds = {
            member.id: self._bounds.get(member.id) or make(self._limits) for member in members
        }
        chosen = list(eligible)
        self._eligible = frozenset(member.id for member in chosen)
        self._full = {member.id for member in chosen if not self.has_room(member)}
        self.is_full = len(self._full) == len(self._eligible)

    def has_room_beside(self, exclude: Iterable[str]) -> bool:
        """Return whether an eligible member outside `exclude` has room. O(len(exclude))."""
        taken = {id_ for id_ in exclude if id_ in self._eligible and id_ not in self._full}
        return len(self._eligible) > len(self._full) + len(taken)

    def bound(self, id_: str) -> float:
        """Return how much a member may have in flight."""
        bound = self._bounds.get(id_)
        return inf if bound is None else bound.value

    def has_room(self, member: Member, cost: float = 0) -> bool:
        """Return whether one more request may go to a member; without a cost, a small one."""
        bound = self._bounds.get(member.id)
        if bound is None or not member.in_flight:
            return True
        most = int(bound.value)
        return member.in_flight < most and member.in_flight + cost <= most

    def changed(self, member: Member) -> None:
        """Note that a member's requests in flight, or its bound, have changed."""
        if member.id not in self._eligible:
            return
        if self.has_room(member):
            self._full.discard(member.id)
        else:
            self._full.add(member.id)
        self.is_full = len(self._full) == len(self._eligible)

    def learn(self, member: Member, rtt_s: float, *, ok: bool) -> None:
        """Learn from a response's time, or a failure, while it still counts as in flight."""
        bound = self._bounds.get(member.id)
        if bound is not None:
            bound.learn(rtt_s, member.in_flight, ok=ok)


class _Bound:
    """A fixed bound."""

    def __init__(self, limits: ConcurrencyLimits) -> None:
        self.value: float = limits.max_in_flight or 1000
        self._least, self._most = float(limits.min_in_flight), self.value

    def learn(self, rtt_s: float, in_flight: float, *, ok: bool) -> None:
        """Learn nothing."""

    def _set(self, value: float) -> None:
        self.value = min(max(value, self._least), self._most)


class _Aimd(_Bound):
    """Additive increase, multiplicative decrease."""

    _DECREASE = 0.9

    def __init__(self, limits: ConcurrencyLimits) -> None:
        super().__init__(limits)
        self._set(float(limits.initial_in_flight))

    def learn(self, rtt_s: float, in_flight: float, *, ok: bool) -> None:  # noqa: ARG002 - needed by others
        """Shrink at a failure; grow by one if the bound was half used."""
        if not ok:
            self._set(int(self.value * self._DECREASE))
        elif in_flight * 2 >= self.value:
            self._set(self.value + 1)


class _Gradient(_Bound):
    """Grows while answers are as fast as in the long term, and shrinks when they slow down."""

    _TOLERANCE, _SMOOTHING, _QUEUE, _WINDOW = 1.5, 0.2, 4.0, 600.0

    def __init__(self, limits: ConcurrencyLimits) -> None:
        super().__init__(limits)
        self._set(float(limits.initial_in_flight))
        self._long_s = 0.0

    def learn(self, rtt_s: float, in_flight: float, *, ok: bool) -> None:
        """Follow the gradient; a failure has no latency and counts as the steepest gradient."""
        if not ok:
            self._set(self.value * (1 - self._SMOOTHING / 2))
            return
        share = 2 / (self._WINDOW + 1) if self._long_s else 1.0
        self._long_s += share * (rtt_s - self._long_s)
        if self._long_s > 2 * rtt_s:
            # A long slow phase is over: it must not count as normal.
            self._long_s *= 0.95
        if in_flight < self.value / 2:
            return
        gradient = max(0.5, min(1.0, self._TOLERANCE * self._long_s / max(rtt_s, 1e-9)))
        wanted = self.value * gradient + self._QUEUE
        self._set(self.value * (1 - self._SMOOTHING) + wanted * self._SMOOTHING)


_KINDS: dict[Adaptation | None, type[_Bound]] = {
    None: _Bound,
    "aimd": _Aimd,
    "gradient": _Gradient,
}
