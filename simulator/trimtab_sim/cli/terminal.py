"""What commands show on a terminal: a progress bar, and how a command ended.

A command ends with lines for people and one exit code for programs, never with a traceback.
"""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from cyclopts.exceptions import CycloptsError
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from trimtab.cli.consoles import Fitted, for_errors, is_live
from trimtab.cli.ending import DONE, FAILED, INTERRUPTED, READER_LEFT, WRONG
from trimtab.errors import ConfigurationError, TrimtabError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.console import Console

    from trimtab_sim.tables import Table

__all__ = ["DONE", "FAILED", "INTERRUPTED", "WRONG", "ended", "progress", "show", "warn"]

_NARROW = 40


@contextmanager
def progress(what: str) -> Iterator[Callable[[int, int], None] | None]:
    """Show a progress bar on standard error.

    Gives a function of (done, total) that moves the bar; None where there is no terminal.
    """
    console = for_errors()
    if not is_live(console):
        yield None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeRemainingColumn(), console=console, transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def show(console: Console, table: Table) -> None:
    """Print a table, turned or in blocks if it is too wide for the console."""
    table = table.fitted(console.width)
    if console.width < _NARROW:
        # Too narrow for blocks too: the terminal wraps the lines.
        console.print(str(table), markup=False, soft_wrap=True)
    else:
        console.print(Fitted(table.rich()))
        for note in table.notes:
            console.print(note, markup=False)
    console.print()


def ended(command: Callable[[], object]) -> int:
    """Run a command and return its exit code."""
    try:
        code = command()
        sys.stdout.flush()
    except BrokenPipeError:
        # The interpreter flushes once more when it ends, and must not find the pipe again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return READER_LEFT
    except KeyboardInterrupt:
        return INTERRUPTED
    except CycloptsError as error:
        path = "".join(f"{name} " for name in error.command_chain or ())
        message = str(error).replace("\n", " ")
        warn(f"{message[:1].lower()}{message[1:]} See: trimtab-sim {path}--help")
        return WRONG
    except ConfigurationError as error:
        warn(str(error))
        return WRONG
    except (TrimtabError, OSError) as error:
        warn(str(error) or type(error).__name__)
        return FAILED
    return code if isinstance(code, int) else DONE


def warn(message: str) -> None:
    """Write a message to standard error, each of its lines with the name of the command."""
    for line in message.strip().splitlines():
        print(f"trimtab-sim: {line}", file=sys.stderr)
