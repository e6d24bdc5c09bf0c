"""Durations as Go writes them: `10s`, `1m30s`, `500ms`, `1.5h`.

Consul takes durations in this form (in JSON also as a bare number of nanoseconds), and so
must a server that its clients cannot tell from it.
"""

from __future__ import annotations

import re

__all__ = ["duration_s"]

_SECONDS_PER_UNIT = {
    "ns": 1e-9,
    "us": 1e-6,
    "\u00b5s": 1e-6,  # the micro sign
    "\u03bcs": 1e-6,  # the Greek letter mu
    "ms": 1e-3,
    "s": 1.0,
    "m": 60.0,
    "h": 3600.0,
}
_NUMBER = r"(?:\d+\.?\d*|\.\d+)"
_PART = re.compile(rf"({_NUMBER})(ns|us|\u00b5s|\u03bcs|ms|s|m|h)")
_WHOLE = re.compile(rf"[+-]?(?:{_PART.pattern})+")
_LONGEST_S = 2**63 / 1e9  # Go keeps nanoseconds in 64 bits
_LONGEST_TEXT = 64


def duration_s(value: object) -> float:
    """Read a duration and give seconds; negative ones are legal, as in Go.

    Raises:
        ValueError: it is neither such a text nor a number, or too long for Go.
    """
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        seconds = value / 1e9
    elif isinstance(value, str):
        seconds = _from_text(value)
    else:
        raise ValueError(f"time: invalid duration {value!r}")  # noqa: TRY004 - one error for all
    if not abs(seconds) < _LONGEST_S:
        raise ValueError(f'time: invalid duration "{value}"')
    return seconds


def _from_text(text: str) -> float:
    if text in {"", "0", "+0", "-0"}:
        # Go calls an empty text an error, but Consul reads a field left empty as "not given".
        return 0.0
    if len(text) > _LONGEST_TEXT or not _WHOLE.fullmatch(text):
        raise ValueError(f'time: invalid duration "{text}"')
    total = sum(float(number) * _SECONDS_PER_UNIT[unit] for number, unit in _PART.findall(text))
    return -total if text.startswith("-") else total
