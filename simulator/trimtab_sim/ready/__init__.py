"""Scenarios that come with the simulator, each a commented file that shows one thing.

`load("black_hole")` reads one; `text("black_hole")` returns the file unchanged, as a start for your
own. Their expectations hold for the default strategy, which each file lists first; the comments say
where other strategies fail them, and why.
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
    """Return the names of all ready scenarios, sorted."""
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
        ScenarioError: the name is unknown; the message lists the known ones.
    """
    return Scenario.from_toml(text(name), source=f"{name}{_SUFFIX}")


def text(name: str) -> str:
    """Return the file of a ready scenario, with its comments.

    Raises:
        ScenarioError: as for `load`.
    """
    return _file(name).read_text(encoding="utf-8")


def _file(name: str) -> Traversable:
    if name not in names():
        raise ScenarioError(f"unknown ready scenario {name!r}; known are {', '.join(names())}")
    return files(__name__) / f"{name}{_SUFFIX}"
