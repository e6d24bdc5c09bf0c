"""Read what clients send as Go does, and refuse the rest with Consul's status and text.

Consul is written in Go, so its JSON has field names in any case (and in snake case), null means
"not given", a field that it does not know is refused by name, and durations are texts such as
`10s`, `1m30s`, `500ms` or `1.5h` (in JSON also a bare number of nanoseconds).
"""

from __future__ import annotations

import math
import re
from functools import cache
from typing import Any, TypeVar

import msgspec

from trimtab.durations import parse_duration_s

__all__ = ["Refusal", "duration_s", "read"]

_UNSUPPORTED = ("kind", "proxy", "connect", "grpc", "dockercontainerid", "aliasnode")
StructT = TypeVar("StructT", bound=msgspec.Struct)
_LONGEST_NS = 2**63  # Go keeps nanoseconds in 64 bits
_NOT_IN_GO = re.compile(r"[\sd]|[^\x00-\x7f\u00b5\u03bc]")
"""Go's durations have no spaces, no days, and no digits but ours; two letters mu are there."""


class Refusal(Exception):  # noqa: N818 - it is an answer, not a failure of the server
    """End the request with this status and plain text.

    Attributes:
        status: the HTTP status code.
        text: the body; in Consul's own wording where clients read it.
        headers: further headers of the response.
    """

    def __init__(self, status: int, text: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(text)
        self.status = status
        self.text = text
        self.headers = headers or {}


def read(body: bytes, kind: type[StructT]) -> StructT:
    """Read a JSON body into a struct such as those in `trimtab.server.definitions`.

    The struct may have `aliases` (a field name in lower case -> our name) and `nested` (our name
    -> the struct of the values). Fields that end in `_s` are durations.

    Raises:
        Refusal: 400; the text names the field at fault.
    """
    if not body.strip():
        raise Refusal(400, "Request decode failed: EOF")
    try:
        return msgspec.convert(_named(msgspec.json.decode(body), kind), kind)
    except msgspec.ValidationError as error:
        raise Refusal(400, f"Request decode failed: {error}") from None
    except msgspec.DecodeError as error:
        reason = "unexpected EOF" if "truncated" in str(error) else str(error)
        raise Refusal(400, f"Request decode failed: {reason}") from None
    except (UnicodeDecodeError, RecursionError) as error:
        raise Refusal(400, f"Request decode failed: {error}") from None


def _named(raw: Any, kind: type[msgspec.Struct]) -> dict[str, Any]:
    """Return the fields under our names, without nulls, with durations in seconds."""
    if not isinstance(raw, dict):
        raise Refusal(400, f"Request decode failed: Expected `object`, got `{_go_type(raw)}`")
    known, nested, named = _known_names(kind), getattr(kind, "nested", {}), {}
    for given, value in raw.items():
        plain = _plain(given)
        field = known.get(plain)
        if field is None:
            _refuse_unknown(given, plain, value)
        elif value is None:
            continue
        elif field in nested:
            named[field] = _nested(value, nested[field])
        else:
            named[field] = _duration(value) if field.endswith("_s") else value
    return named


def _nested(value: Any, kind: type[msgspec.Struct]) -> Any:
    return (
        [_named(each, kind) for each in value] if isinstance(value, list) else _named(value, kind)
    )


def _refuse_unknown(given: str, plain: str, value: Any) -> None:
    if plain not in _UNSUPPORTED:
        raise Refusal(400, f'Request decode failed: json: unknown field "{given}"')
    if value:
        raise Refusal(400, f"{given} is not supported by this registry; leave it out")


def _duration(value: Any) -> float:
    try:
        return duration_s(value)
    except ValueError as error:
        raise Refusal(400, f"Request decode failed: {error}") from None


@cache
def _known_names(kind: type[msgspec.Struct]) -> dict[str, str]:
    fields = kind.__struct_fields__
    aliases: dict[str, str] = getattr(kind, "aliases", {})
    return {_plain(field.removesuffix("_s")): field for field in fields} | aliases


def _plain(name: str) -> str:
    return name.lower().replace("_", "")


def _go_type(value: Any) -> str:
    return {list: "array", str: "string", bool: "bool", type(None): "null"}.get(
        type(value), "number"
    )


def duration_s(value: object) -> float:
    """Read a duration and return seconds; negative ones are legal, as in Go.

    Raises:
        ValueError: it is neither such a text nor a number, or exceeds Go's range.
    """
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        # Compared first: a whole number of hundreds of digits cannot become a float.
        seconds = value / 1e9 if abs(value) < _LONGEST_NS else math.inf
    elif isinstance(value, str):
        seconds = _from_text(value)
    else:
        raise ValueError(f"time: invalid duration {value!r}")  # noqa: TRY004 - one error for all
    if not abs(seconds) < _LONGEST_NS / 1e9:
        raise ValueError(f'time: invalid duration "{value}"')
    return seconds


def _from_text(text: str) -> float:
    if text in {"", "0", "+0", "-0"}:
        # Go calls an empty text an error, but Consul reads a field left empty as "not given".
        return 0.0
    invalid = ValueError(f'time: invalid duration "{text}"')
    if _NOT_IN_GO.search(text):
        raise invalid
    try:
        seconds = parse_duration_s(text[1:] if text[0] in "+-" else text)
    except ValueError:
        raise invalid from None
    return -seconds if text[0] == "-" else seconds
