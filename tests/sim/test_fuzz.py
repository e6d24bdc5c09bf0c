"""The fuzzer finds what is broken, makes it small, and is quiet about what is not."""

import asyncio
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


@pytest.mark.parametrize("bug", sorted(BUGS))
def test_each_planted_bug_is_found_made_small_and_written_to_be_replayed(bug, tmp_path):
    with BUGS[bug]():
        result = fuzz(seed=SEED, time_s=60, out_dir=tmp_path, strategies=("random",))
        assert result.finding is not None, f"{bug}: not found in {result.examples} scenarios"
        found = result.finding
        assert found.events <= 5, found
        read = Scenario.load(found.path)
        assert read == found.scenario
        assert tuple(replay(read, seed=SEED)) == found.complaints
    assert replay(read, seed=SEED) == []
    assert found.command in found.path.read_text()


def test_a_sound_sdk_breaks_nothing():
    result = fuzz(seed=SEED, time_s=60, max_examples=10)
    assert result.finding is None, str(result)
    assert result.examples >= 10
    assert str(result).endswith("seed 1: every invariant held")


def test_the_search_ends_with_its_time():
    result = fuzz(seed=SEED, time_s=1e-9)
    assert (result.examples, result.finding) == (0, None)


def test_a_finding_says_what_broke_and_how_to_see_it_again(tmp_path):
    with BUGS["starved_member"]():
        kept = fuzz(seed=SEED, strategies=("random",), out_dir=tmp_path / "new" / "folder")
        untold = fuzz(seed=SEED, strategies=("random",), max_examples=kept.examples)
    assert f"written to {kept.finding.path}" in str(kept)
    assert f"fuzz --replay {kept.finding.path} --seed 1 --depth core" in str(kept)
    assert untold.finding.path is None
    assert "was starved" in untold.finding.complaints[0]
    many = replace(untold.finding, complaints=tuple(map(str, range(9))))
    assert "and 4 more" in str(many)


def test_whatever_ends_a_run_is_a_finding(scenario, monkeypatch):
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
def test_failures_are_no_wonder_with_losses_overload_or_nobody_there(scenario, excuse):
    assert replay(scenario(f"{HEALED}\n{excuse}")) == []
