"""The retry budget equals a naive one that remembers every request and retry."""

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from trimtab.calls import RetryBudget


class BudgetMachine(RuleBasedStateMachine):
    @initialize(
        ratio=st.sampled_from([0.0, 0.2, 0.5, 1.0]),
        min_per_s=st.sampled_from([0.0, 0.1, 1.0, 10.0]),
        window_s=st.sampled_from([1.0, 10.0, 30.0]),
        now=st.sampled_from([0.0, 12345.678]),
    )
    def start(self, ratio, min_per_s, window_s, now):
        self.ratio, self.reserve, self.window_s, self.now = (
            ratio,
            min_per_s * window_s,
            window_s,
            now,
        )
        self.budget = RetryBudget(ratio=ratio, min_per_s=min_per_s, window_s=window_s)
        self.requests, self.retries = [], []

    def slice_at(self, now):
        return int(now / (self.window_s / 10))

    def recent(self, events):
        return sum(self.slice_at(at) > self.slice_at(self.now) - 10 for at in events)

    @rule(count=st.integers(1, 30))
    def request(self, count):
        for _ in range(count):
            self.budget.request(self.now)
        self.requests += [self.now] * count

    @rule(tries=st.integers(1, 30))
    def retry(self, tries):
        for _ in range(tries):
            allowed = self.reserve + self.ratio * self.recent(self.requests)
            has_room = self.recent(self.retries) + 1 <= allowed
            assert self.budget.take(self.now) is has_room
            self.retries += [self.now] * has_room

    @rule(share=st.sampled_from([0.001, 0.05, 0.1, 0.35, 0.95, 1.0, 1.05, 3.0, 1000.0]))
    def wait(self, share):
        self.now += share * self.window_s

    @invariant()
    def is_never_exceeded(self):
        """Over any nine tenths of a window, at whose ends the slices may lie however they do."""
        if hasattr(self, "budget"):
            begin = self.now - 0.9 * self.window_s
            retries = sum(at > begin for at in self.retries)
            requests = sum(at > begin - 1.1 * self.window_s for at in self.requests)
            assert retries <= self.reserve + self.ratio * requests + 1e-9


def test_the_budget_equals_the_model():
    run_state_machine_as_test(
        BudgetMachine, settings=settings(max_examples=60, stateful_step_count=30, deadline=None)
    )


@given(st.lists(st.booleans(), max_size=400))
def test_at_once_a_fifth_of_the_requests_and_a_hundred(steps):
    budget, requests, retries = RetryBudget(), 0, 0
    for is_retry in steps:
        if is_retry:
            retries += budget.take(5.0)
        else:
            budget.request(5.0)
            requests += 1
        assert retries <= 100 + requests / 5
