"""The ready scenarios: every one loads, has a description, and meets its expectations."""

from __future__ import annotations

import tomllib

import jsonschema
import pytest

from trimtab_sim import Scenario, ScenarioError, ready, run
from trimtab_sim.simulation import simulate

_NAMES = (
    "all_failing",
    "bad_day",
    "black_hole",
    "black_hole_with_retries",
    "cold_cache",
    "fast_failures",
    "flapping",
    "half_failing",
    "hedging",
    "mass_crash",
    "probes",
    "registry_outage",
    "registry_restarted_empty",
    "retry_storm",
    "rolling_deploy",
    "scale_out",
    "slow_instance",
    "slow_start",
    "storm_with_retries",
    "thundering_herd",
    "zone_loss",
)


def test_the_ready_scenarios_are_those_that_the_documents_name():
    assert ready.names() == _NAMES


def test_an_unknown_name_is_answered_with_the_known_ones():
    with pytest.raises(
        ScenarioError, match=r"unknown ready scenario 'zone'; known are all_failing, .*"
    ):
        ready.load("zone")


@pytest.mark.parametrize("name", _NAMES)
def test_each_compares_strategies_of_which_the_default_is_the_first(name):
    scenario = ready.load(name)
    assert scenario.strategies[0] == "least_latency"
    assert {"least_request", "round_robin", "random"} <= set(scenario.strategies)


@pytest.mark.parametrize("name", _NAMES)
def test_each_teaches(name):
    text = ready.text(name)
    scenario = ready.load(name)
    assert scenario.about.name
    assert scenario.about.description
    assert text.splitlines()[0].startswith("# ")
    assert sum(line.startswith("#") for line in text.splitlines()) >= 5
    assert "expect" in tomllib.loads(text)


@pytest.fixture(scope="module")
def schema():
    return jsonschema.Draft202012Validator(Scenario.schema())


@pytest.mark.parametrize("name", _NAMES)
def test_an_editor_that_knows_the_schema_finds_nothing_wrong(name, schema):
    assert [error.message for error in schema.iter_errors(tomllib.loads(ready.text(name)))] == []


@pytest.mark.parametrize(
    "wrong",
    [
        "balancer.strategy = 'fastest'",
        "balancer.retry.attempts = 3",
        "balancer.retry.statuses = 503",
        "balancer.retry.retry_after = 'server'",
        "balancer.health.outliers = 'envoi'",
        "balancer.health.outliers = {max_ejected_ratio = 0.5}",
        "balancer.health.outliers = {variant = 'grpc_a50', consecutive_failures = 3}",
        "balancer.health.slow_start.window_s = '30s'",
        "balancer.probe.fall = 1.5",
        "discovery.poll_interval = 3",
    ],
)
def test_mistakes_in_the_settings_of_the_sdk_are_reported(wrong, schema):
    assert not schema.is_valid(tomllib.loads(f"{wrong}\n{ready.text('flapping')}"))
    assert schema.is_valid(tomllib.loads(ready.text("flapping")))


# With the seed of the committed report, the tests of that report ask the same of each scenario.
@pytest.mark.soak
@pytest.mark.parametrize("seed", [7, 8, 9])
@pytest.mark.parametrize("name", _NAMES)
def test_the_expectations_hold_for_the_default_strategy_with_other_seeds(name, seed):
    scenario = ready.load(name)
    result = run(scenario, reps=1, seed=seed, strategies=["least_latency"], source=name)
    failed = [
        f"{one.clause} {one.wanted}, but {one.worst}; {one.replay}"
        for one in result.judgements()
        if not one.holds
    ]
    assert not failed


def test_servers_of_the_beginning_are_warm_and_known():
    scenario = ready.load("rolling_deploy").replace("timeline", [])
    scenario = scenario.replace("scenario.duration", 12.0)
    recorder = simulate(scenario, seed=3).recorder
    assert not any(recorder.bad), "no instance is called before it is known"
    assert recorder.latency.mean < 0.06
