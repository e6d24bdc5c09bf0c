"""Scenarios as values: read, hashed, varied, written."""

import json
import pickle
import subprocess
import sys
from dataclasses import fields

import pytest

from trimtab import PrioritySettings
from trimtab.calls import RetryPolicy
from trimtab_sim.errors import ScenarioError
from trimtab_sim.laws import Empirical, Exponential
from trimtab_sim.scenario import Scenario
from trimtab_sim.scenario.actions import Crash, Partition
from trimtab_sim.scenario.arrivals import Bursty, Closed, Diurnal, Trace
from trimtab_sim.scenario.complaints import line_of, parse_path, path_of, value_at

SMALL = """
scenario = { duration = "60s" }
service = { servers = 4 }
[[clients]]
"""

LARGE = """
[scenario]
name = "everything"
duration = "2m"
warmup = "10s"
heal = "100s"
strategies = ["least_latency", "round_robin"]

[service]
name = "orders"
concurrency = 2
queue_limit = 50
overflow = "drop"
on_crash = "finish"
cold_start = { factor = 5, duration = "10s" }
time = { law = "hyperexponential", mean = "20ms", cv2 = 4 }
[[service.servers]]
count = 3
zone = "a"
[[service.servers]]
zone = "b"
weight = 2
time = { law = "constant", mean = "10ms" }

[registry]
mode = "long_poll"
propagation = { law = "exponential", mean = "100ms" }

[discovery]
poll_interval_s = 5.0
[balancer]
strategy = "least_request"
[balancer.retry]
max_attempts = 2

[network]
latency = { law = "constant", mean = "1ms" }
loss = "0.1%"
[[network.paths]]
from = "a"
to = "b"
latency = { law = "lognormal", mean = "5ms", cv2 = 0.5 }

[[clients]]
count = 3
zone = "a"
arrivals = { kind = "closed", concurrency = 4, think = { law = "exponential", mean = "50ms" } }
[[clients]]
name = "batch"
arrivals = { kind = "bursty", rate = 1, burst_rate = "50/s", calm = "9s", burst = "1s" }

[[timeline]]
at = "70s"
action = "partition"
from = "clients:batch"
to = "registry"
[[timeline]]
at = "30s"
action = "crash"
targets = { zone = "b" }
duration = "5s"
[[timeline]]
at = "50s"
action = "replace"
every = "2s"

[[churn]]
every = "10s"
at_most = 3
do = { action = "gray", share = "10%", effect = "slow", factor = 20, targets = { share = "25%" } }

[expect]
success_ratio = "99.9%"
views_within_bound = true
"""


@pytest.fixture
def large():
    return Scenario.from_toml(LARGE)


def test_the_least_that_makes_a_scenario():
    scenario = Scenario.from_toml(SMALL)
    assert scenario.service.count == 4
    assert scenario.service.time == Exponential(mean=0.01)
    assert scenario.offered_load == pytest.approx(100 / 400)
    assert scenario.strategies == ("least_latency",)
    assert scenario.about.heal is None


def test_everything_is_read(large):
    assert large.service.count == 4
    assert large.service.capacity_per_s() == pytest.approx(3 * 2 / 0.02 + 2 / 0.01)
    assert large.timeline[1] == Crash(at=30, duration=5, targets=large.timeline[1].targets)
    assert large.timeline[1].targets.zone == "b"
    assert isinstance(large.timeline[0], Partition)
    assert large.timeline[0].from_ == "clients:batch"
    assert large.network.paths[0].from_ == "a"
    assert large.network.loss == 0.001
    assert large.churn[0].do.share == 0.1
    assert large.expect.success_ratio == 0.999
    assert large.strategies == ("least_latency", "round_robin")


def test_the_sdk_gets_its_own_settings(large):
    assert large.discovery_settings.poll_interval_s == 5
    assert large.balancer_arguments == {
        "strategy": "least_request",
        "retry": RetryPolicy(max_attempts=2),
    }


def test_mean_rates_of_arrivals(large):
    assert large.offered_load is None  # a closed loop asks for what it gets
    assert large.clients[1].arrivals.mean_rate == pytest.approx(0.9 + 5)
    assert Closed(concurrency=1).mean_rate is None
    assert Trace(times=(1.0, 2.0, 4.0)).mean_rate == 0.75
    diurnal = Diurnal(rate=10.0, swing=0.5, period=100.0, peak=25.0)
    assert diurnal.mean_rate == 10
    assert diurnal.rate_at(25) == pytest.approx(15)
    assert diurnal.rate_at(75) == pytest.approx(5)


