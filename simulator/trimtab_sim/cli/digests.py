"""A fresh process for `determinism`: prints a line per depth, the depth and the digest."""

from __future__ import annotations

import sys

from trimtab_sim.cli.options import find
from trimtab_sim.figures import figures
from trimtab_sim.simulation import simulate


def main(words: list[str]) -> None:
    """Run a scenario: words are its name, the seed, the strategy or nothing, and the depths."""
    name, seed, strategy, *depths = words
    scenario = find(name)
    for depth in depths:
        run = simulate(
            scenario,
            strategy=strategy or None,
            seed=int(seed),
            depth=depth,  # type: ignore[arg-type] # checked by who started us
        )
        print(depth, figures(run).digest)


if __name__ == "__main__":
    main(sys.argv[1:])
