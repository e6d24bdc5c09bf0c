"""The application: all commands under one name, their help, and the sources of settings."""

from __future__ import annotations

from functools import partial
from importlib.metadata import version

from cyclopts import App, Parameter
from cyclopts.config import Env

from trimtab.cli.call import call
from trimtab.cli.configuration import read_file
from trimtab.cli.consoles import for_errors, for_help
from trimtab.cli.demo.command import demo
from trimtab.cli.ending import ended
from trimtab.cli.ls import ls
from trimtab.cli.register import register
from trimtab.cli.serve import serve
from trimtab.cli.upkeep import deregister, maintenance
from trimtab.cli.watch import watch

__all__ = ["make_app", "run"]

_HELP = "Spread HTTP calls over the instances of a service that are alive."
_SETTINGS = (
    "Every option can also be set by an environment variable and in a file. A flag overrides the "
    "environment, which overrides the file. TRIMTAB_REGISTRY and TRIMTAB_STRATEGY apply to all "
    "commands; other variables are named after command and option, such as TRIMTAB_CALL_COUNT. The "
    "file is TOML; --config or TRIMTAB_CONFIG names it, and ./trimtab.toml is the default. It has "
    "`registry` and `strategy` at its top and one table per command, such as [call]."
)


def make_app() -> App:
    """Make the application: commands, help, and the sources of settings."""
    app = App(
        name="trimtab",
        help=_HELP,
        help_epilogue=_SETTINGS,
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
    app.config = (Env("TRIMTAB_", show=False), partial(read_file, app))
    registry = App(name="registry", help="The embedded registry.")
    registry.command(serve)
    app.command(registry)
    for command in (demo, register, deregister, maintenance, ls, watch, call):
        app.command(command)
    return app


def run(argv: list[str]) -> int:
    """Run one command line; return its exit code."""
    app = make_app()
    return ended(lambda: app(argv))
