"""What a forked child forgets; the fork itself is in the integration tests."""

from __future__ import annotations

from random import Random

import pytest

from trimtab import BalancedTransport
from trimtab.transports.balanced import _forget_all


@pytest.mark.parametrize("is_seeded", [True, False])
def test_a_child_has_no_sides_and_a_chance_of_its_own_unless_seeded(is_seeded):
    rng = Random(1) if is_seeded else None
    transport = BalancedTransport("static://h:1", rng=rng)
    lock, chance = transport._lock, transport._rng.getstate()
    transport._sync["httpx"] = transport._async["httpx", None] = object()
    _forget_all()
    assert transport._sides() == []
    assert transport._lock is not lock
    assert (transport._rng.getstate() == chance) is is_seeded
