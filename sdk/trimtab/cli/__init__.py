"""The command `trimtab`.

One file per command (`call` with `load`, `ls`, `register`, `serve`, `watch`, the folder `demo`),
and `upkeep` has `deregister` and `maintenance`; `app` joins them. `inputs` and `configuration` read
what people set, `consoles` prints, and `ending` turns errors into one line and an exit code.
Nothing heavy is imported before `main` runs, so an installation without the extra `cli` can name
what is missing.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main"]

_EXTRAS = {"attrs", "cyclopts", "rich", "starlette", "uvicorn"}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code.

    0: done. 1: it failed (the registry is down, a call failed). 2: wrong input. 130: interrupted.
    141: the reader of the output has closed the pipe. 143: terminated.
    """
    try:
        from trimtab.cli.app import run  # noqa: PLC0415 - see the module's docstring
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in _EXTRAS:
            raise
        print(
            f"trimtab: the command line needs {missing}, which is not installed; "
            "run: pip install 'trimtab[cli]'",
            file=sys.stderr,
        )
        return 2
    return run(sys.argv[1:] if argv is None else list(argv))
