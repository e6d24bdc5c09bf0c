"""What kind of value each setting of the SDK takes, read off its settings classes.

The classes themselves check ranges, not kinds: a Python program has a type checker for that, and a
file has not.
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
    """How a kind of value is called, how JSON schema puts it, and what is one."""

    words: str
    schema: dict[str, Any]
    takes: Callable[[Any], bool]


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    # Not a NaN, which is the only one that differs from itself.
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
# By annotation; of others the classes know more than this, and complain themselves.
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
    """Give the fields of settings classes by name."""
    return {field.name: field for kind in classes for field in fields(kind)}


def check_names(
    known: Mapping[str, Field[Any]], table: Mapping[str, Any], steps: tuple[str, ...], *, who: str
) -> Iterator[Complaint]:
    """Complain of settings that nobody knows; `who` should."""
    for name in table:
        if name not in known:
            yield Complaint((*steps, name), f"{who} no such setting; {suggest(name, known)}")


def check_kinds(
    known: Mapping[str, Field[Any]], table: Mapping[str, Any], steps: tuple[str, ...]
) -> Iterator[Complaint]:
    """Complain of values that are of another kind than their setting."""
    for name, value in table.items():
        kind = _KINDS.get(_annotation(known[name]))
        if kind is not None and not kind.takes(value):
            words = f"{kind.words} of seconds" if _is_duration(name, kind) else kind.words
            yield Complaint((*steps, name), f"{_shown(value)} is wrong here; it must be {words}")


def schema_of_table(known: Mapping[str, Field[Any]], **others: dict[str, Any]) -> dict[str, Any]:
    """Describe a table of settings in JSON schema; `others` stand in for what is no plain value."""
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
    # A file leaves out what is None.
    return str(field.type).removesuffix(" | None")


def _is_duration(name: str, kind: _Kind) -> bool:
    return kind is _NUMBER and name.endswith("_s") and not name.endswith("_per_s")


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return "a table" if isinstance(value, dict) else repr(value)