@pytest.mark.parametrize("make", [lambda: Bursty(rate=1, burst_rate=2, calm=0, burst=1), Trace])
def test_arrivals_are_checked_when_made(make):
    with pytest.raises(ValueError, match=r"calm is 0|either a file or times"):
        make()


@pytest.mark.parametrize("text", [SMALL, LARGE])
def test_a_written_scenario_reads_back_equal(text):
    scenario = Scenario.from_toml(text)
    again = Scenario.from_toml(scenario.to_toml())
    assert again == scenario
    assert again.digest == scenario.digest


def test_only_values_that_differ_from_the_defaults_are_written():
    assert len(Scenario.from_toml(SMALL).to_toml().splitlines()) < 10


def test_the_digest_sees_content_and_not_form(large):
    reordered = LARGE.replace('name = "orders"\nconcurrency = 2', 'concurrency = 2\nname="orders"')
    same = reordered.replace('"2m"', "120").replace('"everything"', '"another title"')
    assert Scenario.from_toml(same).digest == large.digest
    spelled = LARGE.replace("[registry]", '[registry]\nttl = "15s"')
    assert Scenario.from_toml(spelled).digest == large.digest
    assert large.replace("registry.ttl", 16).digest != large.digest
    assert len(large.digest) == 64


def test_the_digest_is_the_same_in_another_process(large):
    program = (
        "import sys; from trimtab_sim.scenario import Scenario;"
        "print(Scenario.from_toml(sys.stdin.read()).digest)"
    )
    for hash_seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", program],
            input=LARGE,
            env={"PYTHONHASHSEED": hash_seed, "PYTHONPATH": ":".join(sys.path)},
            capture_output=True,
            check=True,
            timeout=60,
            text=True,
        )
        assert done.stdout.strip() == large.digest


def test_a_scenario_can_be_pickled(large):
    assert pickle.loads(pickle.dumps(large)) == large


@pytest.mark.parametrize(
    ("path", "value", "read"),
    [
        ("service.servers[0].count", 20, lambda s: s.service.count == 21),
        ("service.time.mean", "1s", lambda s: s.service.time.mean == 1),
        (
            "clients[1].arrivals.burst_rate",
            "80/s",
            lambda s: s.clients[1].arrivals.burst_rate == 80,
        ),
        ("discovery.jitter_ratio", 0.5, lambda s: s.discovery_settings.jitter_ratio == 0.5),
        ("balancer.strategy", "random", lambda s: s.balancer["strategy"] == "random"),
        ("timeline[1].duration", 9, lambda s: s.timeline[1].duration == 9),
        ("expect.p99", "1s", lambda s: s.expect.p99 == 1),
        ("scenario.heal", "90s", lambda s: s.about.heal == 90),
    ],
)
def test_a_value_is_replaced_and_the_original_stays(large, path, value, read):
    before = large.digest
    assert read(large.replace(path, value))
    assert large.digest == before


def test_a_number_of_servers_is_replaced():
    assert Scenario.from_toml(SMALL).replace("service.servers", 20).service.count == 20


def test_replace_makes_a_missing_table():
    scenario = Scenario.from_toml(SMALL).replace("balancer.retry.max_attempts", 1)
    assert scenario.balancer_arguments["retry"].max_attempts == 1


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("clients.count", 3, "does not exist"),
        ("timeline[9].at", 3, "does not exist"),
        ("", 3, "does not exist"),
        ("service.serves", 3, "service.serves: unknown key; did you mean 'servers'"),
        ("service.servers", "many", "service.servers: 'many' is wrong here"),
        ("timeline[1].at", "5m", r"timeline\[1\].at: 300 s is after the end"),
    ],
)
def test_a_replacement_that_does_not_fit(large, path, value, message):
    with pytest.raises(ScenarioError, match=message):
        large.replace(path, value)


