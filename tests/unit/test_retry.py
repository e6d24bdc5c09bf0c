"""Retry decisions: the table, the budget, the backoff."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab import ConfigurationError
from trimtab.retry import Backoff, RetryBudget, RetryPolicy


@pytest.mark.parametrize(
    ("failure", "attempts", "method", "replayable", "again"),
    [
        # Refused at once: nothing was sent, so anything goes, up to max_refused.
        ("refused", 1, "POST", False, True),
        ("refused", 3, "POST", False, True),
        ("refused", 9, "GET", True, True),
        ("refused", 10, "GET", True, False),
        # No connection in time: nothing was sent either, but time was lost.
        ("connect_timeout", 1, "POST", False, True),
        ("connect_timeout", 2, "GET", True, True),
        ("connect_timeout", 3, "GET", True, False),
        # Broken off before the head: only what may be done twice, and can be sent twice.
        *(("no_response", 1, method, True, True) for method in ("GET", "HEAD", "OPTIONS", "TRACE")),
        ("no_response", 1, "PUT", True, True),
        ("no_response", 1, "DELETE", True, True),
        ("no_response", 1, "POST", True, False),
        ("no_response", 1, "PATCH", True, False),
        ("no_response", 1, "GET", False, False),
        ("no_response", 3, "GET", True, False),
        # It has cost the time that there was.
        ("timeout", 1, "GET", True, False),
        ("other", 1, "GET", True, False),
    ],
)
def test_the_policy_table(failure, attempts, method, replayable, again):
    policy = RetryPolicy()
    assert policy.allows(failure, attempts, method=method, replayable=replayable) is again


@pytest.mark.parametrize(
    ("failure", "charged"),
    [("refused", False), ("connect_timeout", False), ("no_response", True), ("timeout", True)],
)
def test_what_is_charged(failure, charged):
    assert RetryPolicy().is_charged(failure) is charged


def test_one_attempt_means_never_again():
    policy = RetryPolicy(max_attempts=1)
    for failure in ("refused", "connect_timeout", "no_response"):
        assert not policy.allows(failure, 1, method="GET", replayable=True)


def test_refused_is_never_tried_less_than_the_rest():
    policy = RetryPolicy(max_attempts=5, max_refused=2)
    assert policy.allows("refused", 4, method="GET", replayable=True)
    assert not policy.allows("refused", 5, method="GET", replayable=True)


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_attempts": 0},
        {"max_refused": 0},
        {"budget_ratio": -0.1},
        {"budget_min_per_s": -1},
        {"budget_ratio": float("nan")},
    ],
)
def test_values_out_of_range_are_refused_by_name(wrong):
    with pytest.raises(ConfigurationError, match=next(iter(wrong))):
        RetryPolicy(**wrong)


# The budget: 20 % of the requests plus 10 per second, over 10 s.


def spend(budget, now):
    taken = 0
    while budget.take(now):
        taken += 1
    return taken


def test_an_idle_client_has_the_reserve_of_a_window():
    assert spend(RetryBudget(), 0.0) == 100
    assert spend(RetryBudget(min_per_s=0.0), 5.0) == 0
    assert spend(RetryBudget(ratio=0.0, min_per_s=1.0, window_s=3.0), 123_456.7) == 3


def test_requests_earn_their_share():
    budget = RetryBudget()
    for _ in range(1000):
        budget.request(50.0)
    assert spend(budget, 50.0) == 300


def test_what_is_older_than_the_window_is_forgotten():
    budget = RetryBudget(min_per_s=0.0)
    for second in range(10):
        for _ in range(10):
            budget.request(second + 0.5)
    assert spend(budget, 9.9) == 20
    assert spend(budget, 10.0) == 0  # the first ten requests are out, the retries are not
    assert spend(budget, 100.0) == 0
    for _ in range(10):
        budget.request(100.0)
    assert spend(budget, 100.0) == 2


def test_retries_come_back_when_they_leave_the_window():
    budget = RetryBudget()
    assert spend(budget, 0.0) == 100
    assert spend(budget, 9.99) == 0
    assert spend(budget, 10.0) == 100


def test_a_clock_that_steps_back_counts_as_the_latest_time():
    budget = RetryBudget(ratio=0.0, min_per_s=1.0)
    assert spend(budget, 50.0) == 10
    assert not budget.take(20.0)


@given(
    st.floats(0, 1),
    st.floats(0, 5),
    st.lists(st.tuples(st.floats(0, 2), st.booleans()), max_size=200),
)
def test_the_budget_never_gives_more_than_its_window_allows(ratio, min_per_s, steps):
    budget, now = RetryBudget(ratio=ratio, min_per_s=min_per_s), 0.0
    requests, retries = [], []
    for passed, is_retry in steps:
        now += passed
        if not is_retry:
            budget.request(now)
            requests.append(now)
        elif budget.take(now):
            retries.append(now)
            recent = [sum(t > now - 9.0 for t in retries), sum(t > now - 10.0 for t in requests)]
            assert recent[0] <= ratio * recent[1] + min_per_s * 10 + 1e-9


# The backoff: even between 0 and a bound that doubles.


class Always(Random):
    def __init__(self, value):
        super().__init__(0)
        self.value = value

    def random(self):
        return self.value


def test_the_bound_doubles_up_to_the_most_and_begins_again():
    backoff = Backoff(Always(1.0), first_s=0.1, max_s=1.0)
    bounds = [backoff.next_s() for _ in range(6)]
    assert bounds == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.0, 1.0])
    backoff.reset()
    assert backoff.next_s() == 0.1


def test_the_jitter_is_full():
    assert Backoff(Always(0.0)).next_s() == 0.0
    assert Backoff(Always(0.5), first_s=0.1).next_s() == pytest.approx(0.05)


def test_lasting_trouble_waits_longer():
    backoff = Backoff(Always(0.5), first_s=0.1)
    assert backoff.next_s(at_least_s=5.0) == pytest.approx(5.05)


def test_the_first_bound_is_never_above_the_most():
    backoff = Backoff(Always(1.0), first_s=0.5, max_s=0.2)
    assert [backoff.next_s(), backoff.next_s()] == [0.2, 0.2]
    backoff.reset()
    assert backoff.next_s() == 0.2


@given(st.integers(0, 2**32), st.floats(0.001, 10), st.floats(0.001, 100))
def test_every_wait_lies_within_its_bound(seed, first_s, max_s):
    backoff = Backoff(Random(seed), first_s=first_s, max_s=max_s)
    for number in range(12):
        assert 0 <= backoff.next_s() <= min(first_s * 2**number, max_s)
