"""The application: all commands under one name, their help, and the sources of settings.

`serve` is the one command that is not in a module of its own.
"""

from __future__ import annotations

from functools import partial
from importlib.metadata import version
from pathlib import Path  # noqa: TC003 - the annotations are read at run time

from cyclopts import App, Parameter
from cyclopts.config import Env

from trimtab import server
from trimtab.cli.call import call
from trimtab.cli.configuration import read_file
from trimtab.cli.consoles import for_errors, for_help
from trimtab.cli.demo.command import demo
from trimtab.cli.ending import DONE, ended, shown_log
from trimtab.cli.inputs import DEFAULT, Configured, Positive, Whole
from trimtab.cli.ls import ls
from trimtab.cli.register import register
from trimtab.cli.upkeep import deregister, maintenance
from trimtab.cli.watch import watch
from trimtab.errors import ConfigurationError

__all__ = ["make_app", "run", "serve"]

_MAX_PORT = 65535

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


def serve(
    *,
    host: str = "127.0.0.1",
    port: Whole = 8500,
    data_dir: Path | None = None,
    token: str | None = None,
    token_file: Path | None = None,
    enable_script_checks: bool = False,
    node_name: str = "trimtab",
    datacenter: str = "dc1",
    max_body_bytes: Positive = 1 << 20,
    max_connections: Positive = 16384,
    _: Configured = DEFAULT,
) -> int:
    """Run a registry that speaks Consul's HTTP API, until SIGINT or SIGTERM.

    The first line of output has its URL, for the `--registry` of the other commands.

    It is one process, with no cluster: while it is down, nothing can register, and clients keep
    their last lists. Its state is in one file, if --data-dir is given. Where that is not enough,
    run a Consul cluster; clients change only the URL.

    ```
    trimtab registry serve --data-dir /var/lib/trimtab
    TRIMTAB_REGISTRY_SERVE_TOKEN=... trimtab registry serve --host 0.0.0.0
    ```

    Args:
        host: The address to bind; set a token if it is not a loopback address.
        port: The port to bind; 0 takes a free one.
        data_dir: Where the state is kept; by default only in memory.
        token: The token that clients must send. Other users of this machine can read flags, so
            use the environment or --token-file.
        token_file: A file that holds the token.
        enable_script_checks: Clients may register commands that this machine then runs.
        node_name: The node under which instances are listed.
        datacenter: The name of the only datacenter.
        max_body_bytes: The largest request body that is accepted.
        max_connections: How many connections may be open at once. The system's limit of open
            files also counts.
    """
    if not 0 <= port <= _MAX_PORT:
        raise ConfigurationError(f"--port is {port}; it must be from 0 (a free one) to {_MAX_PORT}")
    if token is not None and token_file is not None:
        raise ConfigurationError(
            "--token and --token-file exclude each other; set only one of them"
        )
    with shown_log():
        server.serve(
            host,
            port,
            data_dir=data_dir,
            token=_read(token_file) if token_file else token,
            enable_script_checks=enable_script_checks,
            node_name=node_name,
            datacenter=datacenter,
            max_body_bytes=max_body_bytes,
            max_connections=max_connections,
        )
    return DONE


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8").strip()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigurationError(f"--token-file {path}: it cannot be read: {reason}") from None
