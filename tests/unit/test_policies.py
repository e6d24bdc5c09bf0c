"""How calls are balanced, as one value: what it takes, and what it refuses."""

import pytest

from trimtab import ConcurrencyLimits, ConfigurationError, HealthSettings, HedgePolicy, RetryPolicy
from trimtab.balancing import Policies, check_deadline
from trimtab.check import Check
from trimtab.health.probing import ProbeSettings
from trimtab.strategies import STRATEGIES


def test_the_defaults():
    policies = Policies()
    assert policies.strategy == "least_latency"
    assert policies.retry == RetryPolicy()
    assert policies.health == HealthSettings()
    assert policies.concurrency == ConcurrencyLimits()
    optional = ("hedge", "subset", "probe", "deadline_s", "listener")
    assert [getattr(policies, name) for name in optional] == [None] * 5


def test_values_of_the_right_kind():
    probe = ProbeSettings(check=Check(kind="tcp"), jitter_ratio=0.0, max_at_once=1)
    hedge = HedgePolicy(after_s=0.5)
    policies = Policies(
        strategy=STRATEGIES["random"],
        retry=RetryPolicy(max_attempts=1),
        hedge=hedge,
        concurrency=ConcurrencyLimits(max_in_flight=5),
        probe=probe,
        deadline_s=1,
    )
    assert (policies.hedge, policies.probe, policies.deadline_s) == (hedge, probe, 1)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("retry", None, r"retry is None; write retry=RetryPolicy\(...\)"),
        ("retry", 3, r"retry is 3; write retry=RetryPolicy\(...\)"),
        ("hedge", 0.95, r"hedge is 0.95; write hedge=HedgePolicy\(...\)"),
        ("health", None, r"health is None; write health=HealthSettings\(...\)"),
        ("health", "envoy", r"health is 'envoy'; write health=HealthSettings\(...\)"),
        ("concurrency", 100, r"concurrency is 100; write concurrency=ConcurrencyLimits\(...\)"),
        ("concurrency", None, r"concurrency is None; write"),
        ("probe", "tcp", r"probe is 'tcp'; write probe=ProbeSettings\(...\)"),
        ("strategy", "fastest", "fastest"),
    ],
)
def test_values_of_the_wrong_kind_are_refused_with_the_remedy(name, value, said):
    with pytest.raises(ConfigurationError, match=said):
        Policies(**{name: value})


@pytest.mark.parametrize("deadline_s", ["1", True, False, [1], b"5"])
def test_a_deadline_is_a_number(deadline_s):
    with pytest.raises(ConfigurationError, match=r"^deadline_s is .*; it must be a number of sec"):
        check_deadline(deadline_s)
    with pytest.raises(ConfigurationError, match=r"^deadline_s is"):
        Policies(deadline_s=deadline_s)


@pytest.mark.parametrize("deadline_s", [0, 0.0, -1, float("nan"), float("-inf")])
def test_a_deadline_lies_ahead(deadline_s):
    with pytest.raises(ConfigurationError, match=r"^deadline_s is .*; it must be above 0"):
        check_deadline(deadline_s)


@pytest.mark.parametrize("deadline_s", [None, 1, 0.001, float("inf")])
def test_deadlines_that_are_ones(deadline_s):
    check_deadline(deadline_s)
