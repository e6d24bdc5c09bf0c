"""Retry decisions: the table, the budget, the backoff."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab import ConfigurationError
from trimtab.calls import IDEMPOTENT, Backoff, RetryBudget, RetryPolicy


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
        # Not processed, as the server says: whatever the method, if the body can be sent again.
        ("unprocessed", 1, "POST", True, True),
        ("unprocessed", 29, "GET", True, True),
        ("unprocessed", 30, "GET", True, False),
        ("unprocessed", 1, "GET", False, False),
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
        ("caller", 1, "GET", True, False),
        ("unknown", 1, "GET", True, False),
    ],
)
def test_the_policy_table(failure, attempts, method, replayable, again):
    policy = RetryPolicy()
    assert policy.allows(failure, attempts, method=method, replayable=replayable) is again


@pytest.mark.parametrize(
    ("failure", "charged"),
    [
        *(("refused", False), ("unprocessed", False)),
        *(("connect_timeout", True), ("no_response", True), ("timeout", True)),
    ],
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


def test_refused_goes_on_for_longer_unless_there_is_one_attempt():
    two = RetryPolicy(max_attempts=2)
    assert two.allows("refused", 2, method="GET", replayable=True)
    assert two.allows("refused", 9, method="GET", replayable=True)
    assert not two.allows("refused", 10, method="GET", replayable=True)
    assert not two.allows("no_response", 2, method="GET", replayable=True)


@pytest.mark.parametrize(
    ("status", "method", "replayable", "attempts", "again"),
    [
        (503, "GET", True, 1, True),
        (503, "GET", True, 2, True),
        (503, "GET", True, 3, False),
        (503, "POST", True, 1, False),
        (503, "PUT", False, 1, False),
        (500, "GET", True, 1, False),
        (200, "GET", True, 1, False),
    ],
)
def test_statuses_are_tried_again_if_asked_for(status, method, replayable, attempts, again):
    policy = RetryPolicy(statuses={429, 503})
    assert policy.allows(status, attempts, method=method, replayable=replayable) is again
    assert policy.is_charged(status)
    assert not RetryPolicy().allows(status, 1, method="GET", replayable=True)


def test_methods_and_failures_are_the_callers_to_add():
    policy = RetryPolicy(methods=["POST"], failures=["timeout"])
    assert policy.allows("timeout", 1, method="POST", replayable=True)
    assert not policy.allows("timeout", 1, method="GET", replayable=True)
    assert not policy.allows("refused", 1, method="POST", replayable=True)
    assert policy.methods == frozenset({"POST"})
    assert policy.failures == frozenset({"timeout"})
    assert RetryPolicy(failures=()).failures == frozenset()


ATTEMPTS = (
    "max_attempts is {}, max_refused {} and max_unprocessed {}; each must be 1 or more "
    "(max_attempts=1 means no retry)"
)
KNOWN = "connect_timeout, no_response, refused, timeout, unprocessed"
BUDGET = "budget_ratio is {} and budget_min_per_s {}; neither may be negative"


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"max_attempts": 0}, ATTEMPTS.format(0, 10, 30)),
        ({"max_refused": 0}, ATTEMPTS.format(3, 0, 30)),
        ({"max_unprocessed": 0}, ATTEMPTS.format(3, 10, 0)),
        ({"budget_ratio": -0.1}, BUDGET.format(-0.1, 10.0)),
        ({"budget_ratio": float("nan")}, BUDGET.format("nan", 10.0)),
        ({"budget_min_per_s": -1}, BUDGET.format(0.2, -1)),
        *[
            ({name: value}, f"{name} is {value!r}; it must be 0 or more")
            for name in ("backoff_first_s", "backoff_max_s", "max_retry_after_s")
            for value in (-0.1, float("nan"))
        ],
        *[
            (
                {"failures": {"refused", kind}},
                f"failures has {kind!r}; known are {KNOWN}",
            )
            for kind in ("caller", "unknown", "Refused")
        ],
        *[
            ({"statuses": {503, status}}, f"statuses has {status}; each must be from 400 to 599")
            for status in (399, 600, 200)
        ],
        ({"methods": {"GET", "post"}}, "methods has 'post'; write methods in upper case"),
        ({"retry_after": "all"}, "retry_after is 'all'; it must be 'instance' or 'service'"),
    ],
)
def test_values_out_of_range_are_refused_by_name(wrong, said):
    with pytest.raises(ConfigurationError) as caught:
        RetryPolicy(**wrong)
    assert str(caught.value) == said


def test_the_least_and_the_most():
    zero = ("backoff_first_s", "backoff_max_s", "max_retry_after_s")
    RetryPolicy(**dict.fromkeys(zero, 0), budget_ratio=0, budget_min_per_s=0)
    RetryPolicy(max_attempts=1, max_refused=1, statuses={400, 599})


def test_the_defaults():
    policy = RetryPolicy()
    assert (policy.max_attempts, policy.max_refused) == (3, 10)
    assert (policy.backoff_first_s, policy.backoff_max_s) == (0.025, 0.25)
    assert (policy.retry_after, policy.max_retry_after_s) == ("instance", 5.0)
    assert (policy.budget_ratio, policy.budget_min_per_s) == (0.2, 10.0)
    assert policy.failures == {"refused", "connect_timeout", "unprocessed", "no_response"}
    assert (policy.methods, policy.statuses) == (IDEMPOTENT, frozenset())


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


@pytest.mark.parametrize("window_s", [1.0, 5.0, 60.0])
def test_a_window_has_ten_slices_whatever_its_length(window_s):
    budget = RetryBudget(ratio=1.0, min_per_s=0.0, window_s=window_s)
    for tenth in range(10):
        budget.request((tenth + 0.5) * window_s / 10)
    assert spend(budget, 0.99 * window_s) == 10
    budget = RetryBudget(ratio=1.0, min_per_s=0.0, window_s=window_s)
    for tenth in range(10):
        budget.request((tenth + 0.5) * window_s / 10)
    assert spend(budget, 1.25 * window_s) == 7


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


def test_the_bounds_unless_told_otherwise():
    backoff = Backoff(Always(1.0))
    assert [backoff.next_s() for _ in range(7)] == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5])


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
