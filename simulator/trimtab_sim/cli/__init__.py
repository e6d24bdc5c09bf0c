"""The command `trimtab-sim`.

One file per command; `app` ties them together, `ending` turns what went wrong into one line and
an exit code. Nothing heavy is imported before `main` runs, so that an installation without the
extra `sim` can say what it lacks.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main"]

_OWN = {"trimtab", "trimtab_sim"}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code.

    0: done, and what was expected holds. 1: an expectation fails, or the run could not be done.
    2: what was asked is wrong. 130: interrupted. 141: whoever read the output has left.
    """
    try:
        from trimtab_sim.cli.app import run_line  # noqa: PLC0415 - see the module's docstring
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] in _OWN:
            raise
        print(
            f"trimtab-sim: this command needs {error.name}, which is not installed; "
            "run: pip install 'trimtab[sim]'",
            file=sys.stderr,
        )
        return 2
    return run_line(sys.argv[1:] if argv is None else list(argv))
