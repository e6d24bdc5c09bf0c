"""`fuzz`: search for a schedule of faults that breaks an invariant."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from trimtab.strategies import STRATEGIES, resolve
from trimtab_sim import fuzz as search
from trimtab_sim.cli.ending import DONE, FAILED
from trimtab_sim.cli.options import Seconds, find

__all__ = ["fuzz"]


def fuzz(
    *,
    seed: int = 1,
    time: Seconds = 60.0,
    examples: int | None = None,
    strategy: Annotated[tuple[str, ...], Parameter(negative=())] = (),
    depth: Literal["core", "client", "wire"] = "core",
    out: Path = Path(),
    replay: str | None = None,
) -> int:
    """Search for a schedule of faults that breaks an invariant, and make it small.

    Args:
        seed: Of the search and of every run.
        time: How long to search: "90s", "2m", or seconds.
        examples: End after so many scenarios.
        strategy: Only this strategy; can be given several times.
        depth: How much of the client is real.
        out: The folder for what is found.
        replay: A scenario that was found, to run again.
    """
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
