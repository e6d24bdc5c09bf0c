"""Convergence: hand-made histories with the numbers that they must give."""

import pytest

from trimtab_sim.convergence import Convergence

BOUNDS = {"add": 5.0, "remove": 6.0, "death": 10.0, "lapse": 1.0}


@pytest.fixture
def two():
    """Two clients that see a and b, which have been there from the start."""
    it = Convergence(lambda kind, _at: BOUNDS[kind], warmup=1.0)
    for name in "ab":
        it.truth_changed(name, "add", 0.0)
    for client in (0, 1):
        it.client_started(client)
        it.view_changed(client, ["a", "b"], 0.5)
    return it


def test_clients_are_those_that_have_had_a_list(two):
    assert two.clients == [0, 1]


def test_each_client_converges_on_a_change_when_its_view_agrees(two):
    two.truth_changed("c", "add", 10.0)
    two.view_changed(0, ["a", "b", "c"], 12.0)
    two.view_changed(1, ["a", "b", "c"], 14.5)
    assert two.times() == [2.0, 4.5]
    assert two.last_times() == [4.5]
    assert two.violations(100.0) == []


def test_a_view_that_knew_before_has_converged_at_once(two):
    two.truth_changed("a", "death", 10.0)
    two.view_changed(0, ["b"], 11.0)
    two.view_changed(1, ["b"], 11.0)
    two.view_changed(0, ["b", "a"], 12.5)
    two.truth_changed("a", "add", 13.0)
    assert two.changes[-1].agreed_at == {0: 13.0, 1: None}
    assert two.changes[-2].superseded_at == 13.0


def test_agreement_counts_from_the_last_moment_of_agreeing(two):
    two.truth_changed("a", "death", 10.0)
    for moment, view in ((12.0, ["b"]), (14.0, ["a", "b"]), (17.0, ["b"])):
        two.view_changed(0, view, moment)
        two.view_changed(1, ["b"], moment)
    assert two.changes[-1].agreed_at == {0: 17.0, 1: 12.0}
    assert two.times() == [7.0, 2.0]
    assert two.last_times() == [7.0]
    # Within the bound of a death, a view may waver.
    assert two.violations(100.0) == []


def test_a_client_that_agrees_late_or_never_violates_the_bound(two):
    two.truth_changed("a", "death", 10.0)
    two.view_changed(0, ["b"], 20.5)
    late, never = two.violations(100.0)
    assert (late.client, late.change, late.kind, late.took_s) == (0, 2, "death", 10.5)
    assert (never.client, never.took_s) == (1, None)
    assert str(late) == (
        "client 0, change 2 (death of a at 10.000 s): agreed after 10.500 s; the bound is 10.000 s"
    )
    assert "agreed never" in str(never)
    assert two.last_times() == []


def test_there_is_no_violation_before_the_bound_has_passed(two):
    two.truth_changed("a", "death", 10.0)
    assert two.violations(20.0) == []
    assert [violation.client for violation in two.violations(20.1)] == [0, 1]


def test_a_change_that_was_superseded_in_time_is_no_violation(two):
    two.truth_changed("a", "death", 10.0)
    two.truth_changed("a", "add", 19.0)
    assert two.violations(100.0) == []
    two.truth_changed("b", "death", 30.0)
    two.truth_changed("b", "add", 40.5)
    assert [violation.took_s for violation in two.violations(100.0)] == [None, None]


def test_a_lapse_after_the_bound_has_a_bound_of_its_own(two):
    two.truth_changed("c", "add", 10.0)
    for client in (0, 1):
        two.view_changed(client, ["a", "b", "c"], 11.0)
    two.view_changed(0, ["a", "b"], 30.0)
    two.view_changed(0, ["a", "b", "c"], 30.9)
    assert two.violations(100.0) == []
    two.view_changed(1, ["a", "b"], 40.0)
    two.view_changed(1, ["a", "b", "c"], 41.5)
    two.view_changed(1, ["a", "b"], 50.0)
    two.view_changed(1, ["a", "b", "c"], 50.5)
    (long,) = two.violations(100.0)
    assert (long.client, long.kind, long.at, long.took_s) == (1, "lapse", 40.0, 1.5)
    two.view_changed(0, ["a", "b"], 60.0)
    assert [(one.client, one.kind, one.took_s) for one in two.violations(100.0)] == [
        (0, "lapse", None),
        (1, "lapse", 1.5),
    ]
    assert len(two.violations(60.5)) == 1


def test_a_repeated_change_is_ignored(two):
    two.truth_changed("a", "add", 5.0)
    two.truth_changed("nobody", "death", 5.0)
    assert len(two.changes) == 2


def test_changes_of_the_warm_up_do_not_count(two):
    assert [change.counts for change in two.changes] == [False, False]
    two.truth_changed("c", "add", 0.9)
    assert two.violations(1e9) == []
    assert two.times() == []


def test_a_client_that_starts_later_is_judged_by_later_changes_only(two):
    two.truth_changed("a", "death", 10.0)
    two.view_changed(0, ["b"], 11.0)
    two.view_changed(1, ["b"], 11.0)
    two.client_started(2)
    two.view_changed(2, ["a", "b"], 30.0)
    assert two.violations(100.0) == []
    two.truth_changed("b", "remove", 40.0)
    for client, moment in ((0, 41.0), (1, 42.0), (2, 47.0)):
        two.view_changed(client, [], moment)
    assert [one.client for one in two.violations(100.0)] == [2]


def test_an_instance_that_is_in_no_view_is_not_judged(two):
    two.truth_changed("zero", "add", 10.0, is_seen=False)
    two.truth_changed("zero", "death", 20.0, is_seen=False)
    assert two.violations(100.0) == []
    assert two.last_times() == []


def test_strangers_in_a_view_are_no_change(two):
    two.view_changed(0, ["a", "b", "stranger"], 10.0)
    assert two.violations(100.0) == []
