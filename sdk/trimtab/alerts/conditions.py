"""One thing that is well or not, from one message to the next. No I/O, takes `now`."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trimtab.alerts.readings import Reading

__all__ = ["Condition"]

_LONGEST_REASON = 200
_UNITS = ((86400.0, "d"), (3600.0, "h"), (60.0, "min"))


class Condition:
    """What people were told of a thing, and what has become of it since.

    Attributes:
        was_fault: whether it is wrong as far as people know.
        is_fault: whether it is wrong now.
        turns: how often it turned since people were told.
    """

    __slots__ = ("_fault", "_lasted_s", "_latest", "_turned_at", "is_fault", "turns", "was_fault")

    def __init__(self, first: Reading) -> None:
        self.was_fault = self.is_fault = False
        self.turns = 0
        self._latest = self._fault = first
        self._turned_at = self._lasted_s = 0.0

    @property
    def is_forgettable(self) -> bool:
        """Whether it is well, and known to be."""
        return not (self.turns or self.is_fault)

    def take(self, reading: Reading, now: float) -> bool:
        """Take in what an event says; say whether that was a turn."""
        if reading.is_fault == self.is_fault:
            return False
        if reading.is_fault:
            self._fault = reading
        else:
            self._lasted_s = now - self._turned_at
        self.is_fault, self._turned_at, self._latest = reading.is_fault, now, reading
        self.turns += 1
        return True

    def line(self, *, flaps: int) -> str:
        """Say in one line what happened since people were told; `flaps` as of the settings."""
        fault, what = self._fault, self._latest.what
        if self.turns >= flaps:
            text = f"flapping, {self.turns} turns, now {what}"
        elif self.is_fault:
            text = f"{what} again" if self.turns > 1 else what
        else:
            text = f"{what} after {_duration(self._lasted_s)} {fault.what}"
        # Of a fault that people know they also know the reason.
        is_known = self.was_fault and not self.is_fault
        return f"{fault.name}: {text}{'' if is_known else _in_brackets(fault.reason)}"

    def told(self) -> None:
        """Note that people know all of it."""
        self.was_fault, self.turns = self.is_fault, 0


def _in_brackets(reason: str) -> str:
    words = " ".join(reason.split())
    if len(words) > _LONGEST_REASON:
        words = words[:_LONGEST_REASON] + "..."
    return f" ({words})" if words else ""


def _duration(seconds: float) -> str:
    for unit_s, unit in _UNITS:
        if seconds >= unit_s:
            return f"{seconds / unit_s:.3g} {unit}"
    return f"{seconds:.0f} s"
