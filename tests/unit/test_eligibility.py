"""Who may be picked, by the registry's word."""

import pytest

from trimtab import Instance, Status
from trimtab.health import Reason, reason_against


@pytest.mark.parametrize(
    ("status", "weight", "reason"),
    [
        (Status.PASSING, 1.0, None),
        (Status.WARNING, 1.0, None),
        (Status.PASSING, 5e-324, None),
        (Status.CRITICAL, 1.0, Reason.CRITICAL),
        (Status.DRAINING, 1.0, Reason.DRAINING),
        (Status.PASSING, 0.0, Reason.WEIGHT_ZERO),
        (Status.WARNING, 0.0, Reason.WEIGHT_ZERO),
        (Status.CRITICAL, 0.0, Reason.CRITICAL),
    ],
)
def test_reasons(status, weight, reason):
    assert reason_against(Instance(host="a", port=1, status=status, weight=weight)) is reason


def test_reasons_read_well():
    assert [str(reason) for reason in Reason] == [
        *("critical", "draining", "weight 0", "ejected", "probe failed", "asked to wait"),
        *("saturated", "outside the subset"),
    ]
