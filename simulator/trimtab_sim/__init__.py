"""Trimtab's simulator: the shipping SDK in virtual time.

    from trimtab_sim import Scenario, run

    result = run(Scenario.load("rolling_deploy.toml"), reps=20, jobs=0)
    print(result.table())

`run` replicates a scenario, `compare` runs it under several strategies on the same random draws,
`sweep` runs it over a grid of settings, `simulate` does a single run and keeps its world for
inspection. `SimulatedLoop` and `run_simulated` are the asyncio loop underneath, for any program.

Their dependencies come with the extra: `pip install 'trimtab[sim]'`. Importing the package alone
needs no dependency.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trimtab_sim.errors import ScenarioError, SimulationError
    from trimtab_sim.experiment import compare, run, sweep
    from trimtab_sim.figures import Figures
    from trimtab_sim.loop import SimulatedLoop
    from trimtab_sim.loop import run as run_simulated
    from trimtab_sim.result import Result
    from trimtab_sim.scenario import Scenario
    from trimtab_sim.simulation import Run, simulate
    from trimtab_sim.sweeps import Sweep

__all__ = [
    "Figures",
    "Result",
    "Run",
    "Scenario",
    "ScenarioError",
    "SimulatedLoop",
    "SimulationError",
    "Sweep",
    "compare",
    "run",
    "run_simulated",
    "simulate",
    "sweep",
]

# Per public name: its module, and its name there.
_PLACES = {
    "Figures": ("figures", "Figures"),
    "Result": ("result", "Result"),
    "Run": ("simulation", "Run"),
    "Scenario": ("scenario", "Scenario"),
    "ScenarioError": ("errors", "ScenarioError"),
    "SimulatedLoop": ("loop", "SimulatedLoop"),
    "SimulationError": ("errors", "SimulationError"),
    "Sweep": ("sweeps", "Sweep"),
    "compare": ("experiment", "compare"),
    "run": ("experiment", "run"),
    "run_simulated": ("loop", "run"),
    "simulate": ("simulation", "simulate"),
    "sweep": ("experiment", "sweep"),
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for.

    Raises:
        ImportError: the extra `sim` is not installed.
    """
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, there = _PLACES[name]
    try:
        return getattr(import_module(f"{__name__}.{module}"), there)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] in {"trimtab", __name__}:
            raise
        raise ImportError(
            f"{__name__}.{name} needs {error.name}, which is not installed; "
            "run: pip install 'trimtab[sim]'"
        ) from error


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
