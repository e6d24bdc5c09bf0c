"""The antagonist ramp: neighbours take the processor of some servers, and the load rises.

Each server has five workers, of which two are its allocation. A contended server has no more than
its allocation: its requests take two and a half times as long, most of it waiting, so its CPU time
does not show it. A tenth of the servers is contended for good, another tenth for 5 s each, another
for moments of 0.5 s. The mean capacity is 2.1 allocations; a request fails after 100 service times.

Source: Wydrowski, Kleinberg, Rumble, Archer, "Load is not what you should balance: Introducing
Prequal", NSDI 2024, section 5.
"""

from __future__ import annotations

import pytest

from trimtab_sim.scenario import Scenario
from trimtab_sim.simulation import simulate

pytestmark = pytest.mark.untraced

SERVICE_S = 0.05
WORKERS, ALLOCATED = 5, 2
DEADLINE_S = 100 * SERVICE_S
WORLD = """
[scenario]
duration = {duration}
[service]
servers = {servers}
time = {{ law = "exponential", mean = {service} }}
concurrency = {workers}
reports_load = true
[network]
latency = {{ law = "constant", mean = 0.0005 }}
[[clients]]
count = {clients}
arrivals = {{ kind = "poisson", rate = {rate} }}
timeout = {deadline}
[registry]
ttl = 7200
heartbeat = 3600
[discovery]
poll_interval_s = 60
[[timeline]]
at = 0
action = "slow"
waits = true
factor = {factor}
targets = {{ index = {lasting} }}
[[churn]]
every = {seldom}
do = {{ action = "slow", waits = true, factor = {factor}, duration = 5 }}
[[churn]]
every = {often}
do = {{ action = "slow", waits = true, factor = {factor}, duration = 0.5 }}
"""
WEIGHTED = "client_side_weighted_round_robin(blackout_s=1)"
ASKING = f"least_load(ask_after_s={SERVICE_S})"
FAILING = 1.14
"""A load, in allocations, at which weights by CPU utilization fail."""
RAMP = (0.75, 1.03, 1.27, 1.57, 1.74, 1.7 * FAILING)


def failed_ratio(strategy, load, *, duration, servers=10, clients=10, seed=1):
    """Share of requests without an answer before the deadline, at a load in allocations."""
    tenth = servers // 10
    text = WORLD.format(
        duration=duration,
        servers=servers,
        service=SERVICE_S,
        workers=WORKERS,
        clients=clients,
        rate=load * servers * ALLOCATED / SERVICE_S / clients,
        deadline=DEADLINE_S,
        factor=WORKERS / ALLOCATED,
        lasting=list(range(tenth)),
        seldom=5 / tenth,
        often=0.5 / tenth,
    )
    recorder = simulate(Scenario.from_toml(text), strategy=strategy, seed=seed).recorder
    failed, p99 = sum(recorder.bad), recorder.latency.quantile(0.99) / SERVICE_S
    ratio = failed / recorder.begun
    print(f"{strategy}: load {load:.2f}, seed {seed}: {ratio:.2%} failed, p99 {p99:.1f} services")
    return ratio


def test_weights_by_utilization_fail_soon_above_the_allocation():
    """The contended server gets its share of the requests, and its queue grows."""
    assert failed_ratio(WEIGHTED, FAILING, duration=50) > 0.005, "seed 1"


@pytest.mark.parametrize("strategy", ["least_load", ASKING])
def test_by_reported_load_nothing_fails_at_1_7_times_that_load(strategy):
    assert failed_ratio(strategy, 1.7 * FAILING, duration=15) == 0.0, "seed 1"


@pytest.mark.soak
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_on_the_whole_ramp_a_fleet_of_20_clients_has_no_failure_by_reported_load(seed):
    fleet = {"servers": 50, "clients": 20, "duration": 30, "seed": seed}
    assert failed_ratio(WEIGHTED, FAILING, **fleet | {"duration": 50}) > 0.005, f"seed {seed}"
    for load in RAMP:
        for strategy in ("least_load", ASKING):
            assert failed_ratio(strategy, load, **fleet) == 0.0, f"seed {seed}, load {load}"
