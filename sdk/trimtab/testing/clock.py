"""A clock that a test moves by hand."""

from __future__ import annotations

import math

from trimtab.errors import ConfigurationError

__all__ = ["ManualClock"]


class ManualClock:
    """Tell the time that the test has set: call it for `now`, `advance` it to let time pass.

    Give it wherever a `clock` is asked for; nothing then depends on how fast the machine is.

    Args:
        start: the first `now`, in seconds.
    """

    def __init__(self, start: float = 0.0) -> None:
        self._now = _finite("start", start)

    def __call__(self) -> float:
        """Tell the time now, in seconds."""
        return self._now

    def advance(self, seconds: float) -> float:
        """Let `seconds` (0 or more) pass, and tell the time after.

        Raises:
            ConfigurationError: time would run backwards, or not be a finite number.
        """
        if _finite("seconds", seconds) < 0:
            raise ConfigurationError(f"a clock cannot go back by {-seconds} s")
        self._now += seconds
        return self._now


def _finite(name: str, value: float) -> float:
    if not math.isfinite(value):
        raise ConfigurationError(f"{name} is {value!r}; it must be a finite number of seconds")
    return float(value)
