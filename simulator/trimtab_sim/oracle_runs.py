"""The scenarios for which theory has the answer, each run once and measured.

Each function takes a `Trial` and returns named numbers. Times are in the unit of theory, the mean
service time: 10 ms in the scenarios, so that polls and heartbeats are few beside requests. The
figures of every run are taken, which also checks its totals.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from trimtab_sim.measuring import measure
from trimtab_sim.scenario import Scenario
from trimtab_sim.simulation import simulate

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trimtab_sim.figures import Figures
    from trimtab_sim.simulation import Run

__all__ = [
    "Trial",
    "crash_views",
    "dialogue_black_hole",
    "dialogue_short_outage",
    "plain",
    "poll_views",
    "spike",
    "weights",
]

_SERVICE_S = 0.01
_WARMUP_TIMES = 300  # service times until a queue at load 0.8 no longer shows that it began empty


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One replication of one measurement.

    Attributes:
        seed: of the run.
        size: how large a run, as a share of the full one.
        strategies: by name, factories to take instead of the SDK's: for test doubles.
    """

    seed: int
    size: float = 1.0
    strategies: Mapping[str, Any] = field(default_factory=dict)

    def run(self, text: str, strategy: str) -> tuple[Run, Figures]:
        """Run a scenario, and check its totals."""
        scenario = Scenario.from_toml(text, source="oracle")
        run = simulate(scenario, strategy=self.strategies.get(strategy, strategy), seed=self.seed)
        return run, measure(run)


def plain(
    trial: Trial,
    *,
    strategy: str,
    load: float,
    servers: int,
    requests: int,
    clients: int = 1,
    concurrency: int = 1,
    law: str = 'law = "exponential"',
    warmup_times: int = _WARMUP_TIMES,
) -> dict[str, float]:
    """Run Poisson clients against servers without faults; return the mean and the p99."""
    rate = load * servers * concurrency / _SERVICE_S
    warmup = warmup_times * _SERVICE_S
    text = f"""
        [scenario]
        duration = {warmup + trial.size * requests / rate}
        warmup = {warmup}
        [service]
        servers = {servers}
        concurrency = {concurrency}
        time = {{ {law}, mean = {_SERVICE_S} }}
        [[clients]]
        count = {clients}
        arrivals = {{ kind = "poisson", rate = {rate / clients} }}
        timeout = 2
        [registry]
        ttl = 7200
        heartbeat = 3600
        sweep = 60
        [discovery]
        poll_interval_s = 60
        """
    run, found = trial.run(text, strategy)
    assert found.mean is not None
    assert found.p99 is not None
    area, sojourn = run.recorder.little(run.ended_at)
    return {
        "mean": found.mean / _SERVICE_S,
        "p99": found.p99 / _SERVICE_S,
        "little": abs(area - sojourn) / area,
        "fairness": found.fairness or 0.0,
    }


def weights(trial: Trial, *, strategy: str, requests: int) -> dict[str, float]:
    """Run servers of weights 5, 1 and 1; return the share of the first."""
    text = f"""
        [scenario]
        duration = {trial.size * requests / 1000}
        [service]
        servers = [{{ weight = 5 }}, {{ weight = 1 }}, {{ weight = 1 }}]
        concurrency = 1000
        time = {{ law = "constant", mean = "10ms" }}
        [[clients]]
        arrivals = {{ kind = "poisson", rate = 1000 }}
        """
    _, found = trial.run(text, strategy)
    return {"share": found.servers[0].sent / found.attempts}


def poll_views(trial: Trial, *, clients: int, changes: int, jitter: float) -> dict[str, float]:
    """Add servers at random moments; return how long polling clients took, in poll intervals."""
    period = 10.0
    text = f"""
        [scenario]
        duration = {period * (4 + trial.size * changes)}
        warmup = {3 * period}
        {_QUIET}
        [discovery]
        poll_interval_s = {period}
        jitter_ratio = {jitter}
        [[clients]]
        count = {clients}
        arrivals = {{ kind = "poisson", rate = 0.02 }}
        [[churn]]
        every = {period}
        until = {period * (2.5 + trial.size * changes)}
        do = {{ action = "add" }}
        """
    run, found = trial.run(text, "random")
    last = run.convergence.last_times()
    convergence = found.convergence
    assert convergence.mean_s is not None
    assert convergence.max_s is not None
    return {
        "mean": convergence.mean_s / period,
        "max": convergence.max_s / period,
        "last": sum(last) / len(last) / period,
        "violations": float(convergence.violation_count),
    }


