"""The fuzzer finds planted bugs, shrinks the scenario, and reports nothing without a bug."""

import asyncio
import math
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from trimtab.discovery.reading import Reader
from trimtab.pool import Pool
from trimtab_sim.fuzz import fuzz, replay
from trimtab_sim.scenario import Scenario
from trimtab_sim.world.servers import Server

sys.path.insert(0, str(Path(__file__).parent))
from planted import BUGS

SEED = 1
SOONER = {"endless_retries": 5, "endless_ejection": 6, "leaking_loser": 2}
"""Any seed finds any bug, these within 23 scenarios."""
UNTIMED = {"time_s": math.inf, "max_examples": 30}
"""The searches here end with their scenarios, however long a slow machine takes for each.

Hypothesis searches in another order with another bound.
"""


@pytest.mark.untraced
@pytest.mark.parametrize("bug", sorted(BUGS))
def test_each_planted_bug_is_found_made_small_and_written_to_be_replayed(bug, tmp_path):
    seed = SOONER.get(bug, SEED)
    with BUGS[bug]():
        result = fuzz(seed=seed, out_dir=tmp_path, strategies=("random",), **UNTIMED)
        assert result.finding is not None, f"{bug}: not found in {result.examples} scenarios"
        found = result.finding
        assert found.events <= 5, found
        read = Scenario.load(found.path)
        assert read == found.scenario
        assert tuple(replay(read, seed=seed)) == found.complaints
    assert replay(read, seed=seed) == []
    assert found.command in found.path.read_text()


@pytest.mark.untraced
def test_a_sound_sdk_breaks_nothing():
    result = fuzz(seed=SEED, time_s=math.inf, max_examples=10)
    assert result.finding is None, str(result)
    assert result.examples >= 10
    assert str(result).endswith("seed 1: every invariant held")


def test_the_search_ends_with_its_time():
    result = fuzz(seed=SEED, time_s=1e-9)
    assert (result.examples, result.finding) == (0, None)


def test_a_finding_names_the_invariant_and_the_replay_command(tmp_path):
    with BUGS["starved_member"]():
        search = {"seed": SEED, "strategies": ("random",), **UNTIMED}
        kept = fuzz(**search, out_dir=tmp_path / "new" / "folder")
        untold = fuzz(**search)
    assert f"written to {kept.finding.path}" in str(kept)
    assert f"fuzz --replay {kept.finding.path} --seed 1 --depth core" in str(kept)
    assert untold.finding.path is None
    assert " got 0 of " in untold.finding.complaints[0]
    many = replace(untold.finding, complaints=tuple(map(str, range(9))))
    assert "and 4 more" in str(many)


def test_any_exception_of_a_run_is_a_finding(scenario, monkeypatch):
    monkeypatch.setattr(Pool, "pick", lambda *_arguments, **_named: 1 / 0)
    (complaint,) = replay(scenario())
    assert complaint.startswith("the run failed: ")


HEALED = """
[scenario]
duration = 300
heal = 20
[[clients]]
timeout = 0.5
arrivals = {kind = "constant", rate = 5}
"""


def test_a_client_without_a_list_is_noticed(scenario, monkeypatch):
    async def silent(_self):
        await asyncio.Event().wait()

    monkeypatch.setattr(Reader, "_read", silent)
    assert "client 0 never got a list" in replay(scenario(HEALED))


def test_failures_in_a_healthy_world_are_noticed(scenario, monkeypatch):
    monkeypatch.setattr(Server, "receive", lambda _self, _trip: None)
    found = replay(scenario(HEALED))
    assert any("requests failed after" in complaint for complaint in found)


@pytest.mark.parametrize(
    "excuse",
    [
        "[network]\nloss = 0.2",
        "[service]\nservers = 3\ntime = {law = 'constant', mean = 0.7}",
        "[[timeline]]\nat = 5\naction = 'remove'\ntargets = 'all'",
    ],
)
def test_failures_are_allowed_with_losses_overload_or_no_server(scenario, excuse):
    assert replay(scenario(f"{HEALED}\n{excuse}")) == []


CALM = """
[scenario]
duration = {duration}
heal = 60
[service]
servers = {servers}
time = {{ law = "constant", mean = 0.005 }}
[registry]
ttl = 6
heartbeat = 2
[discovery]
poll_interval_s = 1.0
[balancer]
strategy = "random"
[[clients]]
arrivals = {{ kind = "{kind}", rate = 5 }}
"""
ADAPTIVE = """
[balancer.concurrency]
max_pending = 100
max_wait_s = 0.3
max_in_flight = 3
adaptation = "aimd"
initial_in_flight = 2
"""
FOUND = {
    # All requests waited for room that a new list had made, and no instance was called.
    "those who wait after a fresh start": (
        {"duration": 160, "servers": 6, "kind": "constant"},
        ADAPTIVE,
        """
        [[churn]]
        every = 3
        do = { action = "black_hole", targets = "all" }
        from = 5
        at_most = 3
        """,
    ),
    # A hedge that found no room was taken for a request that found none.
    "hedges without room": (
        {"duration": 90, "servers": 3, "kind": "poisson"},
        ADAPTIVE + "[balancer.hedge]\nquantile = 0.5\nmin_samples = 10\nmin_s = 0.0\n",
        """
        [[timeline]]
        action = "hang"
        at = 39
        duration = 16
        targets = "all"
        """,
    ),
    # A hedge went to the instance of the first attempt; one of them ended, and both seemed to.
    "hedges beside full instances": (
        {"duration": 90, "servers": 4, "kind": "poisson"},
        ADAPTIVE
        + """
        [balancer.hedge]
        after_s = 0.0
        [balancer.retry]
        max_attempts = 4
        failures = ["refused", "connect_timeout", "no_response", "timeout"]
        statuses = [500]
        """,
        """
        [[timeline]]
        action = "hang"
        at = 5
        targets = "all"
        [[timeline]]
        action = "errors"
        at = 15
        targets = "all"
        rate = 0.3
        """,
    ),
    # An instance that failed its probes was taken for one that the list did not have.
    "probes while the list changes": (
        {"duration": 160, "servers": 5, "kind": "poisson"},
        """
        [balancer.probe]
        check = "tcp"
        interval_s = 5.0
        max_at_once = 1
        """,
        """
        [[timeline]]
        action = "flap"
        at = 31
        duration = 37
        targets = { count = 5 }
        period = 4
        [[timeline]]
        action = "remove"
        at = 59
        drain = 5
        """,
    ),
}


@pytest.mark.parametrize("seed", [2, 3, 4])
@pytest.mark.parametrize("name", FOUND)
def test_earlier_findings_stay_fixed(name, seed, scenario):
    world, settings, events = FOUND[name]
    text = "\n".join([CALM.format(**world), settings, events])
    assert replay(scenario(text), seed=seed) == []
