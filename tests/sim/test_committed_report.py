"""The committed report: its text follows from its figures, and its figures can be reproduced."""

from __future__ import annotations

from pathlib import Path

import pytest

from trimtab_sim import ready, run
from trimtab_sim.report import committed
from trimtab_sim.report.prose import prose

_REPORT = Path(__file__).parents[2] / "simulator" / "REPORT.md"
_REMEDY = "run `make sim-report` and look at what has changed"
_SHORT = (
    *("all_failing", "bad_day", "black_hole", "fast_failures", "mass_crash", "probes"),
    *("slow_instance", "storm_with_retries", "zone_loss"),
)
"""Scenarios that are done again in each run of the tests, with the default strategy. The soak has
the others, and those of `_ALL_STRATEGIES` with every one."""
_ALL_STRATEGIES = ("black_hole", "thundering_herd")


@pytest.fixture(scope="module")
def kept():
    return committed.kept(_REPORT)


def test_its_text_follows_from_its_figures(kept):
    assert _REPORT.read_text(encoding="utf-8") == prose(kept), _REMEDY


def test_it_has_every_ready_scenario_and_its_pictures(kept):
    assert list(kept.scenarios) == list(ready.names()), _REMEDY
    text = _REPORT.read_text(encoding="utf-8")
    for name in ready.names():
        for picture in (f"report/{name}_outcomes.svg", f"report/{name}_shares.svg"):
            assert f"]({picture})" in text
            assert (_REPORT.parent / picture).read_text(encoding="utf-8").startswith("<svg ")


def _runs():
    for name in ready.names():
        marks = [] if name in _SHORT else [pytest.mark.soak]
        yield pytest.param(name, False, id=name, marks=marks)
        if name in _ALL_STRATEGIES:
            yield pytest.param(name, True, id=f"{name}-all", marks=[pytest.mark.soak])


@pytest.mark.untraced
@pytest.mark.parametrize(("name", "every"), [*_runs()])
def test_its_figures_still_come_out_and_the_default_strategy_keeps_its_promises(kept, name, every):
    # The first replication: the whole would take minutes.
    rows = kept.scenarios[name] if every else kept.scenarios[name][:1]
    strategies = [row.strategy for row in rows]
    result = run(ready.load(name), reps=1, seed=kept.seed, strategies=strategies, source=name)
    broken = [
        f"{one.clause} {one.wanted}, but {one.worst}; {one.replay}"
        for one in result.judgements()
        if one.strategy == strategies[0] and not one.holds
    ]
    assert not broken
    for row in rows:
        found = committed.numbers(result.runs[row.strategy][0])
        differs = _differences(row.runs[0], found)
        assert not differs, f"{name}, {row.strategy}: {differs}; {_REMEDY}"


@pytest.mark.parametrize("name", ready.names())
def test_the_default_strategy_is_reported_to_keep_its_promises(kept, name):
    assert kept.scenarios[name][0].strategy == "least_latency"
    assert not kept.scenarios[name][0].fails, _REMEDY


def test_making_it_needs_one_path(capsys):
    assert committed.main([]) == 2
    assert "usage: " in capsys.readouterr().err


@pytest.mark.untraced
def test_it_is_made_from_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(committed, "REPLICATIONS", 1)
    monkeypatch.setattr(committed, "POLLS_S", (1.0,))
    monkeypatch.setattr(committed, "run", _short(committed.run))
    monkeypatch.setattr(committed, "sweep", _short(committed.sweep))
    path = tmp_path / "REPORT.md"
    assert committed.main([str(path)]) == 0
    text = path.read_text(encoding="utf-8")
    assert text == prose(committed.kept(path))
    assert str(tmp_path) not in text
    assert "bad_day" in capsys.readouterr().out
    assert len(list((tmp_path / "report").glob("*.svg"))) == 2 * len(ready.names())


def _short(function):
    """Run a few seconds of a scenario, in this process."""

    def shortened(scenario, *arguments, **keywords):
        scenario = scenario.replace("timeline", []).replace("scenario.duration", 11.0)
        scenario = scenario.replace("clients[0].arrivals.rate", 1.0)
        return function(scenario, *arguments, **(keywords | {"jobs": 1}))

    return shortened


def _differences(then, now):
    """Name what is other than kept, beyond what another machine's mathematics may change."""
    wrong = []
    for name in then.__struct_fields__:
        before, after = getattr(then, name), getattr(now, name)
        if before is None or after is None:
            same = before is after
        else:
            # A rounding in the last place can make one request meet another one's queue.
            least = {"failed": 3, "requests": 0, "retries_per_request": 0.001}.get(name, 0.002)
            same = abs(before - after) <= least + 0.03 * abs(before) * (name != "requests")
        if not same:
            wrong.append(f"{name} was {before}, is {after}")
    return wrong
