"""Options that several commands share: their types, checks and parsing."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from trimtab.cli.inputs import Whole, read_whole
from trimtab_sim import ready
from trimtab_sim.durations import parse_duration
from trimtab_sim.errors import ScenarioError
from trimtab_sim.scenario import Scenario

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cyclopts import Token

__all__ = ["DEFAULT", "Common", "Json", "ScenarioName", "Seconds", "find", "settings", "several"]


def _not_negative(_: Any, value: int) -> None:
    if value < 0:
        raise ValueError("It must be 0 or more.")


def _positive(_: Any, value: int) -> None:
    if value < 1:
        raise ValueError("It must be 1 or more.")


def _share(_: Any, value: float | None) -> None:
    # Written so that a NaN fails.
    if value is not None and not 0 < value < 1:
        raise ValueError("It must be a share between 0 and 1, such as 0.02.")


def _duration(_: Any, tokens: Sequence[Token]) -> float:
    text = tokens[0].value
    try:
        value: float | str = float(text)
    except ValueError:
        value = text
    try:
        return parse_duration(value)
    except ValueError as error:
        raise ValueError(f"{error}.") from None


def _above_zero(_: Any, value: float) -> None:
    if not value > 0:
        raise ValueError("It must be above 0.")


Json = Annotated[bool, Parameter(name="--json")]
ScenarioName = Annotated[str, Parameter(name="scenario", show_default=False)]


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Common:
    """The options of all commands that run a scenario.

    Attributes:
        depth: How much of the client is real.
        seed: The root seed; replication k is derived from it.
        reps: How many replications.
        jobs: Processes; 0 means one per core.
        dask: Address of a Dask scheduler, such as tcp://127.0.0.1:8786, instead of --jobs.
        strategy: A strategy, instead of the scenario's; repeatable.
    """

    depth: Literal["core", "client", "wire"] = "core"
    seed: Whole = 1
    reps: Annotated[int, Parameter(converter=read_whole, validator=_positive)] = 5
    jobs: Annotated[int, Parameter(converter=read_whole, validator=_not_negative)] = 1
    dask: str | None = None
    strategy: Annotated[list[str], Parameter(negative=())] = field(default_factory=list)


Seconds = Annotated[float, Parameter(converter=_duration, validator=_above_zero)]
Share = Annotated[float | None, Parameter(validator=_share)]
DEFAULT = Common()


def find(name: str) -> Scenario:
    """Read the scenario file of this path, or the ready scenario of this name.

    Raises:
        ScenarioError: neither exists, or the file is wrong.
    """
    path = Path(name)
    if path.exists():
        return Scenario.load(path)
    if name in ready.names():
        return ready.load(name)
    if path.suffix or len(path.parts) > 1:
        raise ScenarioError(f"{name}: no such file; `trimtab-sim new {name}` writes one")
    raise ScenarioError(
        f"{name}: neither a file nor a ready scenario; ready are {', '.join(ready.names())}"
    )


def settings(given: list[str]) -> dict[str, Any]:
    """Parse `path=value` arguments. A value is TOML, or else a plain text.

    Raises:
        ScenarioError: an argument has no `=`.
    """
    return {path: _value(text) for path, text in map(_split, given)}


def several(given: list[str]) -> dict[str, list[Any]]:
    """Parse `path=value,value,...` arguments.

    Raises:
        ScenarioError: an argument has no `=`, or no values.
    """
    return {path: _values(text) for path, text in map(_split, given)}


def _split(given: str) -> tuple[str, str]:
    path, sign, text = given.partition("=")
    if not (path and sign and text):
        raise ScenarioError(
            f"--set {given}: write a path, = and a value, like discovery.poll_interval_s=5"
        )
    return path.strip(), text.strip()


def _value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _values(text: str) -> list[Any]:
    # First as one TOML list, so that a comma within a table or a quoted text does not split it.
    whole = _value(f"[{text}]")
    return whole if isinstance(whole, list) else [_value(part.strip()) for part in text.split(",")]
