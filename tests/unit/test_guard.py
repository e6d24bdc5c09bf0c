"""The guard against sudden losses."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab import Instance, Status
from trimtab.discovery.guard import MOST_RENEWALS, LossGuard

SEVEN = tuple(Instance(host="10.0.0.1", port=port, id=f"i{port}") for port in range(1, 8))
SIX = SEVEN[:6]
MANY = tuple(Instance(host="10.0.0.2", port=port) for port in range(1, 61))


def alarmed(grace_s=5.0):
    guard = LossGuard(grace_s)
    guard.alarm()
    return guard


def turned(instances, status):
    return tuple(each.with_(status=status) for each in instances)


# Without an alarm


@pytest.mark.parametrize(
    ("before", "after", "is_believed"),
    [((), (), True), ((), SIX, True), (SIX[:1], (), False), (SIX[:1], SIX[:1], True),
     (SIX[:2], SIX[:1], True), (SIX, SIX[:3], True), (SIX, SIX[:2], False), (SIX, (), False),
     (SEVEN, SEVEN[:4], True), (SEVEN, SEVEN[:3], False), (SIX, MANY, True)],
)  # fmt: skip
def test_only_empty_and_more_than_halved_lists_are_doubted(before, after, is_believed):
    guard = LossGuard(5.0)
    assert guard.decide(before, after, 10.0) == (after if is_believed else before)
    assert guard.release_at == (None if is_believed else 15.0)


def test_a_doubted_list_is_believed_after_the_grace():
    guard = LossGuard(5.0)
    assert [guard.decide(SIX, (), now) for now in (10.0, 12.0, 14.9)] == [SIX] * 3
    assert guard.decide(SIX, SIX[:1], 15.0) == SIX[:1]
    assert guard.release_at is None


def test_a_list_that_comes_back_ends_the_doubt():
    guard = LossGuard(5.0)
    assert guard.decide(SIX, (), 10.0) == SIX
    assert guard.decide(SIX, SIX, 12.0) == SIX
    assert guard.release_at is None
    assert guard.decide(SIX, (), 13.0) == SIX  # a new doubt, with a grace of its own
    assert guard.release_at == 18.0


def test_instances_that_come_back_one_by_one_are_kept_until_all_are_back():
    guard = LossGuard(5.0)
    assert [guard.decide(SIX, SIX[:count], 10.0 + count / 10) for count in range(6)] == [SIX] * 6
    assert guard.decide(SIX, SIX[:5], 15.0) == SIX[:5]


def test_new_instances_count_at_once_beside_those_that_are_kept():
    guard = LossGuard(5.0)
    moved = SIX[0].with_(weight=7.0)
    after = (moved, MANY[0])
    assert guard.decide(SIX, after, 10.0) == (moved, *SIX[1:], MANY[0])
    assert guard.decide((moved, *SIX[1:], MANY[0]), after, 15.0) == after


def test_an_instance_that_turns_critical_with_most_others_is_kept_as_it_was():
    guard = LossGuard(5.0)
    sick = turned(SIX[:5], Status.CRITICAL)
    assert guard.decide(SIX, (*sick, SIX[5]), 10.0) == SIX
    assert guard.decide(SIX, (*sick, SIX[5]), 15.0) == (*sick, SIX[5])


def critical(count):
    return (*turned(SIX[:count], Status.CRITICAL), *SIX[count:])


def test_an_instance_that_turns_critical_counts_after_a_moment():
    guard = LossGuard(5.0)
    assert guard.decide(SIX, critical(1), 10.0) == SIX
    assert (guard.settle_at, guard.release_at) == (10.5, None)
    assert guard.decide(SIX, critical(2), 10.4) == SIX
    assert guard.decide(SIX, critical(2), 10.5) == critical(2)
    assert guard.settle_at is None


def test_an_instance_that_is_passing_again_within_the_moment_was_never_critical():
    guard = LossGuard(5.0)
    guard.decide(SIX, critical(1), 10.0)
    assert guard.decide(SIX, SIX, 10.1) == SIX
    assert guard.settle_at is None
    guard.decide(SIX, critical(1), 10.4)
    assert guard.settle_at == 10.9


def test_instances_that_turn_critical_one_after_another_are_counted_together():
    guard = LossGuard(5.0)
    assert [guard.decide(SIX, critical(count), 10.0 + count / 100) for count in range(7)] == [
        SIX
    ] * 7
    assert (guard.settle_at, guard.release_at) == (None, 15.04)
    assert guard.decide(SIX, critical(6), 15.04) == critical(6)
    assert guard.settle_at is None, "it was doubted for long enough"


def test_an_instance_that_vanishes_beside_a_critical_one_counts_at_once():
    guard = LossGuard(5.0)
    assert guard.decide(SIX, critical(1)[:5], 10.0) == SIX[:5]
    assert guard.settle_at == 10.5


def test_without_a_grace_critical_instances_count_at_once():
    assert LossGuard(0.0).decide(SIX, critical(1), 10.0) == critical(1)
    guard = LossGuard(0.2)
    guard.decide(SIX, critical(1), 10.0)
    assert guard.settle_at == pytest.approx(10.2)


@pytest.mark.parametrize(
    "leaving", [turned(SIX, Status.DRAINING), tuple(each.with_(weight=0.0) for each in SIX)]
)
@pytest.mark.parametrize("make", [LossGuard, alarmed])
def test_an_instance_that_leaves_on_purpose_is_lost_at_any_time(leaving, make):
    guard = make(5.0)
    assert guard.decide(SIX, leaving, 10.0) == leaving
    assert guard.decide(leaving, (), 11.0) == ()


def test_without_a_grace_a_loss_counts_at_once():
    assert LossGuard(0.0).decide(SIX, (), 10.0) == ()
    assert alarmed(0.0).decide(SIX, (), 10.0) == ()


# After trouble


@pytest.mark.parametrize("after", [SIX[:5], (*SIX[:5], SIX[5].with_(status=Status.CRITICAL)), ()])
def test_after_trouble_no_instance_is_lost_for_a_while(after):
    guard = alarmed()
    assert guard.decide(SIX, after, 10.0) == SIX
    assert guard.release_at == 15.0
    assert guard.decide(SIX, after, 15.0) == after


def test_a_time_of_doubt_without_losses_ends_by_itself():
    guard = alarmed()
    assert guard.decide(SIX, SIX, 10.0) == SIX
    assert guard.release_at is None
    assert guard.decide(SIX, SIX[:5], 14.9) == SIX
    assert guard.decide(SIX, SIX[:5], 15.0) == SIX[:5]


def test_a_list_halved_at_the_end_of_the_doubt_gets_a_grace_of_its_own_once():
    guard = alarmed()
    guard.decide(SIX, SIX, 10.0)
    assert guard.decide(SIX, (), 14.9) == SIX
    assert guard.release_at == pytest.approx(19.9)
    assert guard.decide(SIX, SIX[:5], 16.0) == SIX
    assert guard.decide(SIX, (), 17.0) == SIX
    assert guard.decide(SIX, (), 19.9) == ()


def test_new_trouble_starts_the_doubt_again():
    guard = alarmed()
    guard.decide(SIX, (), 10.0)
    guard.alarm()
    assert guard.decide(SIX, (), 40.0) == SIX  # It was away, and not empty, all the time.
    assert guard.release_at == 45.0
    assert guard.decide(SIX, (), 45.0) == ()


def test_endless_trouble_does_not_keep_dead_instances_for_ever():
    guard, now = LossGuard(5.0), 0.0
    while guard.decide(SIX, SIX[:5], now) == SIX or now == 0.0:
        guard.alarm()
        now += 4.0
    assert now <= (MOST_RENEWALS + 2) * 5.0
    assert guard.decide(SIX, SIX[:5], now + 5.0) == SIX[:5]
    guard.alarm()
    assert guard.decide(SIX, SIX[:5], now + 10.0) == SIX  # Later trouble is new trouble.


# Properties

STEPS = st.lists(
    st.tuples(
        st.floats(0, 20), st.booleans(), st.lists(st.sampled_from(SEVEN), unique=True, max_size=7)
    ),
    max_size=30,
)


@given(STEPS, st.floats(0, 10))
def test_every_listed_instance_is_used_and_no_other_is_kept_for_ever(steps, grace_s):
    guard, using, now = LossGuard(grace_s), (), 0.0
    missing_since = {}
    for wait_s, trouble, listed in steps:
        now += wait_s
        if trouble:
            guard.alarm()
        using = guard.decide(using, tuple(listed), now)
        kept = [each for each in using if each not in listed]
        assert set(listed) <= set(using)
        assert len(set(using)) == len(using)
        assert bool(kept) == (guard.release_at is not None)
        assert not kept or guard.release_at > now
        missing_since = {each: missing_since.get(each, now) for each in kept}
        most_s = (MOST_RENEWALS + 3) * max(grace_s, 20.0) + 20.0
        assert all(now - since <= most_s for since in missing_since.values())


@given(st.floats(0, 1e9), st.floats(0, 1e4))
def test_at_the_release_it_is_believed_whatever_the_rounding(now, grace_s):
    guard = LossGuard(grace_s)
    if guard.decide(SIX, (), now):
        assert guard.decide(SIX, (), guard.release_at) == ()


# Who still answers after trouble


class Answers:
    """Says who answers, and notes since when it was asked."""

    def __init__(self, *ids):
        self.ids, self.moments = set(ids), []

    def __call__(self, id_, moment):
        self.moments.append(moment)
        return id_ in self.ids


def vouched(answers, **settings):
    return LossGuard(5.0, answers_since=answers, **{"doubt_max_s": 60.0, **settings})


def test_after_trouble_who_still_answers_is_kept_on_for_a_bounded_time():
    answers = Answers("i1", "i2", "i3")
    guard = vouched(answers)
    guard.alarm()
    listed, kept = SIX, []
    for now in range(10, 90, 2):
        listed = guard.decide(listed, (), float(now))
        kept.append((now, len(listed)))
    assert {count for now, count in kept if now < 15} == {6}
    assert {count for now, count in kept if 15 <= now < 70} == {3}
    assert {count for now, count in kept if now >= 70} == {0}
    assert guard.release_at is None


def test_who_no_longer_answers_goes_at_the_next_reading():
    answers = Answers("i1", "i2")
    guard = vouched(answers)
    guard.alarm()
    listed = guard.decide(SIX, (), 10.0)
    listed = guard.decide(listed, (), 15.0)
    assert [each.id for each in listed] == ["i1", "i2"]
    assert answers.moments[-1] == 10.0
    answers.ids = {"i2"}
    listed = guard.decide(listed, (), guard.release_at)
    assert [each.id for each in listed] == ["i2"]
    assert guard.decide(listed, SIX, 22.0) == SIX
    assert guard.release_at is None


def test_trouble_again_and_again_does_not_make_it_longer():
    guard = vouched(Answers(*(each.id for each in SIX)))
    listed = SIX
    for now in range(10, 200):
        if now < 190 and now % 3 == 0:
            guard.alarm()
        listed = guard.decide(listed, (), float(now))
    assert listed == ()


@pytest.mark.parametrize("after", [SIX[:5], SIX[:3], SIX[:2], ()])
def test_in_calm_times_answers_keep_nobody(after):
    guard = vouched(Answers(*(each.id for each in SIX)))
    listed = guard.decide(SIX, after, 10.0)
    assert guard.decide(listed, after, 15.0) == after


@pytest.mark.parametrize("settings", [{"doubt_max_s": 0.0}, {"answers_since": None}])
def test_without_it_the_grace_is_all(settings):
    guard = LossGuard(5.0, **{"doubt_max_s": 60.0, "answers_since": Answers("i1"), **settings})
    guard.alarm()
    assert guard.decide(SIX, (), 10.0) == SIX
    assert guard.decide(SIX, (), 15.0) == ()
