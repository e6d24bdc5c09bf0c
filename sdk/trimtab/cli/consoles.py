"""Where output goes: colours and a width on a terminal, whole plain lines elsewhere."""

from __future__ import annotations

import sys

from rich.console import Console

__all__ = ["for_errors", "for_help", "for_output", "is_live"]

_UNBOUNDED = 4000
_READABLE = 100


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Leave it to `ending`, which treats every way of writing alike."""
        raise BrokenPipeError


def for_output() -> Console:
    """Make a console for standard output as it is now; nothing is cut off in files and pipes."""
    return _console(stderr=False, is_terminal=sys.stdout.isatty())


def for_help() -> Console:
    """Make a console for help pages, which are prose and have a readable width."""
    console = for_output()
    console.width = min(console.width, _READABLE)
    return console


def for_errors() -> Console:
    """Make a console for standard error."""
    return _console(stderr=True, is_terminal=sys.stderr.isatty())


def is_live(console: Console) -> bool:
    """Whether a picture may be redrawn in place."""
    return console.is_terminal and not console.is_dumb_terminal


def _console(*, stderr: bool, is_terminal: bool) -> Console:
    width = None if is_terminal else _UNBOUNDED
    return _Console(stderr=stderr, width=width, highlight=False, emoji=False, markup=True)
