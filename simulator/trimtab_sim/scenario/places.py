"""Find the line of a TOML file that says a thing, without a TOML parser of our own.

The line that says `timeline[2].at` is the first one after which the file, cut off there, holds
that value. Only asked for when something is wrong, so the repeated parsing does not matter.
"""

from __future__ import annotations

import re
import tomllib
from typing import Any, TypeAlias

__all__ = ["Steps", "line_of", "parse_path", "reach", "written"]

Steps: TypeAlias = "tuple[str | int, ...]"

_STEP = re.compile(r"\.?([^.\[\]]+)|\[(\d+)\]")
_MISSING = object()


def parse_path(path: str) -> Steps:
    """Cut `$.timeline[2].at` or `timeline[2].at` into steps: names and positions."""
    body = path.removeprefix("$")
    return tuple(int(number) if number else name for name, number in _STEP.findall(body))


def written(steps: Steps) -> str:
    """Write steps as a path again: `timeline[2].at`."""
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps)
    return text.removeprefix(".")


def reach(tree: Any, steps: Steps, default: Any = None) -> Any:
    """Follow the steps into a tree of tables and arrays; `default` where they lead nowhere."""
    for step in steps:
        try:
            tree = tree[step]
        except (LookupError, TypeError):
            return default
    return tree


def line_of(text: str, steps: Steps) -> int:
    """Give the line (from 1) on which a value begins, or that of the nearest thing around it.

    A value of several lines (an array, an inline table) counts from its first line.
    """
    while steps:
        if line := _line_of(text, steps):
            return line
        steps = steps[:-1]
    return 1


def _line_of(text: str, steps: Steps) -> int:
    lines = text.splitlines()
    first_open = 0  # the lines before it parse; the value at hand began there
    for count in range(1, len(lines) + 1):
        try:
            tree = tomllib.loads("\n".join(lines[:count]))
        except tomllib.TOMLDecodeError:
            continue
        if reach(tree, steps, _MISSING) is not _MISSING:
            return first_open + 1
        first_open = count
    return 0
