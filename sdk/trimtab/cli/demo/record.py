"""The record of a run (every attempt, call and event), and the figures drawn from it. No I/O."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Call", "Event", "Record", "phases", "settled_s", "share_curve", "shares"]

_WINDOW_S = 1.0
_STEP_S = 0.1
_LEAST_WINDOW_S = 0.5
_LOW_RATIO = 0.5
_ENOUGH_RATIO = 0.8


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call of the client, complete.

    Attributes:
        ended_at_s: seconds since the start of the traffic.
        instance_id: the instance that answered; "" if none did.
        error: why it failed; "" if it did not.
    """

    ended_at_s: float
    instance_id: str
    latency_s: float
    attempts: int
    error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """An event: an instance was killed, slowed or added.

    Attributes:
        kind: "killed", "slowed" or "added".
        at_s: seconds since the start of the traffic.
        fair_ratio: a fair share of the traffic from then on.
    """

    kind: str
    instance_id: str
    at_s: float
    fair_ratio: float


@dataclass(slots=True)
class Record:
    """A run so far. Times are seconds since the start of the traffic, in order.

    Attributes:
        attempt_times_s, attempt_ids: when each attempt began, and on which instance.
        calls: the complete calls, in the order of their ends.
        events: the events, in order.
        now_s: the present time of the run.
    """

    attempt_times_s: list[float] = field(default_factory=list)
    attempt_ids: list[str] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    now_s: float = 0.0

    def attempt(self, at_s: float, instance_id: str) -> None:
        """Note that an attempt begins."""
        self.attempt_times_s.append(at_s)
        self.attempt_ids.append(instance_id)

    def attempts(self, from_s: float = 0.0, until_s: float = math.inf) -> Counter[str]:
        """Count the attempts per instance that began in `[from_s, until_s)`."""
        first = bisect_left(self.attempt_times_s, from_s)
        last = bisect_left(self.attempt_times_s, until_s)
        return Counter(self.attempt_ids[first:last])

    def calls_since(self, from_s: float) -> list[Call]:
        """List the calls that ended at `from_s` or later."""
        return self.calls[bisect_left(self.calls, from_s, key=lambda call: call.ended_at_s) :]

    @property
    def failures(self) -> int:
        """How many calls failed."""
        return sum(1 for call in self.calls if call.error)

    @property
    def retried(self) -> int:
        """How many calls took more than one attempt."""
        return sum(1 for call in self.calls if call.attempts > 1)


def shares(record: Record, from_s: float, until_s: float) -> dict[str, float]:
    """Return each instance's share, 0 to 1, of the attempts that began in `[from_s, until_s)`."""
    counts = record.attempts(from_s, until_s)
    total = counts.total()  # if it is 0, there is nothing to divide
    return {id_: count / total for id_, count in counts.items()}


def share_curve(record: Record, *, window_s: float) -> Iterator[tuple[float, dict[str, float]]]:
    """Yield each tenth of a second, and the shares over the `window_s` before it.

    Times without any traffic are left out.
    """
    for step in range(1, int(record.now_s / _STEP_S) + 1):
        at_s = step * _STEP_S
        window = shares(record, max(0.0, at_s - window_s), at_s)
        if window:
            yield at_s, window


def phases(record: Record) -> list[tuple[str, float, float]]:
    """Divide the run at its events into (kind of the last event, from when, until when)."""
    starts = [("before", 0.0), *((event.kind, event.at_s) for event in record.events)]
    ends = [at_s for _, at_s in starts[1:]] + [record.now_s]
    return [(name, at_s, end_s) for (name, at_s), end_s in zip(starts, ends, strict=True)]


def settled_s(record: Record, event: Event) -> float | None:
    """Return how many seconds after an event the traffic had adapted; None if it has not yet.

    - killed: until the last attempt on the killed instance. Such an attempt is no failed call,
      since the client tries another instance.
    - slowed: until its share of the attempts, over the last second, stays below half of a fair
      share.
    - added: until its share, over the last second, first reaches four fifths of a fair share.
    """
    if event.kind == "killed":
        return _last_attempt_s(record, event)
    if event.kind == "added":
        return _share_reached_s(record, event)
    return _share_lost_s(record, event)


def _last_attempt_s(record: Record, event: Event) -> float | None:
    last_s = event.at_s
    for at_s, id_ in zip(
        reversed(record.attempt_times_s), reversed(record.attempt_ids), strict=True
    ):
        if at_s < event.at_s or id_ == event.instance_id:
            last_s = max(at_s, event.at_s)
            break
    return last_s - event.at_s if record.now_s - last_s >= _WINDOW_S else None


def _share_reached_s(record: Record, event: Event) -> float | None:
    enough = _ENOUGH_RATIO * event.fair_ratio
    windows = _windows(record, event, least_s=_LEAST_WINDOW_S)
    return next((after_s for after_s, share in windows if share >= enough), None)


def _share_lost_s(record: Record, event: Event) -> float | None:
    too_much = _LOW_RATIO * event.fair_ratio
    lost_s: float | None = None
    for after_s, share in _windows(record, event, least_s=_STEP_S):
        if share >= too_much:
            lost_s = None
        elif lost_s is None:
            lost_s = after_s
    return lost_s


def _windows(record: Record, event: Event, *, least_s: float) -> Iterator[tuple[float, float]]:
    """Yield the times after the event, each with the instance's share over the second before."""
    for step in range(round(least_s / _STEP_S), int((record.now_s - event.at_s) / _STEP_S) + 1):
        at_s = event.at_s + step * _STEP_S
        window = shares(record, max(event.at_s, at_s - _WINDOW_S), at_s)
        yield at_s - event.at_s, window.get(event.instance_id, 0.0)
