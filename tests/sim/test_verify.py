import pytest

from trimtab.strategies.two_choices import LeastRequest
from trimtab_sim.oracle_table import TABLE, Experiment, Oracle
from trimtab_sim.verify import verify, verify_table

CHEAP = [
    "mmc-10",
    "mg1-constant",
    "two-choices-10",
    "round-robin",
    "weights",
    "poll-staleness",
    "all-converged",
    "crash-to-view",
    "black-hole-round-robin",
    "black-hole",
    "short-outage-round-robin",
    "short-outage",
    "retry-storm",
]


class WorseOfTwo(LeastRequest):
    """A deliberately broken strategy."""

    def cost(self, member, now):
        return -super().cost(member, now)


@pytest.mark.untraced
@pytest.mark.parametrize("name", CHEAP)
def test_theory_comes_out(name):
    rows = verify(quick=True, only=[name])
    assert rows
    assert all(row.holds for row in rows), str(verify_table(rows))


@pytest.mark.soak
def test_all_oracles_hold():
    rows = verify(quick=True, jobs=0)
    assert len(rows) == sum(len(one.oracles) for one in TABLE)
    assert all(row.holds for row in rows), str(verify_table(rows))


@pytest.mark.untraced
def test_a_broken_strategy_is_found_out():
    rows = verify(quick=True, only=["two-choices-10"], strategies={"least_request": WorseOfTwo})
    assert [row.verdict for row in rows] == ["different", "within"]
    assert "FAILS" in str(verify_table(rows))


def test_names_are_unique():
    assert len({one.name for one in TABLE}) == len(TABLE)


def measured(seed_parity):
    return {"value": float(seed_parity.seed % 2)}


@pytest.mark.parametrize(
    ("kind", "expected", "verdict"),
    [
        ("equal", 0.5, "undecided"),
        ("equal", 9.0, "different"),
        ("at most", 1.0, "within"),
        ("at most", 0.5, "beyond"),
        ("at least", 0.0, "within"),
        ("at least", 0.5, "beyond"),
    ],
)
def test_verdicts(monkeypatch, kind, expected, verdict):
    oracle = Oracle(label="a coin", figure="value", expected=expected, kind=kind)
    experiment = Experiment(name="coin", measure=measured, reps=6, oracles=(oracle,))
    monkeypatch.setattr("trimtab_sim.verify.TABLE", (experiment,))
    reported = []
    (row,) = verify(progress=lambda *done: reported.append(done))
    assert row.verdict == verdict
    assert row.holds == (verdict == "within")
    # What is undecided is given two more rounds.
    assert row.interval.count == (18 if verdict == "undecided" else 6)
    assert reported == [(0, 1, "coin"), (1, 1, "")]
    assert ("a coin" in str(verify_table([row]))) is True


def test_worked_out_on_a_pool_it_is_the_same():
    assert verify(quick=True, only=["weights"], jobs=2) == verify(quick=True, only=["weights"])
