"""A service in use: the machine under its lock and clock, its list, what it tells."""

import asyncio
import threading
from random import Random

import pytest

from service_kit import answered, begin, instance, service_of
from trimtab import (
    ClosedError,
    ConcurrencyLimits,
    DiscoveryTimeoutError,
    EnvoyOutliers,
    HealthSettings,
    NoEligibleInstanceError,
    NoInstancesError,
    RetryPolicy,
    SaturatedError,
    Snapshot,
    Status,
)
from trimtab.calls import ANSWER, Fail, Wait
from trimtab.pool import Pick

NARROW = ConcurrencyLimits(max_in_flight=1, max_pending=9, max_wait_s=60.0)


def error_of(service, **options):
    request, step = begin(service, **options)
    assert isinstance(step, Fail), step
    return service.error_of(request, step)


def counts(pick):
    member = pick.member
    return member.successes, member.failures, member.cancelled, member.in_flight


# -- requests ------------------------------------------------------------------------------------


def test_a_request_and_its_body_by_the_services_clock():
    service = service_of("a")
    request, pick = begin(service)
    service.clock.advance(0.2)
    assert answered(service, request, pick, 200) is ANSWER
    service.clock.advance(0.2)
    assert service.ended(pick, "success")
    assert not service.ended(pick, "failure")
    figures = service.statistics()
    assert (figures.service, figures.in_flight, figures.picks) == ("orders", 0, 1)
    assert figures.members["a"].latency_s == pytest.approx(0.2, rel=0.05)


def test_the_deadline_counts_from_the_requests_making():
    service = service_of("a")
    request = service.request(deadline_s=2.0)
    assert (request.deadline_at, request.deadline_s) == (102.0, 2.0)
    pick = service.begin(request)
    service.clock.advance(2.0)
    assert service.deadline_passed(request).reason == "deadline"
    assert counts(pick) == (0, 1, 0, 0)


def test_a_request_is_retried_completed_and_cancelled():
    service = service_of("abc")
    request, pick = begin(service)
    wait = service.failed(request, pick, "no_response")
    assert isinstance(service.resumed(request), Wait)
    service.clock.advance(wait.until - service.clock())
    pick = service.resumed(request)
    assert service.completed(request, pick, 200) is ANSWER
    other, pick = begin(service)
    service.cancelled(other)
    assert (counts(pick)[2:], service.under_way) == ((1, 0), 0)


def test_the_first_request_asks_for_the_list_and_later_ones_do_not():
    service = service_of(None)
    request, step = begin(service)
    assert isinstance(step, Wait)
    assert service._home.asked == 1
    service.lease.set("a")
    assert isinstance(service.resumed(request), Pick)
    begin(service)
    assert service._home.asked == 1


def test_a_service_that_was_let_go_takes_no_request():
    service = service_of("a")
    begin(service)
    assert not service.let_go()
    assert isinstance(begin(service)[1], Wait | Pick)
    service = service_of("a")
    assert service.let_go()
    assert begin(service)[1] is None


def test_closing_ends_those_who_wait_and_draining_those_without_a_list():
    service = service_of("a", concurrency=NARROW)
    sending, _ = begin(service)
    queued, _ = begin(service)
    idle = []
    service.drain(lambda: idle.append(True))
    assert isinstance(service.resumed(queued), Wait)
    service.close()
    assert isinstance(service.resumed(queued).error, ClosedError)
    service.cancelled(sending)
    assert idle == [True]
    unlisted = service_of(None)
    waiting, _ = begin(unlisted)
    unlisted.drain(lambda: None)
    assert isinstance(unlisted.resumed(waiting).error, ClosedError)


# -- errors --------------------------------------------------------------------------------------


def test_errors_say_how_old_the_list_is():
    service = service_of("")
    error = error_of(service)
    assert isinstance(error, NoInstancesError)
    for fact in ("'orders'", "static://", "2.0 s old", "check that instances are registered"):
        assert fact in str(error)
    service.lease.last_error = "refused"
    assert "2.0 s old, and it does not answer now: refused" in str(error_of(service))
    service.lease.set(instance("a", status="critical"))
    error = error_of(service)
    assert isinstance(error, NoEligibleInstanceError)
    assert "(1 critical)" in str(error)
    assert error.reasons == {"critical": 1}


