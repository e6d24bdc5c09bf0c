"""Strategies by name and with settings: looked up, checked, shown, read from a line of text.

    ring_hash(load_factor=1.25)      zone_aware(eu-1, inside=ring_hash(min_size=4096))

A strategy's settings are a frozen dataclass that is itself the factory: called with a generator
it makes the strategy. Its fields may be given in their order or by name. The names are those that
`trimtab.strategies.table` adds, and those of entry points.
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import MISSING, fields, is_dataclass
from importlib.metadata import entry_points
from math import isfinite
from typing import TYPE_CHECKING, Any, TypeVar, cast

from trimtab.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from dataclasses import Field

    from trimtab.strategies.protocol import StrategyFactory

__all__ = [
    "add_names",
    "check_function",
    "check_settings",
    "in_words",
    "read",
    "require",
    "require_whole",
    "resolve",
    "settings_of",
]

T = TypeVar("T")

_WORDS = {"none": None, "true": True, "false": False}
_PLAIN = re.compile(r"[\w.-]+(\(.*\))?")
_BRACKETS = {"(": 1, ")": -1}
_GROUP = "trimtab.strategies"

_named: dict[str, Any] = {}


def add_names(table: Mapping[str, Any]) -> None:
    """Add the built-in strategies to the names that `resolve` knows: factories or settings."""
    _named.update(table)


def resolve(strategy: str | StrategyFactory) -> StrategyFactory:
    """Return the factory of a strategy.

    Args:
        strategy: a built-in name, an entry point's name, either with settings in brackets
            (`ring_hash(load_factor=1.25)`), or a factory.

    Raises:
        ConfigurationError: no strategy has this name, or a setting is wrong.
    """
    if not isinstance(strategy, str):
        if not callable(strategy):
            raise ConfigurationError(
                f"strategy {strategy!r} is neither a name nor a factory (rng) -> Strategy"
            )
        return strategy
    name, parts = read(strategy)
    found = _named.get(name) or _from_entry_point(name)
    if isinstance(found, type) and is_dataclass(found):
        return _configured(strategy, cast("Any", found), parts or ())
    if parts:
        raise ConfigurationError(f"strategy {strategy!r}: {name} takes no settings; leave them out")
    return cast("StrategyFactory", found)


def _from_entry_point(name: str) -> Any:
    for entry in entry_points(group=_GROUP, name=name):
        return entry.load()
    raise ConfigurationError(
        f"no strategy is called {name!r}; known are {', '.join(sorted(_named))} and those of "
        f"entry points in the group {_GROUP!r}"
    )


def require(what: str, value: object, wanted: str, holds: Callable[[Any], bool]) -> None:
    """Refuse a setting that is not a finite number, or not in its range.

    Raises:
        ConfigurationError: naming the setting, its value and its range.
    """
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not (is_number and isfinite(cast("float", value)) and holds(value)):
        raise ConfigurationError(f"{what} is {value!r}; it must be {wanted}")


def require_whole(what: str, value: object, least: int, most: int = 2**64 - 1) -> None:
    """Refuse a setting that is not a whole number from `least` to `most`.

    Raises:
        ConfigurationError: naming the setting, its value and its range.
    """
    wanted = f"a whole number from {least} to {most}"
    require(what, value, wanted, lambda value: isinstance(value, int) and least <= value <= most)


def settings_of(name: str, given: T | None, kind: type[T]) -> T:
    """Return the settings that a user gives, or the usual ones of this kind for None.

    Raises:
        ConfigurationError: they are of another kind.
    """
    if given is None:
        return kind()
    check_settings(name, given, kind)
    return given


def check_settings(name: str, given: object, kind: type[object]) -> None:
    """Refuse settings of another kind.

    Raises:
        ConfigurationError: naming the setting and how it is written.
    """
    if not isinstance(given, kind):
        raise ConfigurationError(f"{name} is {given!r}; write {name}={kind.__name__}(...)")


def check_function(name: str, given: object, what: str) -> None:
    """Refuse what is neither None nor can be called.

    Raises:
        ConfigurationError: naming the setting and what it must be.
    """
    if given is not None and not callable(given):
        raise ConfigurationError(f"{name} is {given!r}; give {what}")


def in_words(name: str, settings: Any) -> str:
    """Return the text that `resolve` makes these settings from."""
    given = [
        f"{field.name}={_text(value)}"
        for field in fields(settings)
        if (value := getattr(settings, field.name)) != field.default
    ]
    return f"{name}({', '.join(given)})" if given else name


def read(text: str) -> tuple[str, list[str] | None]:
    """Split `name(one, two=2)` into the name and the parts in its brackets; None without brackets.

    Raises:
        ConfigurationError: brackets or quotes are not closed, or text follows them.
    """
    name, bracket, rest = text.partition("(")
    if not bracket:
        return text.strip(), None
    inside, closing, after = rest.rpartition(")")
    if not closing or after.strip():
        raise ConfigurationError(f"strategy {text!r}: it must end with the bracket that it opens")
    parts = [part.strip() for part in _split(inside, text)]
    return name.strip(), parts if any(parts) else []


def _configured(
    text: str, settings: Callable[..., StrategyFactory], parts: Sequence[str]
) -> StrategyFactory:
    """Make the settings from the parts, each `value` or `field=value`.

    Raises:
        ConfigurationError: a field is unknown, missing, given twice or out of its range.
    """
    known = {field.name: field for field in fields(cast("Any", settings))}
    values: dict[str, object] = {}
    for place, part in enumerate(parts):
        name, equals, value = part.partition("=")
        if not equals or not name.strip().isidentifier():
            name, value = (list(known)[place] if place < len(known) else "", part)
        name = name.strip()
        if name not in known or name in values:
            raise ConfigurationError(
                f"strategy {text!r}: {part!r} is unknown or given twice; its settings are "
                f"{', '.join(known)}"
            )
        values[name] = _value(value.strip(), known[name])
    _refuse_missing(text, known, values)
    return settings(**values)


def _refuse_missing(
    text: str, known: Mapping[str, Field[Any]], values: Mapping[str, object]
) -> None:
    for name, field in known.items():
        if field.default is MISSING and name not in values:
            raise ConfigurationError(
                f"strategy {text!r}: {name} is missing; write {text.partition('(')[0]}({name}=...)"
            )


def _value(text: str, field: Field[Any]) -> object:
    if text[:1] in {"'", '"'} and text[-1:] == text[:1]:
        return text[1:-1]
    if "str" in str(field.type):  # a zone may well be called 1
        return text
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    for kind in (int, float):
        with suppress(ValueError):
            return kind(text)
    return text


def _split(inside: str, text: str) -> Iterator[str]:
    """Yield the parts between commas; commas within brackets or quotes do not count."""
    part, depth, quote = "", 0, ""
    for letter in inside:
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "'\"":
            quote = letter
        else:
            depth += _BRACKETS.get(letter, 0)
        if letter == "," and not depth and not quote:
            yield part
            part = ""
        else:
            part += letter
    if depth or quote:
        raise ConfigurationError(f"strategy {text!r}: a bracket or a quote is not closed")
    yield part


def _text(value: object) -> str:
    if isinstance(value, str):
        return value if _PLAIN.fullmatch(value) else repr(value)
    if isinstance(value, float | int):
        return str(value)
    return getattr(value, "__name__", None) or type(value).__name__
