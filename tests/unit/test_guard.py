"""The guard against sudden losses."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.discovery.guard import ShrinkGuard


@pytest.mark.parametrize(
    ("before", "after", "admitted"),
    [(0, 0, True), (0, 5, True), (1, 0, False), (1, 1, True), (2, 1, True), (6, 3, True),
     (6, 2, False), (6, 0, False), (7, 4, True), (7, 3, False), (6, 60, True)],
)  # fmt: skip
def test_only_empty_and_more_than_halved_lists_are_doubted(before, after, admitted):
    guard = ShrinkGuard(5.0)
    assert guard.admits(before, after, 10.0) is admitted
    assert guard.release_at == (None if admitted else 15.0)


def test_a_doubted_list_is_believed_after_the_grace():
    guard = ShrinkGuard(5.0)
    assert [guard.admits(6, 0, now) for now in (10.0, 12.0, 14.9)] == [False] * 3
    assert guard.admits(6, 1, 15.0)  # it may have changed, as long as it stayed doubtful
    assert guard.release_at is None


def test_a_list_that_comes_back_ends_the_doubt():
    guard = ShrinkGuard(5.0)
    assert not guard.admits(6, 0, 10.0)
    assert guard.admits(6, 5, 12.0)
    assert not guard.admits(6, 0, 15.0)  # a new doubt, with a grace of its own
    assert guard.release_at == 20.0


def test_no_grace_believes_at_once():
    assert ShrinkGuard(0.0).admits(6, 0, 10.0)


@given(st.floats(0, 1e9), st.floats(0, 1e4))
def test_at_the_release_it_is_believed_whatever_the_rounding(now, grace_s):
    guard = ShrinkGuard(grace_s)
    if not guard.admits(6, 0, now):
        assert guard.admits(6, 0, guard.release_at)
