"""The kind of value of each setting of the SDK, read from its settings classes.

The classes check ranges, not kinds: Python programs have a type checker for that, files do not.
"""

from __future__ import annotations

import re
from dataclasses import MISSING, fields
from typing import TYPE_CHECKING, Any, NamedTuple

from trimtab_sim.scenario.complaints import Complaint, suggest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from dataclasses import Field

__all__ = ["check_kinds", "check_names", "fields_of", "schema_of_table"]


class _Kind(NamedTuple):
    """A kind of value: its name in messages, its JSON schema, and a check."""

    words: str
    schema: dict[str, Any]
    takes: Callable[[Any], bool]


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    # Not a NaN, the only number that differs from itself.
    return isinstance(value, float | int) and not isinstance(value, bool) and value == value  # noqa: PLR0124


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _list_of(takes: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list | tuple) and all(map(takes, value))


_WHOLE = _Kind("a whole number", {"type": "integer"}, _is_whole)
_NUMBER = _Kind("a number", {"type": "number"}, _is_number)
_TEXT = _Kind("a text", {"type": "string"}, _is_text)
_TEXTS = _Kind("a list of texts", {"type": "array", "items": _TEXT.schema}, _list_of(_is_text))
_STATUSES = _Kind(
    "a list of statuses, such as [503]",
    {"type": "array", "items": _WHOLE.schema},
    _list_of(_is_whole),
)
_FLAG = _Kind("true or false", {"type": "boolean"}, lambda value: isinstance(value, bool))
# By annotation; other annotations are checked by the classes themselves.
_KINDS = {
    "bool": _FLAG,
    "int": _WHOLE,
    "float": _NUMBER,
    "str": _TEXT,
    "Collection[str]": _TEXTS,
    "Collection[Failure]": _TEXTS,
    "Sequence[str]": _TEXTS,
    "Collection[int]": _STATUSES,
}
_CHOICES = re.compile(r"Literal\[(.*)\]")


def fields_of(*classes: type[Any]) -> dict[str, Field[Any]]:
    """Return the fields of settings classes by name."""
    return {field.name: field for kind in classes for field in fields(kind)}


def check_names(
    known: Mapping[str, Field[Any]], table: Mapping[str, Any], steps: tuple[str, ...], *, who: str
) -> Iterator[Complaint]:
    """Yield complaints about unknown settings; `who` begins the message."""
    for name in table:
        if name not in known:
            yield Complaint((*steps, name), f"{who} no such setting; {suggest(name, known)}")


def check_kinds(
    known: Mapping[str, Field[Any]], table: Mapping[str, Any], steps: tuple[str, ...]
) -> Iterator[Complaint]:
    """Yield complaints about values of the wrong kind."""
    for name, value in table.items():
        kind = _KINDS.get(_annotation(known[name]))
        if kind is not None and not kind.takes(value):
            words = f"{kind.words} of seconds" if _is_duration(name, kind) else kind.words
            yield Complaint((*steps, name), f"{_shown(value)} is wrong here; it must be {words}")


def schema_of_table(known: Mapping[str, Field[Any]], **others: dict[str, Any]) -> dict[str, Any]:
    """Return the JSON schema of a table of settings; `others` are schemas of nested tables."""
    properties = {name: others.get(name) or _schema(field) for name, field in known.items()}
    return {"type": "object", "properties": properties, "additionalProperties": False}


def _schema(field: Field[Any]) -> dict[str, Any]:
    annotation = _annotation(field)
    kind, choices = _KINDS.get(annotation), _CHOICES.fullmatch(annotation)
    schema = dict(kind.schema) if kind is not None else {}
    if choices:
        schema["enum"] = re.findall(r"\w+", choices[1])
    if kind is not None and _is_duration(field.name, kind):
        schema["description"] = "seconds"
    if field.default is not MISSING and isinstance(field.default, bool | int | float | str):
        schema["default"] = field.default
    return schema


def _annotation(field: Field[Any]) -> str:
    # Files cannot say None: they omit the key.
    return str(field.type).removesuffix(" | None")


def _is_duration(name: str, kind: _Kind) -> bool:
    return kind is _NUMBER and name.endswith("_s") and not name.endswith("_per_s")


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return "a table" if isinstance(value, dict) else repr(value)
