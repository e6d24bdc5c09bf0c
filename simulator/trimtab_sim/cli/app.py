"""All commands under one name, with what holds for each of them."""

from __future__ import annotations

from importlib.metadata import version

from cyclopts import App, Parameter

from trimtab.cli.consoles import for_errors, for_help
from trimtab_sim.cli.ending import ended

__all__ = ["make_app", "run_line"]

_HELP = (
    "See beforehand what happens to callers when instances come, go, slow down and fail: the "
    "shipping SDK in virtual time."
)

# Imported when asked for: scipy and Hypothesis take a second each to load.
_COMMANDS = {
    "run": ("running:run", "Run a scenario, and judge what it expects."),
    "compare": ("running:compare", "Put strategies side by side, on the same luck."),
    "sweep": ("running:sweep", "Run a scenario at every point of a grid of settings."),
    "fuzz": ("fuzzing:fuzz", "Search for a schedule of faults that breaks an invariant."),
    "verify": ("verifying:verify", "Hold the simulator against what theory says."),
    "determinism": ("verifying:determinism", "Compare two processes, request by request."),
    "new": ("files:new", "Write a commented scenario to start from."),
    "schema": ("files:schema", "Print the JSON schema of scenario files, for editors."),
    "list": ("files:list_", "List the ready scenarios."),
}


def make_app() -> App:
    """Make the application: commands and help."""
    app = App(
        name="trimtab-sim",
        help=_HELP,
        help_format="markdown",
        default_parameter=Parameter(negative=()),
        version=version("trimtab"),
        console=for_help(),
        error_console=for_errors(),
        result_action="return_value",
        suppress_keyboard_interrupt=False,
        exit_on_error=False,
        print_error=False,
        verbose=False,
    )
    for name, (place, purpose) in _COMMANDS.items():
        app.command(f"trimtab_sim.cli.{place}", name=name, help=purpose)
    return app


def run_line(argv: list[str]) -> int:
    """Run one command line; return its exit code."""
    app = make_app()
    return ended(lambda: app(argv))
