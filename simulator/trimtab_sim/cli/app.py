"""The application: all commands, their help, and how a command line is run."""

from __future__ import annotations

from importlib.metadata import version

from cyclopts import App, Parameter

from trimtab.cli.consoles import for_errors, for_help
from trimtab_sim.cli.terminal import ended

__all__ = ["make_app", "run_line"]

_HELP = (
    "See beforehand what happens to callers when instances come, leave, slow down and fail: the "
    "shipping SDK in virtual time."
)

# Each command's module is imported when it is called: scipy and Hypothesis take a second each.
_COMMANDS = {
    "run": ("running:run", "Run a scenario, and check its expectations."),
    "compare": ("running:compare", "Compare strategies on the same random draws."),
    "sweep": ("running:sweep", "Run a scenario at every point of a grid of settings."),
    "fuzz": ("checking:fuzz", "Search for a schedule of faults that breaks an invariant."),
    "verify": ("checking:verify", "Compare the simulator with theory."),
    "determinism": ("checking:determinism", "Compare the requests of two processes."),
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
