"""The report that is kept beside the code: ready scenarios by strategy, with pictures.

`python -m trimtab_sim.report.committed simulator/REPORT.md` makes it: it runs every ready scenario,
writes the figures to `report/figures.json` beside the given file, the pictures to `report/*.svg`,
and the text, which is computed from the figures alone. So a change to a strategy shows as a change
of this report. A test repeats some of the runs and compares.
"""

from __future__ import annotations

import sys
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from trimtab_sim import ready
from trimtab_sim.experiment import run, sweep
from trimtab_sim.report.outcomes import draw_outcomes
from trimtab_sim.report.prose import prose
from trimtab_sim.report.shares import draw_shares

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trimtab_sim.figures import Figures
    from trimtab_sim.result import Result

__all__ = ["FIGURES", "Kept", "Numbers", "Row", "kept", "main", "numbers"]

SEED = 1
REPLICATIONS = 3
FIGURES = "report/figures.json"
POLLS_S = (1.0, 5.0, 15.0, 30.0)
"""Poll intervals of the sweep over the scenario `bad_day`."""
POLL_STRATEGIES = ("least_latency", "round_robin")


class Numbers(msgspec.Struct, frozen=True, kw_only=True):
    """The kept figures of one run. Times in seconds; None where there was nothing to measure."""

    requests: int
    failed: int
    p50: float | None
    p99: float | None
    p999: float | None
    retries_per_request: float
    converged: float | None
    traffic_off_dead: float | None


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One strategy in one scenario.

    Attributes:
        setting: the poll interval in seconds, in a sweep; None elsewhere.
        fails: the expectations that do not hold.
        runs: one per replication.
    """

    strategy: str
    setting: float | None = None
    fails: list[str] = []
    runs: list[Numbers]


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """All figures of the text.

    Attributes:
        scenarios: rows by the scenario's name.
        polls: the scenario `bad_day` with several poll intervals.
    """

    seed: int
    scenarios: dict[str, list[Row]]
    polls: list[Row]


def main(arguments: Sequence[str]) -> int:
    """Make the report; the argument is the path of its text."""
    if len(arguments) != 1:
        print("usage: python -m trimtab_sim.report.committed simulator/REPORT.md", file=sys.stderr)  # noqa: T201 - a command
        return 2
    path = Path(arguments[0])
    (path.parent / FIGURES).parent.mkdir(parents=True, exist_ok=True)
    made = _make(path.parent)
    figures = msgspec.json.format(msgspec.json.encode(made), indent=1)
    (path.parent / FIGURES).write_bytes(figures + b"\n")
    path.write_text(prose(made), encoding="utf-8")
    return 0


def kept(path: Path) -> Kept:
    """Read the figures that belong to the text at a path."""
    return msgspec.json.decode((path.parent / FIGURES).read_bytes(), type=Kept)


def numbers(run: Figures) -> Numbers:
    """Return the kept figures of one run."""
    return Numbers(
        requests=run.requests,
        failed=run.requests - run.successes,
        p50=run.p50,
        p99=run.p99,
        p999=run.p999,
        retries_per_request=run.retries_per_request,
        converged=run.convergence.slowest_s if run.convergence.changes else None,
        traffic_off_dead=run.traffic_off_dead_s if any(s.ends for s in run.servers) else None,
    )


def _make(folder: Path) -> Kept:
    """Run all scenarios; draw the pictures into a folder."""
    scenarios = {}
    css = (files("trimtab_sim.report") / "charts.css").read_text(encoding="utf-8")
    for name in ready.names():
        print(name, flush=True)  # noqa: T201 - a command that takes minutes
        result = run(ready.load(name), reps=REPLICATIONS, seed=SEED, jobs=0, source=name)
        scenarios[name] = _rows(result)
        for word, picture in (("outcomes", draw_outcomes), ("shares", draw_shares)):
            path = folder / "report" / f"{name}_{word}.svg"
            path.write_text(picture(result, css=css) + "\n", encoding="utf-8")
    found = sweep(
        ready.load("bad_day"),
        {"discovery.poll_interval_s": POLLS_S},
        reps=REPLICATIONS,
        seed=SEED,
        jobs=0,
        strategies=POLL_STRATEGIES,
    )
    polls = [
        row
        for result, poll_s in zip(found.results, POLLS_S, strict=True)
        for row in _rows(result, setting=poll_s)
    ]
    return Kept(seed=SEED, scenarios=scenarios, polls=polls)


def _rows(result: Result, *, setting: float | None = None) -> list[Row]:
    fails = [(one.strategy, one.clause) for one in result.judgements() if not one.holds]
    return [
        Row(
            strategy=strategy,
            setting=setting,
            fails=[clause for failing, clause in fails if failing == strategy],
            runs=[numbers(run) for run in runs],
        )
        for strategy, runs in result.runs.items()
    ]


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