def test_an_error_for_want_of_room_says_nothing_of_the_list():
    service = service_of("a", concurrency=ConcurrencyLimits(max_in_flight=1))
    begin(service)
    error = error_of(service)
    assert isinstance(error, SaturatedError)
    assert "old" not in str(error)


@pytest.mark.parametrize("has_lease", [True, False])
@pytest.mark.parametrize(("deadline_s", "within"), [(None, "within 10 s"), (0.5, "within 0.5 s")])
def test_the_error_without_a_first_list_says_how_long_it_was_waited_for(
    has_lease, deadline_s, within
):
    service = service_of(None)
    if not has_lease:
        service.lease = None
    request, _ = begin(service, deadline_s=deadline_s)
    service.clock.advance(deadline_s or 10.0)
    step = service.resumed(request)
    error = service.error_of(request, step)
    assert isinstance(error, DiscoveryTimeoutError)
    assert within in str(error)
    assert "'orders'" in str(error)


def test_a_service_without_a_list_has_no_state_yet():
    service = service_of(None)
    assert not service.is_ready
    assert service.instances() == ()
    service.lease = None
    assert (service.state().service, service.state().instances) == ("orders", None)


# -- picks that were dropped ---------------------------------------------------------------------


@pytest.mark.parametrize("look", ["statistics", "begin", "settle"])
def test_a_dropped_pick_is_given_back_with_the_next_event(look):
    service = service_of("a", concurrency=ConcurrencyLimits(max_in_flight=1))
    request, pick = begin(service)
    answered(service, request, pick, 200)
    service.drop(pick)
    service.drop(pick)  # a finalizer may come twice
    assert counts(pick)[2:] == (0, 1)
    if look == "begin":
        assert isinstance(begin(service)[1], Pick)
    else:
        getattr(service, look)()
    assert pick.is_done
    assert pick.member.cancelled == 1
    assert not service.ended(pick, "success")


def test_a_dropped_pick_is_given_back_at_home_while_a_request_waits():
    service = service_of("a", concurrency=NARROW)
    request, pick = begin(service)
    answered(service, request, pick, 200)
    queued, _ = begin(service)
    woken = []
    queued.wake = lambda: woken.append(threading.get_ident())
    service.drop(pick)
    (settle,) = service._home.soon
    assert not woken
    thread = threading.Thread(target=settle)
    thread.start()
    thread.join()
    assert woken
    assert isinstance(service.resumed(queued), Pick)


def test_a_request_that_begins_to_wait_settles_what_was_dropped_before():
    service = service_of("a", concurrency=NARROW)
    request, pick = begin(service)
    answered(service, request, pick, 200)
    queued, _ = begin(service)
    service._dropped.append(pick)  # dropped just before it queued
    assert isinstance(service.resumed(queued), Pick)


# -- room ----------------------------------------------------------------------------------------


def test_a_probe_that_passes_calls_the_first_that_waits():
    service = service_of("ab", concurrency=NARROW, health=HealthSettings(panic_ratio=0.0))
    service.probed("b", is_well=False)
    assert begin(service)[1].instance.id == "a"
    queued, _ = begin(service)
    woken = []
    queued.wake = lambda: woken.append(True)
    service.probed("b", is_well=False)
    assert not woken
    service.probed("b", is_well=True)
    assert woken
    assert service.resumed(queued).instance.id == "b"


def test_a_list_and_statistics_call_the_first_that_waits():
    service = service_of("a", concurrency=NARROW)
    request, pick = begin(service)
    answered(service, request, pick, 200)
    (first, _), (second, _) = begin(service), begin(service)
    woken = []
    first.wake, second.wake = lambda: woken.append("first"), lambda: woken.append("second")
    service.lease.set("a", "b")
    assert woken == ["first"]
    assert service.resumed(first).instance.id == "b"
    service._dropped.append(pick)
    service.statistics()
    assert woken == ["first", "second"]


# -- what it tells -------------------------------------------------------------------------------


