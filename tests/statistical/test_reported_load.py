"""Load that servers report: what it gives a fleet of clients, in the simulator.

The bounds are those of the promise in docs/strategies.md. Each test prints its seed and figures.
"""

import pytest

from trimtab_sim.measuring import measure
from trimtab_sim.scenario import Scenario
from trimtab_sim.simulation import simulate

SERVICE_S = 0.01
SEED = 20


def mean_of(
    strategy,
    *,
    servers,
    rate,
    requests,
    clients=100,
    seed=SEED,
    depth="core",
    more="",
    reports="true",
    warmup=2.0,
):
    """Mean time of a request in service times, questions per request, least share of the fair."""
    text = f"""
        [scenario]
        duration = {warmup + requests / rate}
        warmup = {warmup}
        [service]
        servers = {servers}
        time = {{ law = "exponential", mean = {SERVICE_S} }}
        reports_load = {reports}
        [[clients]]
        count = {clients}
        arrivals = {{ kind = "poisson", rate = {rate / clients} }}
        timeout = 20
        [registry]
        ttl = 7200
        heartbeat = 3600
        sweep = 60
        [discovery]
        poll_interval_s = 60
        {more}
        """
    run = simulate(Scenario.from_toml(text), strategy=strategy, seed=seed, depth=depth)
    figures = measure(run)
    asked = sum(runner.server.asked for runner in run.world.runners)
    mean = figures.mean / SERVICE_S
    print(f"{strategy}: mean {mean:.3f} service times, seed {seed}, {asked} questions")
    sent = [server.sent for server in figures.servers]
    return mean, asked / figures.attempts, min(sent) * len(sent) / sum(sent)


FLEET = {"servers": 10, "rate": 0.8 * 10 / SERVICE_S}
ASKING = f"least_load(ask_after_s={3 * SERVICE_S})"


@pytest.mark.untraced
def test_a_fleet_that_asks_is_nearly_as_good_as_one_client_that_sees_all():
    """Each client alone has a mean of 4.4 service times; true queues give 2.07."""
    mean, asked, _ = mean_of(ASKING, requests=8_000, **FLEET)
    assert mean <= 2.6, f"seed {SEED}"
    assert asked <= 2.5, f"seed {SEED}"


@pytest.mark.untraced
def test_a_fleet_asks_within_its_zone_as_well():
    mean, *_ = mean_of(f"zone_aware(elsewhere, inside={ASKING})", requests=5_000, **FLEET)
    assert mean <= 2.6, f"seed {SEED}"


SLOW = f'time = {{ law = "exponential", mean = {3 * SERVICE_S} }}'
UNEQUAL = {
    "servers": f"[{{ count = 5 }}, {{ count = 5, {SLOW} }}]",
    "rate": 0.8 * (5 + 5 / 3) / SERVICE_S,
}


@pytest.mark.untraced
def test_servers_three_times_apart_in_speed_are_used_as_with_true_queues():
    """One client that counts all requests itself sees the true queues."""
    true, *_ = mean_of("least_request", requests=8_000, clients=1, **UNEQUAL)
    fleet, *_ = mean_of("least_load(ask_after_s=0.01)", requests=8_000, clients=20, **UNEQUAL)
    assert fleet <= 1.05 * true, f"seed {SEED}"


@pytest.mark.untraced
def test_responses_alone_keep_a_fleet_off_the_slow_servers():
    """It is no match for asking, since a client hears from each server every 30 service times."""
    alone, *_ = mean_of("least_request", requests=5_000, clients=20, **UNEQUAL)
    told, asked, _ = mean_of("least_load", requests=5_000, clients=20, **UNEQUAL)
    assert asked == 0
    assert told <= 0.7 * alone, f"seed {SEED}"


@pytest.mark.parametrize("strategy", ["least_load", ASKING])
def test_each_depth_reports_and_asks_alike(strategy):
    """The same servers, with the header in a call, in a response object, and on the wire."""
    found = {
        depth: mean_of(strategy, requests=250, clients=4, depth=depth, warmup=0.1, **FLEET)
        for depth in ("core", "client", "wire")
    }
    assert found["core"][1] > 0.5 or strategy == "least_load"
    assert found["core"] == found["client"] == found["wire"]


def test_servers_without_the_middleware_are_asked_seldom():
    mean, asked, _ = mean_of(
        ASKING, requests=1_000, clients=4, reports="false", warmup=0.1, **FLEET
    )
    assert mean > 0
    assert asked < 1


@pytest.mark.parametrize(
    "fault",
    ["action = 'hang'", "action = 'crash'", "action = 'errors', status = 500"],
)
def test_a_server_in_trouble_is_asked_in_vain_and_passed_over(fault):
    """It is ill for 1 s of 1.35 s; with a fifth of its share meanwhile it has 0.41 of the fair."""
    more = f"[[timeline]]\nat = 0.3\nduration = 1.0\n{fault.replace(', ', chr(10))}"
    _, asked, least = mean_of(ASKING, requests=1_000, clients=4, more=more, warmup=0.1, **FLEET)
    assert least <= 0.41, f"seed {SEED}"
    assert asked > 0.3
