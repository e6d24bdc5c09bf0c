"""How a command ends: one line for people, one exit code for programs, never a traceback."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import sys
from typing import TYPE_CHECKING

import httpx
from cyclopts.exceptions import CycloptsError, UnknownOptionError

from trimtab.errors import ConfigurationError, RegistryUnavailableError, TrimtabError
from trimtab.hiding import masked

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["DONE", "FAILED", "INTERRUPTED", "READER_LEFT", "TERMINATED", "WRONG", "ended", "warn"]

DONE, FAILED, WRONG, INTERRUPTED, READER_LEFT, TERMINATED = 0, 1, 2, 130, 141, 143

_QUIET = logging.NullHandler()
_LINE_BREAKS = re.compile(r"\s*\n\s*")


def ended(command: Callable[[], object]) -> int:
    """Run a command and say how it ended."""
    # What discovery has to say reaches people through the commands, in one line each.
    logging.getLogger("trimtab").addHandler(_QUIET)
    try:
        code = command()
        sys.stdout.flush()
    except BrokenPipeError:
        # The interpreter flushes once more when it ends, and must not find the pipe again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return READER_LEFT
    except KeyboardInterrupt:
        return INTERRUPTED
    except asyncio.CancelledError:  # by SIGTERM, where a command has something to put away
        return TERMINATED
    except (CycloptsError, httpx.InvalidURL, ConfigurationError) as error:
        warn(_what(error))
        return WRONG
    except (TrimtabError, httpx.HTTPError, OSError) as error:
        warn(_what(error))
        return FAILED
    return code if isinstance(code, int) else DONE


def warn(message: str) -> None:
    """Say something on standard error, in one line and without secrets."""
    line = masked(_LINE_BREAKS.sub(" ", message.strip()))
    print(f"trimtab: {line}", file=sys.stderr)


def _what(error: BaseException) -> str:
    if isinstance(error, UnknownOptionError):
        # The name alone: what follows a mistyped --token= is still a token.
        error.token = error.token.evolve(
            keyword=(error.token.keyword or error.token.value).partition("=")[0]
        )
    if isinstance(error, RegistryUnavailableError):
        return f"{error}; check that the registry runs, and --registry"
    if isinstance(error, CycloptsError):
        return f"{_decapitalized(str(error))} See: trimtab {_path(error)}--help"
    return str(error) or type(error).__name__


def _path(error: CycloptsError) -> str:
    return "".join(f"{name} " for name in error.command_chain or ())


def _decapitalized(text: str) -> str:
    return text[:1].lower() + text[1:]