def crash_views(trial: Trial, *, crashes: int) -> dict[str, float]:
    """Crash servers at random moments; return how long clients took to drop them."""
    every = 10.0
    text = f"""
        [scenario]
        duration = {60 + every * (4 + trial.size * crashes)}
        warmup = 60
        {_QUIET}
        [registry]
        ttl = 15
        heartbeat = 5
        sweep = 1
        [discovery]
        poll_interval_s = 5
        [[clients]]
        count = 20
        arrivals = {{ kind = "poisson", rate = 0.02 }}
        [[churn]]
        every = {every}
        until = {60 + every * trial.size * crashes}
        do = {{ action = "crash", duration = 60 }}
        """
    run, found = trial.run(text, "random")
    times = [
        agreed - change.at
        for change in run.convergence.changes
        if change.kind == "death"
        for agreed in change.agreed_at.values()
        if agreed is not None
    ]
    return {
        "mean": sum(times) / len(times),
        "max": max(times),
        "violations": float(found.convergence.violation_count),
    }


def dialogue_black_hole(trial: Trial, *, strategy: str) -> dict[str, float]:
    """Run two servers, one of which is silent from 3 s on; return the share that succeeds."""
    text = """
        [scenario]
        duration = 10
        [service]
        servers = 2
        concurrency = 100000
        time = { law = "constant", mean = "600ms" }
        [[clients]]
        arrivals = { kind = "constant", rate = 200 }
        timeout = 20
        [[timeline]]
        at = 3
        action = "gray"
        share = 1
        targets = { index = [1] }
        """
    _, found = trial.run(text, strategy)
    return {"success": found.success_ratio or 0.0}


def dialogue_short_outage(trial: Trial, *, strategy: str) -> dict[str, float]:
    """Run two servers, one of which answers 500 for 20 s; return the share that succeeds."""
    text = """
        [scenario]
        duration = 80
        [service]
        servers = 2
        concurrency = 100000
        time = { law = "constant", mean = "2s" }
        [[clients]]
        arrivals = { kind = "constant", rate = 20 }
        timeout = 20
        [[timeline]]
        at = 30
        action = "errors"
        duration = 20
        targets = { index = [1] }
        """
    _, found = trial.run(text, strategy)
    return {"success": found.success_ratio or 0.0}


TWO_MODES = ((0.99, 0.010), (0.01, 0.500))
HEDGE_AFTER_S = 0.050


def hedging(trial: Trial, *, requests: int) -> dict[str, float]:
    """Hedge a service of two modes after a fixed time; return the p99.9 and the added load."""
    (_, short), (long_ratio, long) = TWO_MODES
    text = f"""
        [scenario]
        duration = {trial.size * requests / 200}
        [service]
        servers = 20
        concurrency = 1000
        time = {{ law = "two_modes", short = {short}, long = {long}, long_ratio = {long_ratio} }}
        [balancer.hedge]
        after_s = {HEDGE_AFTER_S}
        min_samples = 1000000000
        [[clients]]
        arrivals = {{ kind = "poisson", rate = 200 }}
        timeout = 60
        """
    run, _ = trial.run(text, "random")
    recorder = run.recorder
    return {
        "p999": recorder.latency.quantile(0.999),
        "attempts": recorder.attempts / recorder.begun,
    }


def storm(trial: Trial, *, budget: str) -> dict[str, float]:
    """Multiply the load by four while time-outs are retried; return the success at the end.

    Args:
        trial: seed, size and strategies.
        budget: settings of the retry budget.
    """
    text = f"""
        [scenario]
        duration = 150
        [service]
        servers = 10
        queue_limit = 1000000
        time = {{ law = "exponential", mean = "100ms" }}
        [balancer.retry]
        max_attempts = 4
        failures = ["refused", "connect_timeout", "no_response", "timeout"]
        backoff_first_s = 0.0
        {budget}
        [[clients]]
        arrivals = {{ kind = "poisson", rate = 50 }}
        timeout = 1
        [[timeline]]
        at = 20
        action = "load"
        factor = 4
        duration = 10
        """
    _, found = trial.run(text, "least_latency")
    tail = slice(len(found.good) * 2 // 3, -1)
    good, bad = sum(found.good[tail]), sum(found.bad[tail])
    return {"tail": good / (good + bad)}


def spike(trial: Trial) -> dict[str, float]:
    """Multiply the load by four for ten seconds, with a crash; return the success at the end."""
    text = """
        [scenario]
        duration = 150
        [service]
        servers = 4
        time = { law = "exponential", mean = "20ms" }
        [balancer.retry]
        budget_ratio = 0.1
        budget_min_per_s = 1
        [[clients]]
        count = 4
        arrivals = { kind = "poisson", rate = 25 }
        timeout = 10
        [[timeline]]
        at = 20
        action = "load"
        factor = 4
        duration = 10
        [[timeline]]
        at = 25
        action = "crash"
        duration = 5
        """
    _, found = trial.run(text, "least_latency")
    tail = slice(len(found.good) * 2 // 3, -1)
    good, bad = sum(found.good[tail]), sum(found.bad[tail])
    return {"tail": good / (good + bad), "retries": found.retries_per_request}


_QUIET = """
        [service]
        servers = 30
        time = { law = "constant", mean = "1ms" }
        """
