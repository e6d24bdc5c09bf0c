"""The oracle table: which scenario is run, and what theory says about it.

Tolerances are about five standard errors of the full run, so that the table holds for any seed and
fails for any error of a few per cent. At high load queues vary slowly and widely, and precise means
take requests by the million; those rows have wide tolerances.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from trimtab_sim import oracle_runs as runs
from trimtab_sim import oracles

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["TABLE", "Experiment", "Oracle"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Oracle:
    """One number that theory gives.

    Attributes:
        label: for the table.
        figure: the name of the measured number.
        expected: the value of theory.
        kind: "equal" within the tolerance, or a bound for every replication.
        tolerance: of an equality, as a share of the expected value.
    """

    label: str
    figure: str
    expected: float
    kind: Literal["equal", "at most", "at least"] = "equal"
    tolerance: float = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class Experiment:
    """A scenario, the number of its replications, and its oracles."""

    name: str
    measure: Callable[[runs.Trial], dict[str, float]]
    reps: int
    oracles: tuple[Oracle, ...]


def _queue(
    name: str,
    *,
    reps: int,
    mean: tuple[str, float, float],
    p99: tuple[str, float, float] | None = None,
    **world: Any,
) -> Experiment:
    """Make an experiment with `oracle_runs.plain`; means and p99 as label, expected, tolerance."""
    known = [("mean", *mean)] + ([("p99", *p99)] if p99 else [])
    oracles_ = [
        Oracle(label=label, figure=figure, expected=expected, tolerance=tolerance)
        for figure, label, expected, tolerance in known
    ]
    measure = partial(runs.plain, **{"strategy": "random", "servers": 20, **world})
    return Experiment(name=name, measure=measure, reps=reps, oracles=(*oracles_, _LITTLE))


def _dialogue(name: str, measure: Any, strategy: str, oracle: Oracle) -> Experiment:
    return Experiment(
        name=name, measure=partial(measure, strategy=strategy), reps=8, oracles=(oracle,)
    )


def _at_most(label: str, figure: str, expected: float) -> Oracle:
    return Oracle(label=label, figure=figure, expected=expected, kind="at most")


def _at_least(label: str, figure: str, expected: float) -> Oracle:
    return Oracle(label=label, figure=figure, expected=expected, kind="at least")


_LITTLE = _at_most("  Little's law, residue", "little", 1e-9)
_TWO_MODES = oracles.mixture_survival(runs.TWO_MODES)
_HEDGED = oracles.hedged_survival(_TWO_MODES, runs.HEDGE_AFTER_S)
_JITTER, _ROUND_S = 0.1, 1e-6

_QUEUES = (
    _queue(
        "mm1-0.5",
        load=0.5,
        requests=80_000,
        reps=10,
        mean=("M/M/1 mean, load 0.5", oracles.mm1_mean(0.5), 0.015),
        p99=("M/M/1 p99, load 0.5", oracles.mm1_quantile(0.5, 0.99), 0.03),
    ),
    _queue(
        "mm1-0.8",
        load=0.8,
        requests=120_000,
        reps=10,
        mean=("M/M/1 mean, load 0.8", oracles.mm1_mean(0.8), 0.045),
        p99=("M/M/1 p99, load 0.8", oracles.mm1_quantile(0.8, 0.99), 0.08),
    ),
    _queue(
        "mmc-10",
        load=0.8,
        servers=1,
        concurrency=10,
        requests=50_000,
        reps=8,
        mean=("M/M/10 mean, load 0.8 (Erlang C)", oracles.mmc_mean(10, 0.8), 0.03),
    ),
    _queue(
        "mg1-constant",
        load=0.6,
        law='law = "constant"',
        requests=40_000,
        reps=8,
        mean=("M/D/1 mean, load 0.6 (P-K)", oracles.mg1_mean(0.6, 0.0), 0.02),
    ),
    _queue(
        "mg1-hyperexponential",
        load=0.5,
        law='law = "hyperexponential", cv2 = 3',
        requests=60_000,
        reps=10,
        mean=("M/G/1 mean, load 0.5, cv2 3 (P-K)", oracles.mg1_mean(0.5, 3.0), 0.04),
    ),
    _queue(
        "supermarket-0.7",
        strategy="least_request",
        load=0.7,
        servers=500,
        requests=60_000,
        warmup_times=50,
        reps=6,
        mean=("least_request of 500, load 0.7", oracles.supermarket_mean(0.7, 2), 0.02),
    ),
    _queue(
        "supermarket-0.9",
        strategy="least_request",
        load=0.9,
        servers=500,
        requests=100_000,
        warmup_times=200,
        reps=6,
        mean=("least_request of 500, load 0.9", oracles.supermarket_mean(0.9, 2), 0.025),
    ),
    # No closed form: a simulation of a few lines with heapq gives 2.074, the mean field 1.947.
    _queue(
        "two-choices-10",
        strategy="least_request",
        load=0.8,
        servers=10,
        requests=60_000,
        reps=6,
        mean=("least_request of 10, load 0.8", 2.074, 0.03),
    ),
)

_SHARES = (
    Experiment(
        name="round-robin",
        measure=partial(runs.plain, strategy="round_robin", load=0.5, servers=10, requests=20_000),
        reps=2,
        oracles=(_at_most("round_robin, busiest over mean", "fairness", 1.005),),
    ),
    Experiment(
        name="weights",
        measure=partial(runs.weights, strategy="weighted_round_robin", requests=20_000),
        reps=3,
        oracles=(
            Oracle(
                label="weighted_round_robin 5:1:1, share of the first",
                figure="share",
                expected=5 / 7,
                tolerance=0.001,
            ),
        ),
    ),
)

_VIEWS = (
    Experiment(
        name="poll-staleness",
        measure=partial(runs.poll_views, clients=40, changes=60, jitter=_JITTER),
        reps=8,
        oracles=(
            Oracle(
                label="poll staleness, mean / interval",
                figure="mean",
                expected=oracles.poll_staleness_mean(1.0, _JITTER),
                tolerance=0.03,
            ),
            _at_most(
                "poll staleness, longest / interval",
                "max",
                oracles.poll_staleness_max(1.0, _JITTER) + _ROUND_S,
            ),
            _at_most("poll staleness, views too late", "violations", 0),
        ),
    ),
    Experiment(
        name="all-converged",
        measure=partial(runs.poll_views, clients=20, changes=60, jitter=0.0),
        reps=10,
        oracles=(
            Oracle(
                label="all of 20 clients right, mean / interval",
                figure="last",
                expected=oracles.all_converged_mean(1.0, 20),
                tolerance=0.015,
            ),
        ),
    ),
    Experiment(
        name="crash-to-view",
        measure=partial(runs.crash_views, crashes=80),
        reps=8,
        oracles=(
            Oracle(
                label="crash to view, mean s",
                figure="mean",
                expected=oracles.crash_view_mean(heartbeat=5, ttl=15, sweep=1, poll=5),
                tolerance=0.02,
            ),
            _at_most(
                "crash to view, longest s",
                "max",
                oracles.crash_view_bound(ttl=15, sweep=1, poll=5, jitter_ratio=_JITTER) + _ROUND_S,
            ),
            _at_most("crash to view, views too late", "violations", 0),
        ),
    ),
)

_FAULTS = (
    _dialogue(
        "black-hole-round-robin",
        runs.dialogue_black_hole,
        "round_robin",
        Oracle(label="black_hole, round_robin: success", figure="success", expected=0.65),
    ),
    _dialogue(
        "black-hole",
        runs.dialogue_black_hole,
        "least_latency",
        _at_least("black_hole, least_latency: success", "success", 0.914),
    ),
    _dialogue(
        "short-outage-round-robin",
        runs.dialogue_short_outage,
        "round_robin",
        Oracle(label="short_outage, round_robin: success", figure="success", expected=0.875),
    ),
    _dialogue(
        "short-outage",
        runs.dialogue_short_outage,
        "least_latency",
        _at_least("short_outage, least_latency: success", "success", 0.996),
    ),
    Experiment(
        name="hedging",
        measure=partial(runs.hedging, requests=100_000),
        reps=8,
        oracles=(
            Oracle(
                label="two modes, hedged at 50 ms: p99.9 s",
                figure="p999",
                expected=oracles.quantile_of(_HEDGED, 0.999),
                tolerance=0.03,
            ),
            Oracle(
                label="two modes, hedged at 50 ms: attempts",
                figure="attempts",
                expected=oracles.hedged_load(_TWO_MODES, runs.HEDGE_AFTER_S),
                tolerance=0.001,
            ),
        ),
    ),
    Experiment(
        name="retry-storm-no-budget",
        measure=partial(runs.storm, budget="budget_ratio = 1000\nbudget_min_per_s = 1000000"),
        reps=3,
        oracles=(_at_most("retried time-outs, no budget: success after", "tail", 0.0),),
    ),
    Experiment(
        name="retry-storm-budget",
        measure=partial(runs.storm, budget="budget_ratio = 0.1\nbudget_min_per_s = 0"),
        reps=3,
        oracles=(_at_least("retried time-outs, budget: success after", "tail", 0.99),),
    ),
    Experiment(
        name="retry-storm",
        measure=runs.spike,
        reps=5,
        oracles=(
            _at_least("load x4 for 10 s: success from a minute after", "tail", 1.0),
            # The budget of a tenth, and one per second for each of four clients.
            _at_most("load x4 for 10 s: retries per request", "retries", 0.14),
        ),
    ),
)

TABLE: tuple[Experiment, ...] = (*_QUEUES, *_SHARES, *_VIEWS, *_FAULTS)
"""All experiments, in the order of the table."""
