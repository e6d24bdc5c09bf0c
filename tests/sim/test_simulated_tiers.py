"""Priority tiers in a simulated world: what goes to the lower tier, and what does not.

Tier 0 has 8 servers of 2 workers, which do 800 requests per second together; tier 1 is as large.
"""

from __future__ import annotations

import pytest

from trimtab_sim.scenario import Scenario
from trimtab_sim.simulation import simulate

pytestmark = pytest.mark.untraced

CAPACITY_PER_S = 800
WARMUP_S, END_S = 20, 50
WORLD = """
[scenario]
duration = "{end}s"
warmup = "{warmup}s"
[service]
servers = [
  {{ count = 4, zone = "a" }},
  {{ count = 4, zone = "b" }},
  {{ count = 8, zone = "c", priority = 1 }},
]
time = {{ law = "constant", mean = "20ms" }}
concurrency = 2
queue_limit = 1000000
reports_load = true
[[clients]]
count = {clients}
arrivals = {{ kind = "poisson", rate = "{rate}/s" }}
timeout = "1s"
"""
BY_IN_FLIGHT = "[balancer.priorities]\nspill_above_in_flight = 8"
BY_UTILIZATION = "[balancer.priorities]\nspill_above_utilization = 0.9"
HALF_REFUSES = """
[[timeline]]
at = "10s"
duration = "40s"
action = "refuse"
targets = { zone = "a" }
"""


def play(load, *parts, clients=1, strategy="least_latency", depth="core", end=END_S):
    """Return the share of the requests that went to tier 1 after the warm-up, and the recorder."""
    rate = load * CAPACITY_PER_S / clients
    text = WORLD.format(rate=rate, clients=clients, warmup=WARMUP_S, end=end)
    run = simulate(
        Scenario.from_toml("\n".join([text, *parts])), strategy=strategy, seed=5, depth=depth
    )
    assert run.in_flight_left == 0
    bins = run.recorder.sent
    first = round(WARMUP_S / end * len(bins[0]))
    sent = [sum(each[first:]) for each in bins]
    share = sum(sent[8:]) / sum(sent)
    print(f"load {load:.0%}: {share:.4f} to tier 1")
    return share, run.recorder


@pytest.mark.parametrize("strategy", ["least_latency", "round_robin", "maglev"])
@pytest.mark.parametrize("load", [0.5, 1.0, 1.3])
def test_by_health_alone_nothing_goes_to_the_lower_tier_while_the_upper_one_is_whole(
    load, strategy
):
    share, recorder = play(load, strategy=strategy, end=40)
    assert share == 0
    assert load <= 1 or recorder.outcomes[0] < sum(recorder.outcomes)


@pytest.mark.parametrize("strategy", ["least_latency", "weighted_round_robin", "ring_hash"])
def test_when_half_of_the_upper_tier_fails_the_lower_one_takes_thirty_percent(strategy):
    share, recorder = play(0.5, HALF_REFUSES, strategy=strategy)
    # 12,000 requests: six standard deviations are 0.025.
    assert share == pytest.approx(0.3, abs=0.025)
    assert recorder.outcomes[0] == sum(recorder.outcomes)


@pytest.mark.parametrize(
    ("load", "least", "most"), [(0.5, 0.0, 0.0), (1.0, 0.0, 0.03), (1.3, 0.225, 0.26)]
)
def test_by_requests_in_flight_only_what_exceeds_the_capacity_spills(load, least, most):
    share, recorder = play(load, BY_IN_FLIGHT)
    assert least <= share <= most
    assert recorder.outcomes[0] == sum(recorder.outcomes)


@pytest.mark.parametrize("clients", [1, 8])
@pytest.mark.parametrize(
    ("load", "least", "most"), [(0.5, 0.0, 0.0), (1.0, 0.07, 0.16), (1.3, 0.27, 0.36)]
)
def test_by_reported_load_what_exceeds_nine_tenths_of_the_capacity_spills(
    load, least, most, clients
):
    share, recorder = play(load, BY_UTILIZATION, clients=clients)
    # 1 - 0.9 / 1.0 and 1 - 0.9 / 1.3.
    assert least <= share <= most
    assert recorder.outcomes[0] == sum(recorder.outcomes)


def test_a_real_client_does_the_same():
    assert play(1.3, BY_IN_FLIGHT, end=25)[0] == play(1.3, BY_IN_FLIGHT, depth="client", end=25)[0]


def test_with_both_settings_a_sudden_load_costs_no_request():
    share, recorder = play(1.8, BY_IN_FLIGHT + "\nspill_above_utilization = 0.9", end=40)
    assert 0.44 <= share <= 0.55  # 1 - 1.0 / 1.8 and 1 - 0.9 / 1.8, and chance
    assert recorder.outcomes[0] == sum(recorder.outcomes)
