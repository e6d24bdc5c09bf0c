"""The commands `verify`, `determinism` and `fuzz`: they check the simulator, and search for faults.

`verify` compares the simulator with theory, `determinism` compares two processes, `fuzz` searches
for a schedule of faults that breaks an invariant.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time as wall
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

from cyclopts import Parameter

from trimtab.cli.consoles import for_output
from trimtab.cli.inputs import Whole  # noqa: TC001 - cyclopts reads it
from trimtab.strategies import STRATEGIES, resolve
from trimtab_sim.cli.options import ScenarioName, Seconds, find, settings
from trimtab_sim.cli.terminal import DONE, FAILED, INTERRUPTED, progress, show, warn
from trimtab_sim.errors import SimulationError
from trimtab_sim.executors import Interrupted
from trimtab_sim.measuring import measure
from trimtab_sim.scenario import Scenario
from trimtab_sim.simulation import quiet, simulate
from trimtab_sim.tables import Table

__all__ = ["determinism", "fuzz", "print_digests", "verify"]

Depth: TypeAlias = Literal["core", "client", "wire"]
_DEPTHS: tuple[Depth, ...] = ("core", "client", "wire")
_HASH_SEEDS = ("1", "4242")
_CHILD_S = 3600.0
_PRINT_DIGESTS = "from trimtab_sim.cli.checking import print_digests; print_digests()"


def verify(
    *,
    quick: bool = False,
    seed: Whole = 1,
    jobs: Whole = 1,
    only: Annotated[tuple[str, ...], Parameter(negative=())] = (),
) -> int:
    """Compare the simulator with theory.

    Args:
        quick: A quarter of the requests, and twice the tolerance.
        seed: The root seed.
        jobs: Processes; 0 means one per core.
        only: Only the experiment with this name; repeatable.
    """
    from trimtab_sim.verify import verify as verify_all  # noqa: PLC0415 - scipy is slow to load
    from trimtab_sim.verify import verify_table  # noqa: PLC0415

    began = wall.perf_counter()
    stopped = False
    try:
        with progress("experiments") as report:
            rows = verify_all(
                quick=quick,
                seed=seed,
                jobs=jobs,
                only=list(only) or None,
                progress=None if report is None else lambda done, total, _name: report(done, total),
            )
    except Interrupted as error:
        rows, stopped = error.done, True
        warn("interrupted; what follows is of the experiments that were finished")
    show(for_output(), verify_table(rows))
    failing = [row for row in rows if not row.holds]
    took = f"{wall.perf_counter() - began:.0f} s"
    print(f"{len(rows) - len(failing)} of {len(rows)} hold, in {took}")
    if stopped:
        return INTERRUPTED
    return FAILED if failing else DONE


def determinism(
    scenario: ScenarioName,
    /,
    *,
    seed: Whole = 1,
    strategy: str | None = None,
    depth: Annotated[tuple[Depth, ...], Parameter(negative=())] = (),
    set_: Annotated[tuple[str, ...], Parameter(name="--set", negative=())] = (),
) -> int:
    """Run a scenario in two new processes with different hash seeds; compare every request.

    Args:
        scenario: A scenario file, or the name of a ready one (see `list`).
        seed: Of the run.
        strategy: Instead of the scenario's.
        depth: Only this depth; repeatable.
        set_: A setting to change, as path=value, such as a shorter scenario.duration; repeatable.
    """
    found = find(scenario)
    for path, value in settings(list(set_)).items():
        found = found.replace(path, value)
    chosen = strategy or found.strategies[0]
    resolve(chosen)
    depths = depth or _DEPTHS
    words = [str(seed), chosen, *depths]
    with ExitStack() as stack:
        # Both at once: they share nothing. The stack kills both when this command ends.
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
    show(for_output(), table)
    return DONE if first == second and _models_agree(first) else FAILED


def _models_agree(digests: dict[str, str]) -> bool:
    """Say whether `core` and `client`, which model the same things, give the same digest.

    `wire` may give another: it also models connections, which take a round trip to open and stay
    open when a server refuses new ones.
    """
    if not {"core", "client"} <= digests.keys():
        return True
    agree = digests["core"] == digests["client"]
    print(f"core and client give {'the same' if agree else 'DIFFERENT'} requests")
    return agree


def _child(scenario: Scenario, words: list[str], hash_seed: str) -> subprocess.Popen[str]:
    child = subprocess.Popen(  # noqa: S603 - this interpreter, our own module
        [sys.executable, "-c", _PRINT_DIGESTS, *words],
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


def print_digests() -> None:
    """Print a line per depth, the depth and the digest: what a child of `determinism` does.

    The arguments of the process are the seed, the strategy and the depths; the scenario comes on
    standard input.
    """
    seed, strategy, *depths = sys.argv[1:]
    scenario = Scenario.from_toml(sys.stdin.read())
    for depth in depths:
        with quiet():
            run = simulate(
                scenario,
                strategy=strategy,
                seed=int(seed),
                depth=depth,  # type: ignore[arg-type] # checked by the parent process
            )
        print(depth, measure(run).digest)


def fuzz(
    *,
    seed: Whole = 1,
    time: Seconds = 60.0,
    examples: Whole | None = None,
    strategy: Annotated[tuple[str, ...], Parameter(negative=())] = (),
    depth: Depth = "core",
    out: Path = Path(),
    replay: str | None = None,
) -> int:
    """Search for a schedule of faults that breaks an invariant, and shrink it.

    Args:
        seed: Of the search and of every run.
        time: How long to search: "90s", "2m", or seconds.
        examples: The most scenarios to run.
        strategy: Only this strategy; repeatable.
        depth: How much of the client is real.
        out: The folder for findings.
        replay: The file of a finding, to run again.
    """
    from trimtab_sim import fuzz as search  # noqa: PLC0415 - Hypothesis is slow to load

    if replay is not None:
        broken = search.replay(find(replay), seed=seed, depth=depth)
        print("\n".join(broken) or "every invariant holds")
        return FAILED if broken else DONE
    for name in strategy:
        resolve(name)
    result = search.fuzz(
        seed=seed,
        time_s=time,
        max_examples=examples,
        out_dir=out,
        strategies=strategy or tuple(STRATEGIES),
        depth=depth,
    )
    print(result)
    return FAILED if result.finding else DONE