def test_probes_and_lists_are_told():
    events = []
    service = service_of("abc", health=HealthSettings(outliers="envoy"), listener=events.append)
    assert [each.kind for each in events] == ["added"] * 3
    events.clear()
    assert service.is_ready
    service.probed("a", is_well=False, why="refused")
    assert service.eligible() == ["b", "c"]
    assert [each.id for each in service.suspects()] == ["a"]
    assert [each.kind for each in events] == ["probe_failed"]
    service.probed("a", is_well=True)
    assert [each.kind for each in events] == ["probe_failed", "probe_passed"]
    assert [each.id for each in service.instances()] == ["a", "b", "c"]
    assert service.state().age_s == 2.0
    service.lease.set("b")
    assert [member.id for member in service.removed] == ["a", "c"]
    assert "instances=1" in repr(service)


@pytest.mark.parametrize("event", ["begin", "failed", "resumed"])
def test_what_a_request_brings_about_is_told_after_it(event):
    seen = []
    service = service_of("abc", listener=lambda _event: seen.append(service.statistics()))
    request = service.request()
    step = service.begin(request)
    seen.clear()
    service._events.append(object())
    if event == "begin":
        service.begin(service.request())
    elif event == "failed":
        service.failed(request, step, "refused")
    else:
        service.resumed(request)
    assert len(seen) == 1


def test_a_listener_that_fails_is_logged_and_disturbs_nobody(caplog):
    def fail(event):
        raise ValueError(event.kind)

    service = service_of("abc", listener=fail)
    caplog.clear()
    service.probed("a", is_well=False)
    service.probed("b", is_well=False)
    assert [record.message for record in caplog.records] == [
        "service 'orders': a listener to events failed"
    ] * 3  # two probes, and panic
    assert isinstance(begin(service)[1], Pick)


@pytest.mark.parametrize(
    ("outliers", "instances", "wanted"),
    [
        ("envoy", "abcd", 1),
        ("envoy", "abcdefghi", 1),
        ("envoy", "abcdefghij", 0),
        ("envoy", "a", 0),
        (EnvoyOutliers(max_ejected_ratio=0.5), "abc", 0),
        (EnvoyOutliers(max_ejected_ratio=0.2), "abcd", 1),
        (EnvoyOutliers(max_ejected_ratio=0.0), "abcd", 0),
        (EnvoyOutliers(always_eject_one=True), "abc", 0),
        ("grpc_a50", "abc", 0),
        (None, "abc", 0),
    ],
)
def test_ejection_without_an_effect_is_told_once(caplog, outliers, instances, wanted):
    service = service_of(instances, health=HealthSettings(outliers=outliers))
    service._update(Snapshot(service="orders", instances=tuple(map(instance, instances))))
    told = [record.getMessage() for record in caplog.records if "ejects none" in record.message]
    assert len(told) == wanted
    for line in told:
        assert "orders" in line
        assert "grpc_a50" in line


def test_what_is_told_of_ejection_is_true():
    for few, many in ((9, 10), (2, 11)):
        for members, ejects in ((few, False), (many, True)):
            settings = EnvoyOutliers(consecutive_failures=1)
            detector = settings.detector(Random(1))
            detector.update([str(number) for number in range(members)], 0.0)
            assert detector.note("0", 500, 0.0) is ejects
            assert (settings.why_never(members) is None) is ejects


# -- fresh lists ---------------------------------------------------------------------------------


def refreshes(service):
    """Carry out what was to be done at home; return how often a fresh list was asked for."""
    while service._home.soon:
        service._home.soon.pop()()
    return service.lease.refreshed


@pytest.mark.parametrize(
    ("failure", "asks"),
    [("refused", 1), ("connect_timeout", 1), ("no_response", 0), ("timeout", 0), ("caller", 0)],
)
def test_a_fresh_list_is_asked_for_when_no_instance_can_be_reached(failure, asks):
    service = service_of("ab", retry=RetryPolicy(budget_min_per_s=100.0))
    request, step = begin(service)
    while isinstance(step, (Pick, Wait)):
        if isinstance(step, Wait):
            service._home.clock.advance(step.until - service.clock())
            step = service.resumed(request)
            continue
        assert refreshes(service) == 0
        step = service.failed(request, step, failure)
    assert refreshes(service) == asks


@pytest.mark.parametrize("ids", ["", [instance("a", status=Status.CRITICAL)]])
def test_a_fresh_list_is_asked_for_when_none_may_be_picked(ids):
    service = service_of(ids)
    for _ in range(100):
        begin(service)
    assert refreshes(service) == 1
    service._home.clock.advance(1.0)
    begin(service)
    assert refreshes(service) == 2


