import pickle
from types import SimpleNamespace

import msgspec
import pytest

from trimtab_sim.errors import SimulationError
from trimtab_sim.figures import Figures
from trimtab_sim.measuring import _thinned, _well_after, measure
from trimtab_sim.metrics import METRICS, formatted, metric
from trimtab_sim.recorder import BINS
from trimtab_sim.scenario import Scenario
from trimtab_sim.simulation import simulate
from trimtab_sim.sketches import Quantiles, Sketch

EVENTFUL = """
    [scenario]
    duration = 60
    warmup = 6
    heal = 50
    [service]
    servers = 5
    [[clients]]
    count = 2
    arrivals = { kind = "poisson", rate = 20 }
    [[timeline]]
    at = 10
    action = "crash"
    duration = 8
    targets = { index = [0] }
    [[timeline]]
    at = 30
    action = "crash"
    duration = 20
    targets = { index = [0] }
    [[timeline]]
    at = 35
    action = "add"
    """


def taken(text, strategy="round_robin", seed=3):
    return measure(simulate(Scenario.from_toml(text), strategy=strategy, seed=seed))


@pytest.fixture(scope="module")
def eventful():
    return taken(EVENTFUL)


def test_a_run_adds_up(eventful):
    checks = eventful.checks
    assert checks.complaints() == []
    assert checks.begun == checks.ended > eventful.requests > 0
    assert eventful.attempts == checks.begun + eventful.retries
    assert checks.area == pytest.approx(checks.sojourn)
    assert sum(eventful.outcomes.values()) == eventful.requests
    assert eventful.outcomes["ok"] == eventful.successes
    assert sum(server.sent for server in eventful.servers) == eventful.attempts


@pytest.mark.parametrize(
    ("field", "rule"),
    [
        ("begun", "begun = ended"),
        ("in_flight", "in flight at the end"),
        ("picks_in_flight", "no pick of a pool"),
        ("retries", "first tries"),
        ("sent", "attempts per server"),
        ("binned", "ended per bin"),
        ("area", "Little's law"),
    ],
)
def test_wrong_totals_are_named(eventful, field, rule):
    wrong = msgspec.structs.replace(eventful.checks, **{field: getattr(eventful.checks, field) + 1})
    with pytest.raises(SimulationError, match=rule) as caught:
        msgspec.structs.replace(eventful, checks=wrong).check()
    assert "seed 3" in str(caught.value)


def test_figures_are_plain_values(eventful):
    assert pickle.loads(pickle.dumps(eventful)) == eventful
    for form in (msgspec.msgpack, msgspec.json):
        assert form.decode(form.encode(eventful), type=Figures) == eventful


def test_figures_are_a_function_of_scenario_strategy_and_seed(eventful):
    assert taken(EVENTFUL) == eventful
    assert taken(EVENTFUL, seed=4).digest != eventful.digest
    other = taken(EVENTFUL, strategy="random")
    assert other.digest != eventful.digest
    # Arrivals do not depend on the strategy.
    assert other.checks.begun == eventful.checks.begun


def test_each_end_of_a_server_is_kept(eventful):
    first, *_, added = eventful.servers
    assert [at for at, _ in first.ends] == [10.0, 30.0]
    assert eventful.traffic_off_dead_s == max(after for _, after in first.ends) > 0
    assert eventful.late_sends > 0
    assert first.served_s == pytest.approx(60 - 8 - 20)
    assert added.served_s == pytest.approx(25)


def test_events_have_the_time_until_the_last_failure(eventful):
    assert [(event.label, event.at, event.until) for event in eventful.events] == [
        ("crash", 10.0, 18.0),
        ("crash", 30.0, 50.0),
        ("add", 35.0, None),
        ("heal", 50.0, None),
    ]
    assert eventful.events[-1].well_after_s == 0.0


@pytest.mark.parametrize(
    ("bad_bins", "wanted"),
    [((), 0.0), ((5,), 0.0), ((10, 14), 2.5), ((19,), None), ((19, 20), None), ((20,), 0.0)],
)
def test_well_again_is_after_the_last_failure_before_the_next_event(bad_bins, wanted):
    bad = [int(place in bad_bins) for place in range(BINS + 1)]
    recorder = SimpleNamespace(duration=BINS / 2, bad=bad)  # half a second per bin
    assert _well_after(recorder, 5.0, 10.0) == wanted


def test_changes_have_kinds_and_times(eventful):
    convergence = eventful.convergence
    kinds = [(change.kind, change.instance) for change in convergence.changes]
    assert ("death", "s0") in kinds
    assert ("add", "s5") in kinds
    assert convergence.times == sorted(convergence.times)
    assert convergence.slowest_s >= convergence.max_s >= convergence.mean_s > 0
    assert convergence.violations == []
    assert convergence.violation_count == 0


