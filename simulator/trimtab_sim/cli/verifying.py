"""`verify` and `determinism`: whether the simulator itself is to be trusted."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from trimtab.cli.consoles import for_output
from trimtab.strategies import resolve
from trimtab_sim.cli.ending import DONE, FAILED
from trimtab_sim.cli.options import ScenarioName, find, settings
from trimtab_sim.cli.progress import progress
from trimtab_sim.errors import SimulationError
from trimtab_sim.tables import Table
from trimtab_sim.verify import verify as verify_all
from trimtab_sim.verify import verify_table

if TYPE_CHECKING:
    from trimtab_sim.scenario import Scenario

__all__ = ["determinism", "verify"]

_DEPTHS = ("core", "client", "wire")
_HASH_SEEDS = ("1", "4242")
_CHILD_S = 3600.0


def verify(
    *,
    quick: bool = False,
    seed: int = 1,
    jobs: int = 1,
    only: Annotated[tuple[str, ...], Parameter(negative=())] = (),
) -> int:
    """Hold the simulator against what theory says.

    Args:
        quick: A quarter of the requests, and twice the tolerance.
        seed: The root seed.
        jobs: Processes; 0 takes one per core.
        only: Only the experiment of this name; can be given several times.
    """
    began = time.perf_counter()
    with progress("experiments") as told:
        rows = verify_all(
            quick=quick,
            seed=seed,
            jobs=jobs,
            only=list(only) or None,
            progress=None if told is None else lambda done, total, _name: told(done, total),
        )
    for_output().print(verify_table(rows).rich())
    failing = [row for row in rows if not row.holds]
    took = f"{time.perf_counter() - began:.0f} s"
    print(f"{len(rows) - len(failing)} of {len(rows)} hold, in {took}")
    return FAILED if failing else DONE


def determinism(
    scenario: ScenarioName,
    /,
    *,
    seed: int = 1,
    strategy: str | None = None,
    depth: Annotated[tuple[Literal["core", "client", "wire"], ...], Parameter(negative=())] = (),
    set_: Annotated[tuple[str, ...], Parameter(name="--set", negative=())] = (),
) -> int:
    """Run a scenario in two fresh processes with different hash seeds; compare every request.

    Args:
        scenario: A scenario file, or the name of a ready one (see `list`).
        seed: Of the run.
        strategy: Instead of the scenario's.
        depth: Only this depth; can be given several times.
        set_: A setting to change, as path=value, such as a shorter scenario.duration.
    """
    found = find(scenario)
    for path, value in settings(list(set_)).items():
        found = found.replace(path, value)
    chosen = strategy or found.strategies[0]
    resolve(chosen)
    depths = depth or _DEPTHS
    words = [str(seed), chosen, *depths]
    with ExitStack() as stack:
        # Both at once: they share nothing. None outlives this command.
        children = [stack.enter_context(_child(found, words, one)) for one in _HASH_SEEDS]
        for child in children:
            stack.callback(child.kill)
        first, second = (_answers(child) for child in children)
    table = Table(
        "Digests of every request, by process",
        ("depth", *(f"hash seed {hash_seed}" for hash_seed in _HASH_SEEDS), "verdict"),
        [
            (one, first[one], second[one], "same" if first[one] == second[one] else "DIFFERENT")
            for one in depths
        ],
    )
    for_output().print(table.rich())
    return DONE if first == second and _models_agree(first) else FAILED


def _models_agree(digests: dict[str, str]) -> bool:
    """Say whether `core` and `client`, which model the same, give the same; `wire` may not.

    It knows connections besides, which take a round trip and outlive a refusal of new ones.
    """
    if not {"core", "client"} <= digests.keys():
        return True
    agree = digests["core"] == digests["client"]
    print(f"core and client give {'the same' if agree else 'DIFFERENT'} requests")
    return agree


def _child(scenario: Scenario, words: list[str], hash_seed: str) -> subprocess.Popen[str]:
    child = subprocess.Popen(  # noqa: S603 - this interpreter, our own module
        [sys.executable, "-m", "trimtab_sim.cli.digests", *words],
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert child.stdin is not None
    with child.stdin as pipe:
        pipe.write(scenario.to_toml())
    child.stdin = None
    return child


def _answers(child: subprocess.Popen[str]) -> dict[str, str]:
    try:
        output, errors = child.communicate(timeout=_CHILD_S)
    except subprocess.TimeoutExpired:
        raise SimulationError(f"a run took more than {_CHILD_S:g} s; shorten it") from None
    if child.returncode:
        raise SimulationError((errors.strip().splitlines() or ["a child process failed"])[-1])
    return dict(line.split() for line in output.splitlines())