def test_one_that_is_refused_while_another_answers_asks_for_none():
    service = service_of("ab")
    request, step = begin(service)
    step = service.failed(request, step, "refused")
    service.completed(request, step, 200)
    assert refreshes(service) == 0


class Noted:
    """What a service wants to be connected to."""

    def __init__(self):
        self.watched, self.is_closed = [], False
        self.watch = self.watched.append

    async def aclose(self):
        self.is_closed = True


def at_home(service):
    while service._home.soon:
        service._home.soon.pop(0)()


@pytest.mark.parametrize(
    ("failure", "watches"),
    [("refused", True), ("connect_timeout", True), ("no_response", True), ("timeout", True),
     ("unknown", True), ("caller", False), ("unprocessed", False)],
)  # fmt: skip
def test_an_instance_that_fails_to_answer_is_connected_to_once(failure, watches):
    service, noted = service_of("a"), Noted()
    service.watch(noted)
    for _ in range(3):
        request, pick = begin(service)
        service.failed(request, pick, failure)
        at_home(service)
    assert noted.watched == ["a"] * watches


def test_while_it_cannot_be_connected_to_it_is_not_picked_and_later_watched_again():
    service, noted = service_of("ab"), Noted()
    service.watch(noted)
    request, pick = begin(service)
    id_ = pick.instance.id
    service.failed(request, pick, "refused")
    service.connected(id_, False, "refused")
    assert id_ not in service.eligible()
    service.connected(id_, True, "")
    assert id_ in service.eligible()
    at_home(service)
    while (begun := begin(service))[1].instance.id != id_:
        service.completed(*begun, 200)
    service.failed(*begun, "no_response")
    at_home(service)
    assert noted.watched == [id_, id_]


def test_newcomers_are_connected_to_and_held_back_while_there_are_others():
    service, noted = service_of(None), Noted()
    service.watch(noted, newcomers=True)
    service.start()
    service.lease.set("a", instance("drained", status="draining"))
    assert noted.watched == ["a"]
    assert service.eligible() == ["a"], "there was no other"
    service.connected("a", True, "")
    service.lease.set("a", "b", instance("drained", status="draining"))
    assert noted.watched == ["a", "b"]
    assert service.eligible() == ["a"]
    service.connected("b", True, "")
    assert service.eligible() == ["a", "b"]
    service.lease.set("a", instance("b", weight=2.0), instance("drained"))
    assert noted.watched == ["a", "b", "drained"]
    assert service.eligible() == ["a", "b"]


def test_a_newcomer_that_was_out_of_reach_is_not_held_back_for_long():
    service, noted = service_of("ab"), Noted()
    service.watch(noted, newcomers=True)
    service.connected("b", False, "refused")
    service.lease.set("a", instance("b", zone="z"))
    assert noted.watched == []
    moved = instance("b").with_(port=81)
    service.lease.set("a", moved)
    assert noted.watched == ["b"]
    assert service.eligible() == ["a", "b"]


def test_bodies_that_break_and_deadlines_have_it_found_out_too():
    service, noted = service_of("ab"), Noted()
    service.watch(noted)
    request, pick = begin(service)
    answered(service, request, pick, 200)
    with service.lock:
        request.ended(pick, "failure", service.clock())
    late, slow = begin(service, deadline_s=1.0)
    service.clock.advance(1.0)
    service.deadline_passed(late)
    at_home(service)
    assert noted.watched == [pick.instance.id, slow.instance.id]


def test_one_that_left_the_list_is_not_connected_to_and_its_successor_is():
    service, noted = service_of("ab"), Noted()
    service.watch(noted)
    request, pick = begin(service)
    other = {"a": "b", "b": "a"}[pick.instance.id]
    service.lease.set(other)
    service.failed(request, pick, "refused")
    at_home(service)
    assert noted.watched == []
    assert service.find(other).id == other
    assert service.find(pick.instance.id) is None


def test_a_service_that_is_closed_connects_to_nothing():
    service, noted = service_of("a"), Noted()
    service.watch(noted)
    service.failed(*begin(service), "refused")
    service.close()
    at_home(service)
    assert noted.watched == []
    asyncio.run(service.aclose())
    assert noted.is_closed
