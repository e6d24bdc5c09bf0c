"""How a command ends: lines for people, one exit code for programs, never a traceback."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from cyclopts.exceptions import CycloptsError

from trimtab.cli.ending import DONE, FAILED, INTERRUPTED, READER_LEFT, WRONG
from trimtab.errors import ConfigurationError, TrimtabError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["DONE", "FAILED", "WRONG", "ended", "warn"]


def ended(command: Callable[[], object]) -> int:
    """Run a command and say how it ended."""
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
    """Say something on standard error; a scenario's mistakes have a line each."""
    for line in message.strip().splitlines():
        print(f"trimtab-sim: {line}", file=sys.stderr)
