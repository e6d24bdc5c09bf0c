"""Figures drawn from a record: shares, and how soon each event had no more effect. No I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from trimtab.cli.demo.record import Event, Record

__all__ = ["phases", "settled_s", "share_curve", "shares"]

_WINDOW_S = 1.0
_STEP_S = 0.1
_LEAST_WINDOW_S = 0.5
_MUCH_LESS = 0.5
_ITS_SHARE = 0.8


def shares(record: Record, from_s: float, until_s: float) -> dict[str, float]:
    """Give each instance's share, 0 to 1, of the attempts that began in `[from_s, until_s)`."""
    counts = record.attempts(from_s, until_s)
    total = counts.total()  # 0 leaves nothing to divide
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
    """Divide the run at its events: what was last done, from when, until when."""
    starts = [("before", 0.0), *((event.kind, event.at_s) for event in record.events)]
    ends = [at_s for _, at_s in starts[1:]] + [record.now_s]
    return [(name, at_s, end_s) for (name, at_s), end_s in zip(starts, ends, strict=True)]


def settled_s(record: Record, event: Event) -> float | None:
    """Say how many seconds after an event no more traffic went wrong; None if not yet.

    - killed: the last attempt on the dead instance. None of them is a failed call: it is the
      client that tries another instance.
    - slowed: from when on its share of the attempts, over the last second, stays under half of
      a fair one.
    - added: when its share, over the last second, first is at least four fifths of a fair one.
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
    enough = _ITS_SHARE * event.fair_ratio
    windows = _windows(record, event, least_s=_LEAST_WINDOW_S)
    return next((after_s for after_s, share in windows if share >= enough), None)


def _share_lost_s(record: Record, event: Event) -> float | None:
    too_much = _MUCH_LESS * event.fair_ratio
    lost_s: float | None = None
    for after_s, share in _windows(record, event, least_s=_STEP_S):
        if share >= too_much:
            lost_s = None
        elif lost_s is None:
            lost_s = after_s
    return lost_s


def _windows(record: Record, event: Event, *, least_s: float) -> Iterator[tuple[float, float]]:
    """Yield how long after the event, and the instance's share over the second before that."""
    for step in range(round(least_s / _STEP_S), int((record.now_s - event.at_s) / _STEP_S) + 1):
        at_s = event.at_s + step * _STEP_S
        window = shares(record, max(event.at_s, at_s - _WINDOW_S), at_s)
        yield at_s - event.at_s, window.get(event.instance_id, 0.0)
