"""The commands `new`, `schema` and `list`: to start with scenario files."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from trimtab.cli.consoles import for_output
from trimtab_sim import ready
from trimtab_sim.errors import ScenarioError
from trimtab_sim.scenario import Scenario
from trimtab_sim.tables import Table

__all__ = ["list_", "new", "schema"]


def new(
    name: str | None = None,
    /,
    *,
    from_: Annotated[str | None, Parameter(name="--from")] = None,
) -> None:
    """Write a commented scenario to start from.

    Args:
        name: The file to write; without it, the scenario is printed.
        from_: A ready scenario to copy, instead.
    """
    text = _start() if from_ is None else ready.text(from_)
    if name is None:
        print(text, end="")
        return
    path = Path(name if name.endswith(".toml") else f"{name}.toml")
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise ScenarioError(f"{path} already exists; choose another name") from None
    except OSError as error:
        raise ScenarioError(f"{path}: cannot be written: {error.strerror}") from None
    print(f"wrote {path}; run it with: trimtab-sim run {path}")


def schema() -> None:
    """Print the JSON schema of scenario files, for editors."""
    print(json.dumps(Scenario.schema(), indent=2))


def list_() -> None:
    """List the ready scenarios."""
    rows = [(name, ready.load(name).about.description) for name in ready.names()]
    width = max(len(name) for name, _ in rows)
    table = Table("Ready scenarios", ("name", "what it shows"), rows)
    console = for_output()
    console.print(table.title)
    for name, description in rows:
        console.print(f"  {name:{width}}  {description}", markup=False, soft_wrap=True)


def _start() -> str:
    """Return the scenario that `new` writes."""
    return (files("trimtab_sim.cli") / "start.toml").read_text(encoding="utf-8")
