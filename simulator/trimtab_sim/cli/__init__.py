"""The command `trimtab-sim`.

`running` has `run`, `compare` and `sweep`; `checking` has `verify`, `determinism` and `fuzz`;
`files` has `new`, `schema` and `list`. `app` puts them together, with the `options` that they
share; `terminal` shows progress, messages and exit codes. The dependencies are imported when `main`
runs, so that an installation without the extra `sim` can name what is missing.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main"]

# Those of the extra `sim`. Some are imported late, deep in a run.
_NEEDED = (
    "cyclopts",
    "hypothesis",
    "jinja2",
    "matplotlib",
    "numpy",
    "rich",
    "scipy",
    "simpy",
    "tomli_w",
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code.

    0: done, and all expectations hold. 1: an expectation fails, or the run failed. 2: the command
    line or the scenario is wrong. 130: interrupted. 141: the reader of the output is gone.
    """
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        print(
            f"trimtab-sim: this command needs {', '.join(missing)}, which is not installed; "
            "run: pip install 'trimtab[sim]'",
            file=sys.stderr,
        )
        return 2
    from trimtab_sim.cli.app import run_line  # noqa: PLC0415 - see the module's docstring

    return run_line(sys.argv[1:] if argv is None else list(argv))
