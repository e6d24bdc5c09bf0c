"""When a second attempt is sent beside the first: the policy."""

import pytest

from trimtab import ConfigurationError, HedgePolicy
from trimtab.calls import IDEMPOTENT


@pytest.mark.parametrize(
    ("settings", "observed_s", "delay_s"),
    [
        ({}, None, None),
        ({}, 0.2, 0.2),
        ({}, 0.0001, 0.001),
        ({"after_s": 0.5}, None, 0.5),
        ({"after_s": 0.5}, 0.2, 0.2),
        ({"after_s": 0.5, "quantile": None}, 0.2, 0.5),
        ({"after_s": 0.5, "quantile": None}, None, 0.5),
        ({"after_s": 0.0001}, None, 0.001),
        ({"after_s": 0.0, "min_s": 0.0}, None, 0.0),
        ({"min_s": 0.3}, 0.2, 0.3),
        ({"min_s": 0.3}, 0.4, 0.4),
    ],
)
def test_when(settings, observed_s, delay_s):
    assert HedgePolicy(**settings).delay_s(observed_s) == delay_s


def test_the_defaults():
    hedge = HedgePolicy()
    assert (hedge.quantile, hedge.after_s, hedge.min_s, hedge.min_samples) == (
        0.95, None, 0.001, 100,
    )  # fmt: skip
    assert hedge.methods == IDEMPOTENT == {"DELETE", "GET", "HEAD", "OPTIONS", "PUT", "TRACE"}


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"quantile": None}, "hedging needs a quantile or after_s"),
        *[
            ({"quantile": value}, f"quantile is {value}; it must be between 0 and 1, such as 0.95")
            for value in (0, 1, -1, 1.5, float("nan"))
        ],
        *[
            ({"after_s": value}, f"after_s is {value}; it must be 0")
            for value in (-1, float("nan"))
        ],
        *[({"min_s": value}, f"min_s is {value}; it must be 0") for value in (-1, float("nan"))],
        ({"min_samples": 0}, "min_samples is 0; it must be 1 or more"),
    ],
)
def test_wrong_settings_are_refused_by_name(settings, said):
    with pytest.raises(ConfigurationError, match=f"^{said}"):
        HedgePolicy(**settings)


def test_the_least_settings():
    HedgePolicy(after_s=0, min_s=0, min_samples=1, quantile=0.0001)
    HedgePolicy(quantile=0.9999)
