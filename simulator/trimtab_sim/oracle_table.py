"""The oracle table: which world is run, and what theory says of it.

Tolerances are set to about five standard errors of the full run, so that the table holds for any
seed and fails for any error of a few per cent. At high load queues vary slowly and wildly, which
takes requests by the million to see past; those have the wide ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Literal

from trimtab_sim import oracle_runs as runs
from trimtab_sim import oracles

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["TABLE", "Experiment", "Oracle"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Oracle:
    """One number that theory knows.

    Attributes:
        label: for the table.
        of: which of the measured numbers it is about.
        expected: what theory says.
        kind: "equal" within the tolerance, or a bound for every replication.
        tolerance: of an equality, as a share of what is expected.
    """

    label: str
    of: str
    expected: float
    kind: Literal["equal", "at most", "at least"] = "equal"
    tolerance: float = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class Experiment:
    """A world, how often it is run, and what is known of it."""

    name: str
    measure: Callable[[runs.Trial], dict[str, float]]
    reps: int
    oracles: tuple[Oracle, ...]


_LITTLE = Oracle(label="Little's law, residue", of="little", expected=1e-9, kind="at most")
_TTL_S, _HEARTBEAT_S, _SWEEP_S, _POLL_S, _JITTER = 15.0, 5.0, 1.0, 5.0, 0.1
_ROUND_S = 1e-6

TABLE: tuple[Experiment, ...] = (
    Experiment(
        name="mm1-0.5",
        measure=partial(runs.plain, strategy="random", load=0.5, servers=20, requests=80_000),
        reps=10,
        oracles=(
            Oracle(
                label="M/M/1 mean, load 0.5",
                of="mean",
                expected=oracles.mm1_mean(0.5),
                tolerance=0.015,
            ),
            Oracle(
                label="M/M/1 p99, load 0.5",
                of="p99",
                expected=oracles.mm1_quantile(0.5, 0.99),
                tolerance=0.03,
            ),
            _LITTLE,
        ),
    ),
    Experiment(
        name="mm1-0.8",
        measure=partial(runs.plain, strategy="random", load=0.8, servers=20, requests=120_000),
        reps=10,
        oracles=(
            Oracle(
                label="M/M/1 mean, load 0.8",
                of="mean",
                expected=oracles.mm1_mean(0.8),
                tolerance=0.045,
            ),
            Oracle(
                label="M/M/1 p99, load 0.8",
                of="p99",
                expected=oracles.mm1_quantile(0.8, 0.99),
                tolerance=0.08,
            ),
        ),
    ),
    Experiment(
        name="mmc-10",
        measure=partial(
            runs.plain, strategy="random", load=0.8, servers=1, concurrency=10, requests=50_000
        ),
        reps=8,
        oracles=(
            Oracle(
                label="M/M/10 mean, load 0.8 (Erlang C)",
                of="mean",
                expected=oracles.mmc_mean(10, 0.8),
            ),
        ),
    ),
    Experiment(
        name="mg1-constant",
        measure=partial(
            runs.plain,
            strategy="random",
            load=0.6,
            servers=20,
            requests=40_000,
            law='law = "constant"',
        ),
        reps=8,
        oracles=(
            Oracle(
                label="M/D/1 mean, load 0.6 (P-K)",
                of="mean",
                expected=oracles.mg1_mean(0.6, 0.0),
            ),
        ),
    ),
    Experiment(
        name="mg1-hyperexponential",
        measure=partial(
            runs.plain,
            strategy="random",
            load=0.5,
            servers=20,
            requests=60_000,
            law='law = "hyperexponential", cv2 = 3',
        ),
        reps=10,
        oracles=(
            Oracle(
                label="M/G/1 mean, load 0.5, cv2 3 (P-K)",
                of="mean",
                expected=oracles.mg1_mean(0.5, 3.0),
                tolerance=0.03,
            ),
        ),
    ),
    Experiment(
        name="supermarket-0.7",
        measure=partial(
            runs.plain,
            strategy="least_request",
            load=0.7,
            servers=500,
            requests=60_000,
            settled=50,
        ),
        reps=5,
        oracles=(
            Oracle(
                label="least_request, 500 servers, load 0.7 (mean field)",
                of="mean",
                expected=oracles.supermarket_mean(0.7, 2),
            ),
        ),
    ),
    Experiment(
        name="supermarket-0.9",
        measure=partial(
            runs.plain,
            strategy="least_request",
            load=0.9,
            servers=500,
            requests=120_000,
            settled=100,
        ),
        reps=5,
        oracles=(
            Oracle(
                label="least_request, 500 servers, load 0.9 (mean field)",
                of="mean",
                expected=oracles.supermarket_mean(0.9, 2),
                tolerance=0.015,
            ),
        ),
    ),
    Experiment(
        name="two-choices-10",
        measure=partial(
            runs.plain, strategy="least_request", load=0.8, servers=10, requests=60_000
        ),
        reps=6,
        oracles=(
            Oracle(
                label="least_request, 10 servers, load 0.8",
                of="mean",
                expected=2.074,
                tolerance=0.02,
            ),
        ),
    ),
    Experiment(
        name="round-robin",
        measure=partial(runs.plain, strategy="round_robin", load=0.5, servers=10, requests=20_000),
        reps=2,
        oracles=(
            Oracle(
                label="round_robin: busiest over mean",
                of="fairness",
                expected=1.005,
                kind="at most",
            ),
        ),
    ),
    Experiment(
        name="weights",
        measure=partial(runs.weights, strategy="weighted_round_robin", requests=20_000),
        reps=3,
        oracles=(
            Oracle(
                label="weighted_round_robin 5:1:1, share of the first",
                of="share",
                expected=5 / 7,
                tolerance=0.001,
            ),
        ),
    ),
    Experiment(
        name="poll-staleness",
        measure=partial(runs.poll_views, clients=40, changes=60, jitter=_JITTER),
        reps=8,
        oracles=(
            Oracle(
                label="poll staleness, mean / interval",
                of="mean",
                expected=oracles.poll_staleness_mean(1.0, _JITTER),
                tolerance=0.02,
            ),
            Oracle(
                label="poll staleness, longest / interval",
                of="max",
                expected=oracles.poll_staleness_max(1.0, _JITTER) + _ROUND_S,
                kind="at most",
            ),
            Oracle(
                label="poll staleness, views too late", of="violations", expected=0, kind="at most"
            ),
        ),
    ),
    Experiment(
        name="all-converged",
        measure=partial(runs.poll_views, clients=20, changes=60, jitter=0.0),
        reps=10,
        oracles=(
            Oracle(
                label="all of 20 clients right, mean / interval",
                of="last",
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
                of="mean",
                expected=oracles.crash_view_mean(
                    heartbeat=_HEARTBEAT_S, ttl=_TTL_S, sweep=_SWEEP_S, poll=_POLL_S
                ),
                tolerance=0.02,
            ),
            Oracle(
                label="crash to view, longest s",
                of="max",
                expected=oracles.crash_view_bound(
                    ttl=_TTL_S, sweep=_SWEEP_S, poll=_POLL_S, jitter_ratio=_JITTER
                )
                + _ROUND_S,
                kind="at most",
            ),
            Oracle(
                label="crash to view, views too late", of="violations", expected=0, kind="at most"
            ),
        ),
    ),
    Experiment(
        name="black-hole-round-robin",
        measure=partial(runs.dialogue_black_hole, strategy="round_robin"),
        reps=5,
        oracles=(Oracle(label="black_hole, round_robin: success", of="success", expected=0.65),),
    ),
    Experiment(
        name="black-hole",
        measure=partial(runs.dialogue_black_hole, strategy="least_latency"),
        reps=10,
        oracles=(
            Oracle(
                label="black_hole, least_latency: success",
                of="success",
                expected=0.914,
                kind="at least",
            ),
        ),
    ),
    Experiment(
        name="short-outage-round-robin",
        measure=partial(runs.dialogue_short_outage, strategy="round_robin"),
        reps=5,
        oracles=(Oracle(label="short_outage, round_robin: success", of="success", expected=0.875),),
    ),
    Experiment(
        name="short-outage",
        measure=partial(runs.dialogue_short_outage, strategy="least_latency"),
        reps=10,
        oracles=(
            Oracle(
                label="short_outage, least_latency: success",
                of="success",
                expected=0.996,
                kind="at least",
            ),
        ),
    ),
    Experiment(
        name="retry-storm",
        measure=runs.spike,
        reps=5,
        oracles=(
            Oracle(
                label="load x4 for 10 s: success from a minute after",
                of="tail",
                expected=1.0,
                kind="at least",
            ),
            Oracle(
                label="load x4 for 10 s: retries per request",
                of="retries",
                expected=0.11,
                kind="at most",
            ),
        ),
    ),
)
"""All experiments, in the order of the table."""
