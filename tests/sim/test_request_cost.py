"""Requests that differ in cost: what it is worth that the balancer knows it."""

from __future__ import annotations

import io
import json
import tomllib

import jsonschema
import pytest

from trimtab_sim.errors import ScenarioError
from trimtab_sim.scenario import Scenario
from trimtab_sim.simulation import simulate
from trimtab_sim.streams import KeyedUniforms

pytestmark = pytest.mark.untraced

SEED, WARMUP_S = 3, 3.0
# A cost of 3.45 in the mean, so 6.9 ms: 70 % of what ten servers with four workers can do.
TWO_MODES = """
[scenario]
name = "Two modes"
duration = "{duration}s"
warmup = "3s"
[service]
servers = 10
time = {{ law = "constant", mean = "2ms" }}
concurrency = 4
[[clients]]
arrivals = {{ kind = "poisson", rate = "{rate}/s" }}
timeout = "60s"
[clients.cost]
units = {{ law = "empirical", values = [1, 50], ratios = ["95%", "5%"] }}
told = false
"""


def two_modes(*, told, duration=10, rate=4058):
    scenario = Scenario.from_toml(TWO_MODES.format(duration=duration, rate=rate))
    return scenario.replace("clients[0].cost.told", told)


def times(scenario, **how):
    """The seconds that each request took, by its cost and in order of its number."""
    trace = io.StringIO()
    run = simulate(scenario, seed=SEED, trace=trace, **how)
    run.recorder.digest()
    assert run.in_flight_left == 0
    cost_of, draws = (
        scenario.clients[0].cost.units.sampler(),
        KeyedUniforms(SEED, "clients", "cost"),
    )
    found = {}
    for line in sorted(
        map(json.loads, trace.getvalue().splitlines()), key=lambda it: it["request"]
    ):
        assert line["outcome"] == "ok"
        if line["started"] >= WARMUP_S:
            took = line["ended"] - line["started"]
            found.setdefault(cost_of(draws.at(line["request"])), []).append(took)
    return found


def p99(values):
    return sorted(values)[int(0.99 * len(values))]


@pytest.mark.parametrize("strategy", ["least_request", "least_latency"])
def test_a_known_cost_halves_the_p99_of_cheap_requests(strategy):
    unknown = times(two_modes(told=False), strategy=strategy)
    known = times(two_modes(told=True), strategy=strategy)
    assert {cost: len(each) for cost, each in known.items()} == {
        cost: len(each) for cost, each in unknown.items()
    }
    print(f"\n{strategy}: cheap p99 {p99(unknown[1]):.4f} s, with the cost {p99(known[1]):.4f} s")
    assert p99(known[1]) < 0.5 * p99(unknown[1])
    assert p99(known[50]) < p99(unknown[50])


@pytest.mark.parametrize("told", [False, True])
def test_costs_are_the_same_at_every_depth(told):
    scenario = two_modes(told=told, duration=4, rate=400)
    found = [times(scenario, depth=depth) for depth in ("core", "client", "wire")]
    assert found[0] == found[1] == found[2]
    assert min(found[0][50]) == pytest.approx(50 * 0.002)


def test_the_load_counts_costs():
    assert two_modes(told=True).offered_load == pytest.approx(0.7, abs=0.001)


def test_a_scenario_with_costs_is_written_and_read_again():
    scenario = two_modes(told=True)
    assert Scenario.from_toml(scenario.to_toml()) == scenario
    schema = jsonschema.Draft202012Validator(Scenario.schema())
    assert schema.is_valid(tomllib.loads(scenario.to_toml()))
    wrong = scenario.to_toml().replace("told = true", "tells = true")
    assert not schema.is_valid(tomllib.loads(wrong))


@pytest.mark.parametrize(
    ("units", "said"),
    [
        ('{ law = "constant", mean = 0 }', "clients[0].cost.units: a cost must be above 0"),
        ('{ law = "empirical", values = [0, 50] }', "a cost must be above 0"),
        ('{ law = "empirical", values = [1, 50], ratios = [0.5] }', "add up to 1"),
        ('{ law = "empirical", values = [1, 50], ratios = [0.5, 0.4] }', "add up to 1"),
    ],
)
def test_what_is_no_cost_is_named(units, said):
    text = TWO_MODES.format(duration=4, rate=400)
    start = text.index("units = ")
    end = text.index("\n", start)
    with pytest.raises(ScenarioError) as caught:
        Scenario.from_toml(f"{text[:start]}units = {units}{text[end:]}")
    assert said in str(caught.value)
