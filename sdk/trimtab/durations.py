"""Durations as people write them: `500ms`, `30s`, `1m30s`, `1.5h`.

The one parser of the project. Registry URLs, Consul's API and scenario files read their durations
with it; what each of them takes besides (a number without a unit, a sign) it settles itself.
"""

from __future__ import annotations

import math
import re

__all__ = ["UNITS", "in_seconds", "parse_duration_s"]

# Multiplied, then divided: 7 / 1e9 is the float nearest to 7 ns, and 7 * 1e-9 is not.
_FACTORS = {
    "ns": (1, 1e9),
    "us": (1, 1e6),
    "\u00b5s": (1, 1e6),  # the micro sign
    "\u03bcs": (1, 1e6),  # the Greek letter mu
    "ms": (1, 1e3),
    "s": (1, 1.0),
    "m": (60, 1.0),
    "h": (3600, 1.0),
    "d": (86400, 1.0),
}
UNITS = tuple(_FACTORS)
"""The units, longest names first where one begins like another."""
_PART = re.compile(rf"\s*(\d+\.?\d*|\.\d+)\s*({'|'.join(UNITS)})")
_WHOLE = re.compile(rf"(?:{_PART.pattern})+\s*")
_LONGEST_TEXT = 64


def parse_duration_s(text: str) -> float:
    """Read a duration: one or more numbers, each with its unit, added up.

    Spaces may stand between the parts. There is no sign, and each number needs a unit.

    Returns:
        seconds, 0 or more and finite.

    Raises:
        ValueError: the text is no duration.
    """
    if len(text) > _LONGEST_TEXT or not _WHOLE.fullmatch(text):
        raise ValueError(f"{text!r} is not a duration; write it like 500ms, 30s or 1m30s")
    return math.fsum(in_seconds(number, unit) for number, unit in _PART.findall(text))


def in_seconds(number: str, unit: str) -> float:
    """Convert a number of a unit into seconds."""
    factor, divisor = _FACTORS[unit]
    return float(number) * factor / divisor
