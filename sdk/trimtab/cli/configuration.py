"""The TOML file of settings: read when a command is parsed, after flags and environment.

    registry = "consul://10.0.0.1:8500"   # for all commands that have it
    strategy = "least_request"

    [call]                                # for one command
    count = 100

A key that no command has is an error that names file and key. Otherwise a misspelt setting would
silently have no effect.
"""

from __future__ import annotations

import difflib
import tomllib
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cyclopts.config import Dict

from trimtab.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from cyclopts import App, ArgumentCollection

__all__ = ["read_file"]

_DEFAULT = Path("trimtab.toml")
_FOR_ALL = ("registry", "strategy")
_NOT_IN_FILES = {"config"}


def read_file(
    root: App, app: App, commands: tuple[str, ...], arguments: ArgumentCollection
) -> None:
    """Set the options that neither flag nor environment set; `partial(read_file, root)` is a hook.

    Raises:
        ConfigurationError: the file cannot be read, or has an unknown key.
    """
    path = _path(arguments)
    if path is None or not commands:
        return
    data = _load(path)
    sections = _sections(root)
    _check(path, data, sections)
    own = {**_for_all(data, sections[commands[-1]]), **data.get(commands[-1], {})}
    # `registry` is also a command: without keys for the commands, cyclopts would ignore it.
    nested = reduce(lambda inner, name: {name: inner}, reversed(commands), own)
    Dict(nested, source=str(path))(app, commands, arguments)


def _path(arguments: ArgumentCollection) -> Path | None:
    for argument in arguments:
        if argument.name == "--config" and argument.tokens:
            return Path(argument.tokens[0].value)
    return _DEFAULT if _DEFAULT.is_file() else None


def _load(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ConfigurationError(
            f"{path}: the configuration file cannot be read: {error.strerror}; check --config"
        ) from None
    except ValueError as error:
        raise ConfigurationError(
            f"{path}: the configuration file is not valid TOML: {error}"
        ) from None


def _sections(root: App) -> dict[str, set[str]]:
    """Return the options of each command, by the command's last word."""
    sections: dict[str, set[str]] = {}
    for name in root:
        if name.startswith("-"):  # cyclopts lists --help and --version as commands
            continue
        app = root[name]
        if app.default_command is None:
            sections |= _sections(app)
        else:
            collection = app.assemble_argument_collection()
            flags = {each.name for each in collection if each.name.startswith("--")}
            sections[name] = {flag[2:].replace("-", "_") for flag in flags} - _NOT_IN_FILES
    return sections


def _for_all(data: Mapping[str, Any], taken: Collection[str]) -> dict[str, Any]:
    return {name: data[name] for name in _FOR_ALL if name in data and name in taken}


def _check(path: Path, data: Mapping[str, Any], sections: Mapping[str, Collection[str]]) -> None:
    for name, value in data.items():
        if name in sections and not isinstance(value, dict):
            raise ConfigurationError(f"{path}: {name!r} must be a table: write [{name}]")
        if name not in sections and name not in _FOR_ALL:
            raise _unknown(f"{path}: unknown key {name!r}", name, {*sections, *_FOR_ALL})
        if name in sections:
            for key in value:
                if key.replace("-", "_") not in sections[name]:
                    raise _unknown(f"{path}: unknown key {key!r} in [{name}]", key, sections[name])


def _unknown(what: str, name: str, known: Collection[str]) -> ConfigurationError:
    close = difflib.get_close_matches(name, known, n=1)
    advice = f"did you mean {close[0]!r}?" if close else f"known are {', '.join(sorted(known))}"
    return ConfigurationError(f"{what}; {advice}")
