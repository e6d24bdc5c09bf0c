"""The fuzzer finds what is broken, makes it small, and is quiet about what is not."""

import sys
from pathlib import Path

import pytest

from trimtab_sim.fuzz import fuzz, replay
from trimtab_sim.scenario import Scenario

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
