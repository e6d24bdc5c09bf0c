"""Say what is wrong with a scenario in words that help: where, what, and what to write instead."""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
from msgspec import inspect

from trimtab_sim.durations import Duration, Factor, Rate, Share
from trimtab_sim.scenario.places import Steps, parse_path, reach

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Complaint", "explain", "suggest"]

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


class Complaint(NamedTuple):
    """One mistake: where it is, and what about it."""

    steps: Steps
    message: str


def suggest(wrong: object, known: Iterable[str]) -> str:
    """Give the remedy for a name that nobody knows: the nearest one, or all of them."""
    names = list(known)
    near = difflib.get_close_matches(str(wrong), names, n=1)
    if near:
        return f"did you mean {near[0]!r}?"
    return f"known are {', '.join(names)}" if names else "nothing can be written here"


def explain(error: msgspec.ValidationError, tree: Any, kind: type) -> Complaint:
    """Turn msgspec's first complaint about a tree into ours.

    Args:
        error: what msgspec.convert raised.
        tree: what was to be converted.
        kind: into what.
    """
    placed = _PLACED.fullmatch(str(error))
    assert placed is not None  # the pattern takes any text
    what, steps = placed["what"], parse_path(placed["path"] or "$")
    if found := _UNKNOWN.fullmatch(what):
        known = _fields(_type_at(tree, steps, kind))
        return Complaint((*steps, found[1]), f"nobody knows this key; {suggest(found[1], known)}")
    if found := _MISSING.fullmatch(what):
        example = _example(_type_at(tree, (*steps, found[1]), kind), found[1])
        return Complaint(steps, f"{found[1]!r} is missing; add {example}")
    value = reach(tree, steps)
    if _INVALID.fullmatch(what):
        known = _choices(_type_at(tree, steps[:-1], kind), _type_at(tree, steps, kind), steps)
        return Complaint(steps, f"{_shown(value)} is not known; {suggest(value, known)}")
    if found := _EXPECTED.fullmatch(what):
        return Complaint(steps, _expected(found[1], found[2] or "", value))
    return _own(what, steps, value)


def _own(what: str, steps: Steps, value: Any) -> Complaint:
    # Our own checks begin with the name of the key at fault; its line is nearer than the table's.
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
    """Follow steps through the types; where a union is met, the data says which one."""
    found: Any = inspect.type_info(kind)
    for count, step in enumerate(steps):
        found = _step_into(_chosen(found, reach(tree, steps[:count])), step)
    return _chosen(found, reach(tree, steps))


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
    """Give the values that may stand at a place: those of a literal, or the tags of a union."""
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
    elif isinstance(found, inspect.StructType):
        return f"a table [{name}]"
    elif isinstance(found, inspect.VarTupleType):
        return f"at least one table [[{name}]]"
    elif isinstance(found, inspect.UnionType):
        text = "10" if any(isinstance(one, inspect.IntType) for one in found.types) else "{ ... }"
    else:
        text = '"..."'
    return f"{name} = {text}"
