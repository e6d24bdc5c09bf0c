"""Room that comes without a request's end: those who wait must hear of it, or nobody ever goes.

With nothing in flight there is no end that could call anybody, and whoever comes later waits behind
those who wait already.
"""

import pytest

from service_kit import instance, service_of
from trimtab import ConcurrencyLimits, HealthSettings, SaturatedError
from trimtab.health import EnvoyOutliers

LIMITS = ConcurrencyLimits(max_in_flight=1, max_pending=9)


def full(**policies):
    """Make a service whose one instance is full, and two who wait."""
    service, called = service_of("a", concurrency=LIMITS, **policies), []
    pick = service.pick()
    turn = service.join(lambda: called.append("first"))
    service.join(lambda: called.append("second"))
    return service, pick, turn, called


def stuck(service):
    with pytest.raises(SaturatedError, match="2 requests wait for room on its instances already"):
        service.pick()


def test_a_list_with_a_newcomer_calls_the_first():
    service, pick, turn, called = full()
    service.lease.set("a")
    assert called == []
    service.lease.set("a", "b")
    assert called == ["first"]
    # One at a time: whoever goes calls the next if there is still room.
    service.lease.set("a", "b", "c")
    stuck(service)
    assert called == ["first"]
    assert service.pick(turn=turn).instance.id in "bc"
    assert called == ["first", "second"]
    assert not pick.is_done


def test_a_list_without_the_full_one_calls_the_first():
    service, pick, turn, called = full()
    service.lease.set("b")
    assert called == ["first"]
    assert service.pick(turn=turn).instance.id == "b"
    # What was in flight on the old one makes no room on the new one.
    service.done(pick, "failure")
    with pytest.raises(SaturatedError):
        service.pick()


def test_a_probe_that_passes_calls_the_first():
    service = service_of("ab", concurrency=LIMITS, health=HealthSettings(panic_ratio=0.0))
    service.probed("b", is_well=False)
    called = []
    assert service.pick().instance.id == "a"
    turn = service.join(lambda: called.append("first"))
    service.probed("b", is_well=False)
    assert called == []
    service.probed("b", is_well=True)
    assert called == ["first"]
    assert service.pick(turn=turn).instance.id == "b"


def test_the_end_of_an_ejection_calls_the_first_once_somebody_comes():
    outliers = EnvoyOutliers(consecutive_failures=1, max_ejected_ratio=1.0, interval_s=10.0)
    health = HealthSettings(outliers=outliers, panic_ratio=0.0)
    service = service_of("ab", concurrency=LIMITS, health=health)
    service.done(service.pick(), "failure")
    service.pick()
    called = []
    turn = service.join(lambda: called.append("first"))
    service.join(lambda: called.append("second"))
    stuck(service)
    assert called == []
    service.clock.advance(41.0)
    stuck(service)
    stuck(service)
    assert called == ["first"]
    service.pick(turn=turn)


def test_an_empty_list_calls_nobody():
    service, _, _, called = full()
    service.lease.set()
    service.lease.set(instance("b", status="critical"))
    assert called == []
