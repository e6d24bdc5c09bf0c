"""One request's course over its attempts, without any I/O."""

import asyncio
from random import Random

import pytest

from trimtab import DiscoverySettings, Instance, RetryPolicy
from trimtab.discovery import Balancer, Call, Home, Policies
from trimtab.testing import FakeRegistry
from trimtab_sim.loop import run

THREE = [Instance(host="10.0.0.1", port=port) for port in (1, 2, 3)]


def with_service(test):
    """Run `test(service)` in virtual time, with a service of three instances."""

    async def main():
        registry = FakeRegistry()
        registry.set("orders", THREE)
        balancer = Balancer(
            Home.for_async(),
            registry,
            policies=Policies(strategy="round_robin"),
            settings=DiscoverySettings(),
            rng=Random(1),
            on_removed=lambda members: None,
        )
        await test(await balancer.open("orders"))
        await balancer.aclose()

    run(main())


def test_a_request_that_is_answered_whole():
    async def test(service):
        statuses = {200: "successes", 404: "successes", 499: "successes"}
        statuses |= {429: "failures", 500: "failures", 503: "failures"}
        for status, ended in statuses.items():
            call = Call(service)
            pick = call.pick()
            before = getattr(pick.member, ended)
            call.completed(pick, status)
            assert getattr(pick.member, ended) == before + 1, status
            assert call.tried == {}

    with_service(test)


def test_head_and_body_apart():
    async def test(service):
        call = Call(service, key="customer-7")
        pick = call.pick()
        await asyncio.sleep(0.2)
        call.answered(pick, 503)
        assert pick.member.in_flight == 1
        call.done(pick, "success")
        call.done(pick, "success")  # the end may be noted twice
        assert (pick.member.in_flight, pick.member.failures) == (0, 1)

    with_service(test)


def test_each_attempt_goes_to_another_instance_while_there_is_one():
    async def test(service):
        call = Call(service)
        again = [call.failed(call.pick(), "refused") for _ in range(3)]
        assert again == [0.0, 0.0, None]
        assert sorted(call.tried) == [each.id for each in THREE]
        assert all(why == "refused" for _, why in call.tried.values())
        figures = service.statistics()
        assert figures.in_flight == 0
        assert [each.failures for each in figures.members.values()] == [1, 1, 1]

    with_service(test)


@pytest.mark.parametrize(
    ("failure", "method", "replayable", "again"),
    [
        ("no_response", "GET", True, True),
        ("no_response", "GET", False, False),
        ("no_response", "POST", True, False),
        ("connect_timeout", "POST", False, True),
        ("timeout", "GET", True, False),
    ],
)
def test_whether_there_is_another_attempt(failure, method, replayable, again):
    async def test(service):
        call = Call(service, method=method, replayable=replayable)
        pick = call.pick()
        assert (call.failed(pick, failure) is not None) is again
        assert pick.member.failures == 1

    with_service(test)


def test_a_mistake_of_ours_says_nothing_against_the_instance():
    async def test(service):
        call = Call(service)
        pick = call.pick()
        assert call.failed(pick, "other") is None
        assert (pick.member.cancelled, pick.member.failures, pick.member.in_flight) == (1, 0, 0)

    with_service(test)


def test_first_attempts_of_calls_share_nothing():
    async def test(service):
        one, other = Call(service), Call(service)
        one.failed(one.pick(), "refused")
        assert (len(one.tried), len(other.tried)) == (1, 0)

    with_service(test)
