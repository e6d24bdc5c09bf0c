"""Whole runs: their results, that they repeat, and that they clean up."""

import io

import pytest

from trimtab.strategies import STRATEGIES
from trimtab_sim.errors import SimulationError
from trimtab_sim.invariants import complaints
from trimtab_sim.recorder import Outcome
from trimtab_sim.simulation import simulate
from trimtab_sim.world.registry import RegistryModel

ROUGH = """
[scenario]
duration = 200
heal = 100
[service]
servers = 5
concurrency = 4
on_crash = "{on_crash}"
[registry]
mode = "{mode}"
[network]
latency = {{law = "exponential", mean = 0.002}}
loss = 0.001
[[clients]]
count = 2
timeout = 0.5
arrivals = {{kind = "poisson", rate = {rate}}}
[[timeline]]
at = 20
action = "crash"
targets = {{count = 2}}
duration = 20
[[timeline]]
at = 50
action = "gray"
share = 0.3
[[churn]]
every = 10
do = {{action = "replace", targets = {{count = 1}}}}
"""


@pytest.mark.untraced
@pytest.mark.parametrize("strategy", sorted(STRATEGIES))
@pytest.mark.parametrize("mode", ["poll", "push"])
@pytest.mark.parametrize("rate", [12, pytest.param(40, marks=pytest.mark.soak)])
def test_a_rough_run_adds_up_and_repeats(scenario, strategy, mode, rate):
    on_crash = "lose" if mode == "poll" else "finish"
    rough = scenario(ROUGH.format(mode=mode, on_crash=on_crash, rate=rate))
    runs = [simulate(rough, strategy=strategy, seed=7) for _ in range(2)]
    assert runs[0].recorder.digest() == runs[1].recorder.digest()
    run = runs[0]
    assert (run.strategy, run.seed, run.depth, run.scenario) == (strategy, 7, "core", rough)
    assert run.recorder.retries > 0
    assert complaints(run) == []
    assert run.ended_at >= 200


def test_strategies_meet_the_same_arrivals(scenario):
    runs = [simulate(scenario(), strategy=strategy) for strategy in ("random", "round_robin")]
    assert runs[0].recorder.begun == runs[1].recorder.begun > 50


def test_the_strategy_comes_from_the_scenario(scenario):
    assert simulate(scenario("[balancer]\nstrategy = 'random'")).strategy == "random"
    text = "[scenario]\nduration = 9\nstrategies = ['round_robin', 'random']"
    assert simulate(scenario(text)).strategy == "round_robin"


def test_a_trace_is_written(scenario):
    trace = io.StringIO()
    run = simulate(scenario(), trace=trace)
    run.recorder.digest()
    assert len(trace.getvalue().splitlines()) == run.recorder.ended


def test_a_service_in_use_stays_open_and_an_idle_one_is_reopened(scenario):
    settings = "[discovery]\nidle_s = 20.0"
    busy = simulate(scenario(settings, duration=500))
    idle = simulate(
        scenario(
            settings,
            duration=500,
            clients="arrivals = {kind = 'trace', times = [1.0, 2.0, 200.0, 201.0, 450.0]}",
        )
    )
    for run, begun in ((busy, 400), (idle, 5)):
        assert run.recorder.begun >= begun
        assert run.recorder.outcomes[Outcome.OK] == run.recorder.begun
        assert run.in_flight_left == 0


def test_without_a_first_list_requests_wait_and_fail(scenario):
    text = (
        "[discovery]\nstartup_timeout_s = 3.0\n"
        "[[timeline]]\nat = 0\naction = 'registry_outage'\nduration = 50"
    )
    clients = "arrivals = {kind = 'poisson', rate = 1}\nstart = 1"
    run = simulate(scenario(text, clients=clients))
    outcomes = run.recorder.outcomes
    assert outcomes[Outcome.NO_LIST] == pytest.approx(47, abs=25)
    assert outcomes[Outcome.OK] == pytest.approx(50, abs=25)
    assert sum(outcomes) == outcomes[Outcome.OK] + outcomes[Outcome.NO_LIST]
    assert run.recorder.failed_latency.largest == pytest.approx(3.0)
    assert run.recorder.unsent == outcomes[Outcome.NO_LIST]


def test_with_an_empty_list_requests_fail_at_once(scenario):
    text = "[[timeline]]\nat = 10\naction = 'remove'\ntargets = 'all'"
    run = simulate(scenario(text))
    assert run.recorder.outcomes[Outcome.NO_INSTANCE] > 50
    assert complaints(run) == []


def test_a_registry_restarted_empty_empties_no_list(scenario):
    text = "[[timeline]]\nat = 30\naction = 'registry_restart_empty'"
    clients = "count = 5\narrivals = {kind = 'poisson', rate = 20}"
    run = simulate(scenario(text, clients=clients, servers=10))
    assert run.recorder.outcomes[Outcome.OK] == run.recorder.begun
    assert complaints(run) == []


def test_refusals_in_a_row_nest_no_calls(scenario):
    text = (
        "[balancer]\nretry = {max_refused = 500}\n"
        "[[timeline]]\nat = 10\naction = 'refuse'\ntargets = 'all'"
    )
    run = simulate(scenario(text, duration=20, servers=500))
    assert run.recorder.most_attempts == 500
    assert complaints(run) == []


def test_a_bug_in_the_world_fails_the_run(scenario, monkeypatch):
    async def sweep(_self):
        raise SimulationError("no sweep today")

    monkeypatch.setattr(RegistryModel, "sweep", sweep)
    with pytest.raises(SimulationError, match="no sweep today"):
        simulate(scenario())


def test_clients_without_requests_still_see_the_changes(scenario):
    text = "[[timeline]]\nat = 40\naction = 'crash'"
    run = simulate(scenario(text, clients="count = 3\narrivals = {kind = 'trace', times = [1e6]}"))
    assert run.recorder.begun == 0
    assert run.recorder.little(run.ended_at) == (0.0, 0.0)
    assert len(run.convergence.times()) == 3


def test_slow_requests_are_waited_for_to_their_end(scenario):
    clients = "timeout = 500\narrivals = {kind = 'poisson', rate = 1}"
    service = "[service]\nservers = 2\nconcurrency = 500\ntime = {law = 'constant', mean = 300}"
    run = simulate(scenario(service, clients=clients))
    assert run.recorder.outcomes[Outcome.OK] == run.recorder.begun > 50
    assert run.ended_at > 390
