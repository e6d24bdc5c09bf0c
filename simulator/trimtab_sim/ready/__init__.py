"""Scenarios that come with the simulator, each a commented file that shows one thing.

`load("black_hole")` reads one; `text("black_hole")` gives the file as it stands, to begin an own
one from. Their expectations hold for the default strategy, which each names first; the comments
say where the others fail them, and why.
"""

from __future__ import annotations

from importlib.resources import files
from typing import TYPE_CHECKING

from trimtab_sim.errors import ScenarioError
from trimtab_sim.scenario import Scenario

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

__all__ = ["load", "names", "text"]

_SUFFIX = ".toml"


def names() -> tuple[str, ...]:
    """Give the names of all ready scenarios, sorted."""
    return tuple(
        sorted(
            found.name.removesuffix(_SUFFIX)
            for found in files(__name__).iterdir()
            if found.name.endswith(_SUFFIX)
        )
    )


def load(name: str) -> Scenario:
    """Read a ready scenario.

    Raises:
        ScenarioError: there is none of that name; the message lists those that there are.
    """
    return Scenario.from_toml(text(name), source=f"{name}{_SUFFIX}")


def text(name: str) -> str:
    """Give the file of a ready scenario, comments and all.

    Raises:
        ScenarioError: as for `load`.
    """
    return _file(name).read_text(encoding="utf-8")


def _file(name: str) -> Traversable:
    if name not in names():
        raise ScenarioError(f"no ready scenario {name!r}; there are {', '.join(names())}")
    return files(__name__) / f"{name}{_SUFFIX}"
