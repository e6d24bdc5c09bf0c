"""Durations and shares as people write them: `"1m30s"`, `"250ms"`, `1.5`, `"10%"`."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

__all__ = ["Duration", "Share", "decode", "parse_duration", "parse_share", "schema_of"]

# Multiplied, then divided: 7 / 1e9 is the float nearest to 7 ns, and 7 * 1e-9 is not.
_UNITS = {
    "ns": (1, 1e9),
    "us": (1, 1e6),
    "µs": (1, 1e6),
    "ms": (1, 1e3),
    "s": (1, 1.0),
    "m": (60, 1.0),
    "h": (3600, 1.0),
    "d": (86400, 1.0),
}
_PART = re.compile(r"(\d+(?:\.\d+)?)\s*(ns|us|µs|ms|s|m|h|d)\s*")
_WHOLE = re.compile(rf"(?:{_PART.pattern})+")
_PERCENT = re.compile(r"(\d+(?:\.\d+)?)\s*%")
_DURATION_HINT = 'write seconds (1.5) or a text like "250ms", "10s" or "1m30s"'
_SHARE_HINT = 'write a number from 0 to 1 or a text like "5%"'

if TYPE_CHECKING:
    Duration = float
    Share = float
else:

    class Duration(float):
        """Seconds, 0 or more, that a file may also give as a text with units."""

        __slots__ = ()

    class Share(float):
        """A share of one, 0 to 1, that a file may also give in per cent."""

        __slots__ = ()


def parse_duration(value: object) -> float:
    """Read a duration: a number of seconds, or a text such as `"1m30s"`.

    Returns:
        seconds, 0 or more and finite.

    Raises:
        ValueError: it is no such thing; the message says what to write.
    """
    if isinstance(value, str):
        text = value.strip()
        if not _WHOLE.fullmatch(text):
            raise ValueError(f"{value!r} is not a duration; {_DURATION_HINT}")
        return math.fsum(_in_seconds(number, unit) for number, unit in _PART.findall(text))
    return _number(value, "a duration", _DURATION_HINT)


def parse_share(value: object) -> float:
    """Read a share of one: a number from 0 to 1, or a text such as `"5%"`.

    Raises:
        ValueError: it is no such thing; the message says what to write.
    """
    share = value
    if isinstance(value, str):
        found = _PERCENT.fullmatch(value.strip())
        if not found:
            raise ValueError(f"{value!r} is not a share; {_SHARE_HINT}")
        share = float(found[1]) / 100
    share = _number(share, "a share", _SHARE_HINT)
    if share > 1:
        raise ValueError(f"{value!r} is more than the whole; {_SHARE_HINT}")
    return share


def _in_seconds(number: str, unit: str) -> float:
    times, over = _UNITS[unit]
    return float(number) * times / over


def _number(value: object, what: str, hint: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(f"{value!r} is not {what}; {hint}")  # noqa: TRY004 - msgspec names the place of a ValueError
    if not math.isfinite(value) or value < 0:
        raise ValueError(f"{value!r} is not {what}: it must be finite and not negative; {hint}")
    return float(value)


def decode(kind: type, value: Any) -> Any:
    """Turn what a file says into a Duration or Share: the `dec_hook` of msgspec."""
    if kind is Duration:
        return Duration(parse_duration(value))
    if kind is Share:
        return Share(parse_share(value))
    raise NotImplementedError(f"no rule to read {kind}")


def schema_of(kind: type) -> dict[str, Any]:
    """Describe a Duration or Share in JSON schema: the `schema_hook` of msgspec."""
    if kind is Duration:
        return {
            "description": "seconds, or a text with units",
            "anyOf": [{"type": "number", "minimum": 0}, {"type": "string"}],
            "examples": ["250ms", "10s", "1m30s", 1.5],
        }
    if kind is Share:
        return {
            "description": "a share of one, or a text in per cent",
            "anyOf": [
                {"type": "number", "minimum": 0, "maximum": 1},
                {"type": "string", "pattern": "%$"},
            ],
            "examples": [0.05, "5%"],
        }
    raise NotImplementedError(f"no schema for {kind}")