def test_a_view_that_never_agrees_counts_with_the_time_until_the_end():
    found = taken(
        """
        [scenario]
        duration = 100
        [service]
        servers = 4
        [[clients]]
        [[timeline]]
        at = 1
        action = "registry_outage"
        duration = 99
        [[timeline]]
        at = 20
        action = "crash"
        """
    )
    death = next(change for change in found.convergence.changes if change.kind == "death")
    assert death.last_s is None
    assert death.waited_s == found.convergence.slowest_s == 80.0
    # The outage excuses it.
    assert found.convergence.violation_count == 0


def test_a_late_view_is_a_violation_with_its_text():
    # Poll intervals are not bounded by what the scenario promises its registry to be.
    scenario = Scenario.from_toml(EVENTFUL)
    run = simulate(scenario, strategy="random", seed=1)
    for change in run.convergence.changes:
        change.bound_s = 0.001
    found = measure(run).convergence
    assert found.violation_count == len(found.violations) > 0
    assert "the bound is 0.001 s" in found.violations[0].text


def test_fairness_counts_only_the_time_when_servers_were_available():
    alone = taken(EVENTFUL.replace("duration = 20", "duration = 2"))
    # Four share the work of five for a while, and are not unfair for it.
    assert 1.0 <= taken(EVENTFUL).fairness < 1.15
    assert 1.0 <= alone.fairness < 1.15


def test_busiest_over_fair_share_knows_weights():
    text = """
        [scenario]
        duration = 20
        [service]
        servers = [{ weight = 4 }, { weight = 1 }]
        [[clients]]
        """
    assert taken(text, "weighted_round_robin").fairness == pytest.approx(1.0, abs=0.02)
    assert taken(text, "round_robin").fairness == pytest.approx(2.5, abs=0.05)


def test_without_successes_there_are_no_times():
    found = taken(
        """
        [scenario]
        duration = 20
        [service]
        servers = 2
        [[clients]]
        start = 1
        arrivals = { kind = "poisson", rate = 5 }
        [[timeline]]
        at = 0
        action = "registry_outage"
        """
    )
    assert found.success_ratio == 0.0
    assert found.outcomes["no_list"] == found.requests == found.checks.unsent
    assert (found.mean, found.p99, found.max, found.fairness) == (None, None, None, None)
    assert found.attempts == 0
    assert msgspec.json.decode(msgspec.json.encode(found), type=Figures) == found


def test_without_requests_there_is_no_ratio():
    text = "[scenario]\nduration = 5\n[service]\nservers = 1\n[[clients]]\nstart = 4.99\n"
    found = taken(f"{text}arrivals = {{ kind = 'poisson', rate = 0.001 }}")
    assert found.success_ratio is None
    assert found.retries_per_request == 0.0


def test_long_lists_are_thinned_to_a_thousand_with_both_ends():
    thinned = _thinned(list(range(12_345)))
    assert len(thinned) == 1000
    assert (thinned[0], thinned[-1]) == (0, 12_344)
    assert thinned == sorted(thinned)
    assert _thinned([1.0, 2.0]) == [1.0, 2.0]


def test_a_sketch_thaws_to_equal_quantiles():
    quantiles, other = Quantiles(), Quantiles()
    for value in (0.0, 0.5, 1.0, 2.0, 1e7):
        quantiles.add(value)
        other.add(value * 2)
    thawed = quantiles.freeze().thaw()
    assert thawed.freeze() == quantiles.freeze()
    assert (thawed.count, thawed.mean, thawed.largest) == (5, quantiles.mean, 1e7)
    pooled = Sketch.pool([quantiles.freeze(), other.freeze()])
    quantiles.merge(other)
    assert pooled.freeze() == quantiles.freeze()
    assert Quantiles().freeze().thaw().count == 0


def test_figures_have_names(eventful):
    for one in METRICS.values():
        assert one.value(eventful) is not None
    with pytest.raises(ValueError, match=r"unknown figure 'p42'; known are success_ratio"):
        metric("p42")


@pytest.mark.parametrize(
    ("value", "unit", "half_width", "text"),
    [
        (None, "s", None, "-"),
        (float("nan"), "number", None, "-"),
        (0.0123, "s", None, "12.3 ms"),
        (12.34, "s", 0.5, "12.3 ±0.5 s"),
        (0.5, "share", 0.0123, "50 ±1.2 %"),
        (0.999987, "share", None, "99.9987 %"),
        (1.0, "share", None, "100 %"),
        (1.0714, "number", float("inf"), "1.071"),
    ],
)
def test_numbers_for_people(value, unit, half_width, text):
    assert formatted(value, unit, half_width=half_width) == text
