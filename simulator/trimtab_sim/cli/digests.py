"""A fresh process for `determinism`: prints a line per depth, the depth and the digest."""

from __future__ import annotations

import sys

from trimtab_sim.measuring import measure
from trimtab_sim.scenario import Scenario
from trimtab_sim.simulation import quiet, simulate


def main(words: list[str]) -> None:
    """Run the scenario on standard input; words are the seed, the strategy and the depths."""
    seed, strategy, *depths = words
    scenario = Scenario.from_toml(sys.stdin.read())
    for depth in depths:
        with quiet():
            run = simulate(
                scenario,
                strategy=strategy,
                seed=int(seed),
                depth=depth,  # type: ignore[arg-type] # checked by who started us
            )
        print(depth, measure(run).digest)


if __name__ == "__main__":
    main(sys.argv[1:])
