"""Quantities as people write them: `"1m30s"`, `"250ms"`, `1.5`, `"10%"`, `"100/s"`."""

from __future__ import annotations

import math
import re
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from trimtab.durations import UNITS, in_seconds, parse_duration_s

__all__ = [
    "Duration",
    "Factor",
    "Rate",
    "Share",
    "decode",
    "encode",
    "parse_duration",
    "parse_factor",
    "parse_rate",
    "parse_share",
    "schema_of",
]

_PERCENT = re.compile(r"(\d+(?:\.\d+)?)\s*%")
_DURATION_HINT = 'write seconds (1.5) or a text like "250ms", "10s" or "1m30s"'
_RATE = re.compile(rf"(\d+(?:\.\d+)?)\s*/\s*({'|'.join(UNITS)})")
_RATE_HINT = 'write a number per second or a text like "100/s" or "6/m"'
_FACTOR_HINT = "write a number above 0, like 20 or 0.5"
_SHARE_HINT = 'write a number from 0 to 1 or a text like "5%"'

if TYPE_CHECKING:
    Duration = float
    Factor = float
    Rate = float
    Share = float
else:

    class Duration(float):
        """Seconds, 0 or more, that a file may also give as a text with units."""

        __slots__ = ()

    class Factor(float):
        """A factor: above 0 and finite."""

        __slots__ = ()

    class Rate(float):
        """Events per second, above 0, that a file may also give as a text with a unit."""

        __slots__ = ()

    class Share(float):
        """A share of one, 0 to 1, that a file may also give in per cent."""

        __slots__ = ()


def parse_duration(value: object) -> float:
    """Read a duration: a number of seconds, or a text such as `"1m30s"`.

    Returns:
        seconds, 0 or more and finite.

    Raises:
        ValueError: it is not one; the message says what to write.
    """
    if isinstance(value, str):
        try:
            return parse_duration_s(value)
        except ValueError:
            raise ValueError(f"{value!r} is not a duration; {_DURATION_HINT}") from None
    return _number(value, "a duration", _DURATION_HINT)


def parse_share(value: object) -> float:
    """Read a share of one: a number from 0 to 1, or a text such as `"5%"`.

    Raises:
        ValueError: it is not one; the message says what to write.
    """
    share = value
    if isinstance(value, str):
        found = _PERCENT.fullmatch(value.strip())
        if not found:
            raise ValueError(f"{value!r} is not a share; {_SHARE_HINT}")
        share = float(Decimal(found[1]) / 100)  # 99.9 / 100 as floats is not 0.999
    share = _number(share, "a share", _SHARE_HINT)
    if share > 1:
        raise ValueError(f"{value!r} is more than 100 %; {_SHARE_HINT}")
    return share


def parse_rate(value: object) -> float:
    """Read a rate: a number per second above 0, or a text such as `"100/s"` or `"6/m"`.

    Raises:
        ValueError: it is not one; the message says what to write.
    """
    rate = value
    if isinstance(value, str):
        found = _RATE.fullmatch(value.strip())
        if not found:
            raise ValueError(f"{value!r} is not a rate; {_RATE_HINT}")
        rate = float(found[1]) / in_seconds("1", found[2])
    return _above_zero(_number(rate, "a rate", _RATE_HINT), value, _RATE_HINT)


def parse_factor(value: object) -> float:
    """Read a factor: a number above 0.

    Raises:
        ValueError: it is not one; the message says what to write.
    """
    return _above_zero(_number(value, "a factor", _FACTOR_HINT), value, _FACTOR_HINT)


def _above_zero(number: float, value: object, hint: str) -> float:
    if not number:
        raise ValueError(f"{value!r} is too small; {hint}")
    return number


def _number(value: object, what: str, hint: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(f"{value!r} is not {what}; {hint}")  # noqa: TRY004 - msgspec adds the place to a ValueError
    if not math.isfinite(value) or value < 0:
        raise ValueError(f"{value!r} is not {what}: it must be finite and not negative; {hint}")
    return float(value)


def decode(kind: type, value: Any) -> Any:
    """Turn a value of a file into one of the quantities: the `dec_hook` of msgspec."""
    if kind not in _READERS:
        raise NotImplementedError(f"no rule to read {kind}")
    return kind(_READERS[kind](value))


def encode(value: Any) -> Any:
    """Turn one of the quantities back into a plain number: the `enc_hook` of msgspec."""
    if isinstance(value, float):
        return float(value)
    raise NotImplementedError(f"no rule to write {type(value)}")


def schema_of(kind: type) -> dict[str, Any]:
    """Describe one of the quantities in JSON schema: the `schema_hook` of msgspec."""
    if kind not in _SCHEMAS:
        raise NotImplementedError(f"no schema for {kind}")
    return _SCHEMAS[kind]


def _schema(description: str, examples: list[Any], **bounds: float) -> dict[str, Any]:
    return {
        "description": description,
        "anyOf": [{"type": "number", **bounds}, {"type": "string"}],
        "examples": examples,
    }


_READERS: dict[type, Any] = {
    Duration: parse_duration,
    Factor: parse_factor,
    Rate: parse_rate,
    Share: parse_share,
}
_SCHEMAS: dict[type, dict[str, Any]] = {
    Duration: _schema("seconds, or a text with units", ["250ms", "10s", "1m30s", 1.5], minimum=0),
    Factor: {"description": "a factor", "type": "number", "exclusiveMinimum": 0},
    Rate: _schema("per second, or a text with a unit", ["100/s", 50], exclusiveMinimum=0),
    Share: _schema("a share of one, or per cent", ["5%", 0.05], minimum=0, maximum=1),
}