def test_data_files_lie_beside_the_scenario(tmp_path):
    (tmp_path / "times.txt").write_text("10ms\n20ms\n")
    (tmp_path / "trace.txt").write_text("0.5\n1.5\n2\n")
    text = SMALL.replace(
        "servers = 4", 'servers = 4, time = { law = "empirical", file = "times.txt" }'
    )
    text += 'arrivals = { kind = "trace", file = "trace.txt" }\n'
    (tmp_path / "one.toml").write_text(text)
    scenario = Scenario.load(tmp_path / "one.toml")
    assert scenario.service.time == Empirical(values=(0.01, 0.02))
    assert scenario.clients[0].arrivals == Trace(times=(0.5, 1.5, 2.0))
    inline = Scenario.from_toml(scenario.to_toml())
    assert inline.digest == scenario.digest


def test_a_trace_binds_its_file(tmp_path):
    (tmp_path / "trace.txt").write_text("1\n2\n")
    bound = Trace(file="trace.txt").bind(tmp_path)
    assert bound.times == (1, 2)
    assert bound.bind(tmp_path) is bound


def test_the_schema_is_json_and_knows_every_action():
    schema = json.loads(json.dumps(Scenario.schema()))
    text = json.dumps(schema)
    for word in ("black_hole", "registry_restart_empty", "hyperexponential", "poisson", "250ms"):
        assert word in text


def test_servers_have_priorities_and_tiers_have_settings():
    scenario = Scenario.from_toml(
        "[scenario]\nduration = 10\n"
        "[service]\nservers = [{ count = 2 }, { count = 1, priority = 1 }]\n"
        "[[clients]]\n[balancer.priorities]\nspill_above_in_flight = 4\n"
        '[[timeline]]\nat = 1\naction = "add"\npriority = 2\n'
    )
    assert [group.priority for group in scenario.service.groups()] == [0, 1]
    assert scenario.timeline[0].priority == 2
    settings = scenario.balancer_arguments["priorities"]
    assert settings == PrioritySettings(spill_above_in_flight=4)
    assert Scenario.from_toml(scenario.to_toml()) == scenario
    schema = json.loads(json.dumps(Scenario.schema()))
    (balancer,) = [each["priorities"] for each in tables_of(schema) if "priorities" in each]
    assert set(balancer["properties"]) == {each.name for each in fields(PrioritySettings)}
    priorities = [each["priority"] for each in tables_of(schema) if "priority" in each]
    assert [(each["minimum"], each["maximum"]) for each in priorities] == [(0, 127)] * 2


def tables_of(schema):
    """Yield the properties of every table in a schema."""
    if isinstance(schema, dict):
        if isinstance(schema.get("properties"), dict):
            yield schema["properties"]
        for each in schema.values():
            yield from tables_of(each)
    elif isinstance(schema, list):
        for each in schema:
            yield from tables_of(each)


def test_targets_may_name_servers_that_come_later():
    text = SMALL + (
        '[[timeline]]\nat = 1\naction = "add"\ncount = 2\n'
        '[[timeline]]\nat = 2\naction = "crash"\ntargets = { index = [5] }\n'
    )
    assert len(Scenario.from_toml(text).timeline) == 2


def test_lines_are_found():
    text = 'a = 1\n\n[b]\nc = [\n  1,\n  2,\n]\n# d\n[[e.f]]\ng = """\n[x]\n"""\n[[e.f]]\nh.i = 3\n'
    assert line_of(text, ("a",)) == 1
    assert line_of(text, ("b",)) == 3
    assert line_of(text, ("b", "c", 1)) == 4
    assert line_of(text, ("e", "f", 0, "g")) == 10
    assert line_of(text, ("e", "f", 1)) == 13
    assert line_of(text, ("e", "f", 1, "h", "i")) == 14
    assert line_of(text, ("e", "f", 1, "missing")) == 13
    assert line_of(text, ("missing",)) == line_of(text, ()) == 1


def test_paths_are_cut_and_written():
    assert parse_path("$.timeline[2].at") == ("timeline", 2, "at")
    assert path_of(("timeline", 2, "at")) == "timeline[2].at"
    assert value_at({"a": [1, {"b": 2}]}, ("a", 1, "b")) == 2
    assert value_at({"a": [1]}, ("a", 7), "nowhere") == "nowhere"
    assert value_at({"a": 1}, ("a", "b"), "nowhere") == "nowhere"
