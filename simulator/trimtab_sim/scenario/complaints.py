"""Complaints about a scenario: where the mistake is, what is wrong, and what to write instead.

A place is a path into the tree of tables (`timeline[2].at`). Its line is found without a TOML
parser of our own: it is the first line after which the file, cut off there, holds a value at that
path. The line is only needed when something is wrong, so the repeated parsing does not matter.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import msgspec
from msgspec import inspect

from trimtab_sim.durations import Duration, Factor, Rate, Share

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "Complaint",
    "Steps",
    "explain",
    "line_of",
    "parse_path",
    "path_of",
    "suggest",
    "value_at",
]

Steps: TypeAlias = "tuple[str | int, ...]"

_PLACED = re.compile(r"(?P<what>.*?)(?: - at `(?P<path>[^`]*)`)?", re.DOTALL)
_UNKNOWN = re.compile(r"Object contains unknown field `(.*)`")
_MISSING = re.compile(r"Object missing required field `(.*)`")
_INVALID = re.compile(r"Invalid (?:enum )?value .*")
_EXPECTED = re.compile(r"Expected `([^`]*)`(?:,? got `[^`]*`|(.*))")
_PLAIN_NAMES = {
    "int": "a whole number",
    "float": "a number",
    "str": "a text",
    "bool": "true or false",
    "array": "a list",
    "object": "a table",
    "null": "nothing",
}
_EXAMPLES: dict[Any, str] = {Duration: '"10s"', Share: '"5%"', Rate: '"100/s"', Factor: "10"}
_LONGEST_SHOWN = 60
_STEP = re.compile(r"\.?([^.\[\]]+)|\[(\d+)\]")
_ABSENT = object()


class Complaint(NamedTuple):
    """One mistake: where it is, and what about it."""

    steps: Steps
    message: str


def suggest(wrong: object, known: Iterable[str]) -> str:
    """Return the remedy for an unknown name: the nearest known one, or all of them."""
    names = list(known)
    near = difflib.get_close_matches(str(wrong), names, n=1)
    if near:
        return f"did you mean {near[0]!r}?"
    return f"known are {', '.join(names)}" if names else "nothing can be written here"


def explain(error: msgspec.ValidationError, tree: Any, kind: type) -> Complaint:
    """Turn the first error that msgspec finds in a tree into a complaint.

    Args:
        error: raised by msgspec.convert.
        tree: the tables that were converted.
        kind: the type that they were converted to.
    """
    placed = _PLACED.fullmatch(str(error))
    assert placed is not None  # the pattern takes any text
    what, steps = placed["what"], parse_path(placed["path"] or "$")
    if found := _UNKNOWN.fullmatch(what):
        known = _fields(_type_at(tree, steps, kind))
        return Complaint((*steps, found[1]), f"unknown key; {suggest(found[1], known)}")
    if found := _MISSING.fullmatch(what):
        example = _example(_type_at(tree, (*steps, found[1]), kind), found[1])
        return Complaint(steps, f"{found[1]!r} is missing; add {example}")
    value = value_at(tree, steps)
    if _INVALID.fullmatch(what):
        known = _choices(_type_at(tree, steps[:-1], kind), _type_at(tree, steps, kind), steps)
        return Complaint(steps, f"{_shown(value)} is not known; {suggest(value, known)}")
    if found := _EXPECTED.fullmatch(what):
        return Complaint(steps, _expected(found[1], found[2] or "", value))
    return _own(what, steps, value)


def _own(what: str, steps: Steps, value: Any) -> Complaint:
    # Our own messages begin with the name of the wrong key; its line is nearer than the table's.
    name = what.partition(" ")[0]
    inner = isinstance(value, dict) and name in value
    return Complaint((*steps, name) if inner else steps, what)


def _expected(names: str, bound: str, value: Any) -> str:
    wanted = " or ".join(_PLAIN_NAMES.get(name, name) for name in names.split(" | "))
    if " matching regex " in bound:
        wanted, bound = "a name of letters, digits, dots, dashes and underscores", ""
    if " of length " in bound:
        return f"{_shown(value)} is too short; there must be at least one"
    bound = bound.replace(" >= ", " of at least ").replace(" <= ", " of at most ")
    hint = "; write its header in double brackets, [[...]]" if _is_single(names, value) else ""
    return f"{_shown(value)} is wrong here; it must be {wanted}{bound}{hint}"


def _is_single(names: str, value: Any) -> bool:
    return names.rsplit(" | ", maxsplit=1)[-1] == "array" and isinstance(value, dict)


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "a table"
    text = repr(value)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}..."


def _type_at(tree: Any, steps: Steps, kind: type) -> Any:
    """Return the type at a path; in a union, the one that the data has."""
    found: Any = inspect.type_info(kind)
    for count, step in enumerate(steps):
        found = _step_into(_chosen(found, value_at(tree, steps[:count])), step)
    return _chosen(found, value_at(tree, steps))


def _step_into(found: Any, step: str | int) -> Any:
    if isinstance(found, inspect.VarTupleType):
        return found.item_type
    for field in getattr(found, "fields", ()):
        if field.encode_name == step:
            return field.type
    return None


def _chosen(found: Any, value: Any) -> Any:
    if not isinstance(found, inspect.UnionType):
        return found
    for one in found.types:
        if isinstance(one, inspect.StructType) and isinstance(value, dict):
            if one.tag_field is None or value.get(one.tag_field) == one.tag:
                return one
        elif isinstance(one, inspect.VarTupleType) and isinstance(value, (list, tuple)):
            return one
    return found


def _fields(found: Any) -> list[str]:
    tag = getattr(found, "tag_field", None)
    return [*([tag] if tag else []), *(one.encode_name for one in getattr(found, "fields", ()))]


def _choices(around: Any, found: Any, steps: Steps) -> list[str]:
    """Return the values that are allowed at a path: those of a literal, or the tags of a union."""
    options = found.types if isinstance(found, inspect.UnionType) else (found,)
    for one in options:
        if isinstance(one, inspect.LiteralType):
            return [str(value) for value in one.values]
    unions = around.types if isinstance(around, inspect.UnionType) else ()
    return [
        str(one.tag)
        for one in unions
        if isinstance(one, inspect.StructType) and one.tag_field == steps[-1]
    ]


def _example(found: Any, name: str) -> str:
    if isinstance(found, inspect.CustomType):
        text = _EXAMPLES[found.cls]
    elif isinstance(found, inspect.IntType):
        text = "1"
    elif isinstance(found, inspect.FloatType):
        text = "1.0"
    elif isinstance(found, inspect.StructType):
        return f"a table [{name}]"
    elif isinstance(found, inspect.VarTupleType):
        return f"at least one table [[{name}]]"
    elif isinstance(found, inspect.UnionType):
        text = "10" if any(isinstance(one, inspect.IntType) for one in found.types) else "{ ... }"
    else:
        text = '"..."'
    return f"{name} = {text}"


def parse_path(path: str) -> Steps:
    """Split `$.timeline[2].at` or `timeline[2].at` into steps: names and positions."""
    body = path.removeprefix("$")
    return tuple(int(number) if number else name for name, number in _STEP.findall(body))


def path_of(steps: Steps) -> str:
    """Write steps as a path again: `timeline[2].at`."""
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps)
    return text.removeprefix(".")


def value_at(tree: Any, steps: Steps, default: Any = None) -> Any:
    """Return the value at a path in a tree of tables and arrays, or `default`."""
    for step in steps:
        try:
            tree = tree[step]
        except (LookupError, TypeError):
            return default
    return tree


def line_of(text: str, steps: Steps) -> int:
    """Return the line (from 1) on which a value begins, or that of the nearest table around it.

    A value of several lines (an array, an inline table) counts from its first line.
    """
    while steps:
        if line := _line_of(text, steps):
            return line
        steps = steps[:-1]
    return 1


def _line_of(text: str, steps: Steps) -> int:
    lines = text.splitlines()
    first_open = 0  # the lines before it parse; the present value began there
    for count in range(1, len(lines) + 1):
        try:
            tree = tomllib.loads("\n".join(lines[:count]))
        except tomllib.TOMLDecodeError:
            continue
        if value_at(tree, steps, _ABSENT) is not _ABSENT:
            return first_open + 1
        first_open = count
    return 0
