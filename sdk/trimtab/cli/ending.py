"""How a command ends: one line for people, one exit code for programs, never a traceback.

`shown_log` shows the library's warnings in the same form while a long command runs.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import httpx
from cyclopts.exceptions import CycloptsError, UnknownOptionError

from trimtab.cli.consoles import visible
from trimtab.errors import ConfigurationError, RegistryUnavailableError, TrimtabError
from trimtab.hiding import masked

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = [
    "DONE",
    "FAILED",
    "INTERRUPTED",
    "READER_LEFT",
    "TERMINATED",
    "WRONG",
    "ended",
    "shown_log",
    "warn",
]

DONE, FAILED, WRONG, INTERRUPTED, READER_LEFT, TERMINATED = 0, 1, 2, 130, 141, 143
_QUIET = logging.NullHandler()
_LINE_BREAKS = re.compile(r"\s*\n\s*")


def ended(command: Callable[[], object]) -> int:
    """Run a command; print an error in one line, and return the exit code."""
    # The commands print what discovery reports, in one line each.
    logging.getLogger("trimtab").addHandler(_QUIET)
    try:
        code = command()
        sys.stdout.flush()
    except BrokenPipeError:
        # The interpreter flushes once more at its end, and must not write to the pipe again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return READER_LEFT
    except KeyboardInterrupt:
        return INTERRUPTED
    except asyncio.CancelledError:  # by SIGTERM, in commands that clean up
        return TERMINATED
    except (CycloptsError, httpx.InvalidURL, ConfigurationError) as error:
        warn(_what(error))
        return WRONG
    except (TrimtabError, httpx.HTTPError, OSError) as error:
        warn(_what(error))
        return FAILED
    return code if isinstance(code, int) else DONE


def warn(message: str) -> None:
    """Print a message on standard error, in one line, without secrets and control characters."""
    line = visible(masked(_LINE_BREAKS.sub(" ", message.strip())))
    print(f"trimtab: {line}", file=sys.stderr)


def _what(error: BaseException) -> str:
    if isinstance(error, UnknownOptionError):
        # Only the name: the text after a mistyped --token= is still a token.
        error.token = error.token.evolve(
            keyword=(error.token.keyword or error.token.value).partition("=")[0]
        )
    if isinstance(error, RegistryUnavailableError):
        return f"{error}; check --registry, and whether the registry runs"
    if isinstance(error, CycloptsError):
        return f"{_decapitalized(str(error))} See: trimtab {_path(error)}--help"
    return str(error) or type(error).__name__


def _path(error: CycloptsError) -> str:
    return "".join(f"{name} " for name in error.command_chain or ())


def _decapitalized(text: str) -> str:
    return text[:1].lower() + text[1:]


@contextmanager
def shown_log(name: str = "trimtab") -> Iterator[None]:
    """Print warnings and errors of the library, one line each, while the block lasts.

    `name` is the name of the logger, for a part of the library.
    """
    logger, handler = logging.getLogger(name), _Lines(logging.WARNING)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


class _Lines(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        warn(record.getMessage())
