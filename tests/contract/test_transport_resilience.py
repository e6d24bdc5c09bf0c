"""Retries, deadlines, hedges and limits of `BalancedTransport`: one suite over all flavours."""

from __future__ import annotations

import time
from types import SimpleNamespace

import httpx
import pytest

from transport_kit import (
    ASYNC_FLAVOURS,
    DEADLINE_S,
    FLAVOURS,
    HttpServer,
    every,
    figures,
    listing,
    refusing_instance,
    unique,
)
from trimtab import (
    BalancedTransport,
    ConcurrencyLimits,
    ConfigurationError,
    DiscoverySettings,
    EnvoyOutliers,
    HealthSettings,
    HedgePolicy,
    InstanceChanged,
    RetryPolicy,
    SaturatedError,
)
from trimtab.testing import FakePolledRegistry

STATUSES = RetryPolicy(statuses=(429, 503), backoff_first_s=0.001, backoff_max_s=0.001)
WHO = "http://orders/who"


@pytest.fixture
def kit():
    """Two servers, made ill by the tests, and well again after each."""
    with HttpServer("a") as a, HttpServer("b") as b:
        yield SimpleNamespace(a=a, b=b)


def both(kit):
    return listing(kit.a.instance(), kit.b.instance())


@every(FLAVOURS)
async def test_a_status_is_tried_again_on_another_instance(flavour, kit):
    kit.a.ails = (503, {})
    transport = flavour.transport(both(kit), strategy="round_robin", retry=STATUSES)
    async with flavour.client(transport) as client:
        answers = [await client.get(WHO) for _ in range(4)]
        assert [answer.text for answer in answers] == ["b"] * 4
        infos = [answer.extensions["trimtab"] for answer in answers]
        assert max(info.attempts for info in infos) == 2
        assert any("status 503" in info.reason for info in infos)
        assert figures(transport).in_flight == 0
        assert figures(transport).members["a"].failures == len(kit.a.seen)


@every(FLAVOURS)
async def test_the_last_response_is_returned_when_no_attempt_is_left(flavour, kit):
    kit.a.ails = kit.b.ails = (503, {})
    transport = flavour.transport(both(kit), retry=STATUSES)
    async with flavour.client(transport) as client:
        answer = await client.get(WHO)
        assert (answer.status_code, answer.text) == (503, "ailing")
        assert answer.extensions["trimtab"].attempts == 3
        # Not idempotent: what was sent may have been done.
        assert (await client.post(WHO, content=b"x")).extensions["trimtab"].attempts == 1
        assert len(kit.a.seen) + len(kit.b.seen) == 4
        assert figures(transport).in_flight == 0


@every(FLAVOURS)
async def test_retry_after_leaves_the_instance_in_peace(flavour, kit):
    kit.a.ails = (429, {"Retry-After": "30"})
    transport = flavour.transport(both(kit), strategy="round_robin", retry=STATUSES)
    async with flavour.client(transport) as client:
        for _ in range(6):
            assert (await client.get(WHO)).text == "b"
        assert len(kit.a.seen) == 1
        assert figures(transport).members["a"].reason == "asked to wait"


@every(FLAVOURS)
async def test_a_tenants_quota_costs_the_instance_nothing(flavour, kit):
    kit.a.ails = (429, {"Retry-After": "60"})
    for strategy in ("round_robin", "random", "least_latency"):
        transport = flavour.transport(
            both(kit), strategy=strategy, health=HealthSettings(caller_statuses={429})
        )
        async with flavour.client(transport) as client:
            statuses = [(await client.get(WHO)).status_code for _ in range(40)]
            member = figures(transport).members["a"]
        assert (member.failures, member.reason) == (0, None)
        if strategy == "round_robin":
            assert statuses.count(429) == 20


@every(FLAVOURS)
async def test_a_longer_wait_than_is_allowed_is_not_waited_for(flavour, kit):
    kit.a.ails = (503, {"Retry-After": "3600"})
    transport = flavour.transport(listing(kit.a.instance()), retry=STATUSES)
    async with flavour.client(transport) as client:
        answer = await client.get(WHO)
        assert (answer.status_code, answer.extensions["trimtab"].attempts) == (503, 1)


@every(FLAVOURS)
async def test_retries_are_asked_for_and_refused_by_request(flavour, kit):
    kit.a.ails = kit.b.ails = (503, {})
    async with flavour.client(flavour.transport(both(kit), retry=STATUSES)) as client:
        for retry, attempts in ((False, 1), (RetryPolicy(max_attempts=2, statuses=(503,)), 2)):
            answer = await client.get(WHO, extensions={"trimtab": {"retry": retry}})
            assert answer.extensions["trimtab"].attempts == attempts
        with pytest.raises(ConfigurationError, match=r"'retires'; known are .*retry"):
            await client.get(WHO, extensions={"trimtab": {"retires": 3}})


@every(FLAVOURS)
async def test_a_deadline_ends_a_request_that_gets_no_answer(flavour, kit):
    key = unique()
    async with flavour.client(flavour.transport(both(kit))) as client:
        with pytest.raises(flavour.family.ReadTimeout, match=r"'orders'.*deadline of 0\.1 s"):
            await client.get(
                f"http://orders/silent/{key}", extensions={"trimtab": {"deadline_s": 0.1}}
            )
    for server in (kit.a, kit.b):
        server.open(key)


@every(FLAVOURS)
async def test_a_deadline_holds_while_the_body_is_read(flavour, kit):
    key = unique()
    transport = flavour.transport(both(kit), deadline_s=0.2)
    async with flavour.client(transport) as client:
        with pytest.raises(flavour.family.ReadTimeout):
            await client.get(f"http://orders/held/{key}")
        assert figures(transport).in_flight == 0
    for server in (kit.a, kit.b):
        server.open(key)


@every(FLAVOURS)
async def test_what_is_left_of_a_deadline_is_told_to_the_instance(flavour, kit):
    transport = flavour.transport(
        listing(kit.a.instance()), deadline_s=5.0, deadline_header="X-Time-Left-Ms"
    )
    async with flavour.client(transport) as client:
        await client.get(WHO)
    assert 4000 < int(kit.a.seen[0][2]["x-time-left-ms"]) <= 5000


@every(FLAVOURS)
async def test_a_time_out_is_tried_again_if_asked(flavour, kit):
    kit.a.ails = "mute"
    retry = RetryPolicy(failures=("refused", "timeout"))
    transport = flavour.transport(both(kit), strategy="round_robin", retry=retry)
    timeout = flavour.family.Timeout(DEADLINE_S, read=0.2)
    async with flavour.client(transport, timeout=timeout) as client:
        for _ in range(2):
            assert (await client.get(WHO)).text == "b"
        assert figures(transport).members["a"].failures >= 1
    kit.a.open("mute")


@every(ASYNC_FLAVOURS)
async def test_a_hedge_answers_for_a_late_instance(flavour, kit):
    kit.a.ails = "mute"
    hedge = HedgePolicy(after_s=0.05, quantile=None)
    transport = flavour.transport(both(kit), strategy="round_robin", hedge=hedge)
    async with flavour.client(transport, timeout=DEADLINE_S) as client:
        for _ in range(4):
            assert (await client.get(WHO)).text == "b"
        members = figures(transport).members
        assert members["a"].failures == 0
        # On a busy machine an attempt may be cancelled before its server has read it.
        assert members["a"].cancelled >= max(1, len(kit.a.seen))
        assert figures(transport).in_flight == 0
    kit.a.open("mute")


@every(ASYNC_FLAVOURS)
async def test_what_may_not_be_sent_twice_is_not_hedged(flavour, kit):
    kit.a.ails = kit.b.ails = "mute"
    hedge = HedgePolicy(after_s=0.0, quantile=None, min_s=0.0)
    transport = flavour.transport(both(kit), hedge=hedge)

    def sent():
        return len(kit.a.seen) + len(kit.b.seen)

    async with flavour.client(transport, timeout=DEADLINE_S) as client:
        post = client.build_request("POST", WHO, content=b"x")
        wished = client.build_request("GET", WHO, extensions={"trimtab": {"hedge": False}})
        for number, request in enumerate((post, wished), start=1):
            await flavour.cancelled(client.send, request, when=lambda n=number: sent() == n)
        hedged = client.build_request("GET", WHO)
        await flavour.cancelled(client.send, hedged, when=lambda: sent() == 4)
        assert figures(transport).in_flight == 0
    for server in (kit.a, kit.b):
        server.open("mute")


@every(ASYNC_FLAVOURS)
async def test_hedges_that_all_fail_end_in_words(flavour, kit):
    kit.a.ails = kit.b.ails = (503, {})
    hedge = HedgePolicy(after_s=0.0, quantile=None, min_s=0.0)
    transport = flavour.transport(both(kit), hedge=hedge, retry=STATUSES)
    async with flavour.client(transport, timeout=DEADLINE_S) as client:
        for _ in range(5):
            assert (await client.get(WHO)).status_code == 503
        assert figures(transport).in_flight == 0


@every(FLAVOURS)
async def test_what_is_over_the_limit_is_refused_at_once(flavour, kit):
    key = unique()
    transport = flavour.transport(
        listing(kit.a.instance()), concurrency=ConcurrencyLimits(max_in_flight=1)
    )
    async with flavour.client(transport, timeout=DEADLINE_S) as client:
        request = client.build_request("GET", f"http://orders/held/{key}")
        held = await client.send(request, stream=True)
        with pytest.raises(SaturatedError, match=r"'orders': all 1 eligible") as caught:
            await client.get(WHO)
        assert isinstance(caught.value, flavour.family.ConnectError)
        assert figures(transport).members["a"].reason == "saturated"
        kit.a.open(key)
        await flavour.read(held)
        assert (await client.get(WHO)).text == "a"


@every(FLAVOURS)
async def test_what_is_over_the_limit_may_wait_its_turn(flavour, kit):
    key = unique()
    limits = ConcurrencyLimits(max_in_flight=1, max_pending=2, max_wait_s=DEADLINE_S)
    transport = flavour.transport(listing(kit.a.instance()), concurrency=limits)
    async with flavour.client(transport, timeout=DEADLINE_S) as client:
        request = client.build_request("GET", f"http://orders/held/{key}")
        held = await client.send(request, stream=True)
        waited = []

        async def wait():
            waited.append((await client.get(WHO)).extensions["trimtab"].waited_s)

        async def let_go():
            kit.a.open(key)
            await flavour.read(held)

        await flavour.together(wait, wait, let_go)
        assert len(waited) == 2
        assert figures(transport).in_flight == 0


@every(FLAVOURS)
async def test_a_turn_that_never_comes_is_told_of(flavour, kit):
    key = unique()
    limits = ConcurrencyLimits(max_in_flight=1, max_pending=1, max_wait_s=0.05)
    transport = flavour.transport(listing(kit.a.instance()), concurrency=limits)
    async with flavour.client(transport, timeout=DEADLINE_S) as client:
        request = client.build_request("GET", f"http://orders/held/{key}")
        held = await client.send(request, stream=True)
        with pytest.raises(SaturatedError, match=r"no room on any instance within 0\.05 s"):
            await client.get(WHO)
        kit.a.open(key)
        await flavour.read(held)
        assert (await client.get(WHO)).text == "a"


@every(FLAVOURS)
async def test_an_outlier_is_ejected_and_told_of(flavour, kit):
    kit.a.ails = (503, {})
    events = []
    health = HealthSettings(outliers=EnvoyOutliers(consecutive_failures=2, max_ejected_ratio=0.5))
    transport = flavour.transport(
        both(kit), strategy="round_robin", health=health, listener=events.append
    )
    async with flavour.client(transport) as client:
        statuses = [(await client.get(WHO)).status_code for _ in range(12)]
        assert statuses.count(503) == 2
        member = figures(transport).members["a"]
        assert (member.reason, member.why) == ("ejected", "failures in a row")
    told = [(each.kind, each.instance.id) for each in events if isinstance(each, InstanceChanged)]
    assert told == [("added", "a"), ("added", "b"), ("ejected", "a")]


def test_settings_of_the_wrong_kind_are_told_of_at_once():
    with pytest.raises(
        ConfigurationError, match=r"concurrency is Limits.*ConcurrencyLimits\(\.\.\.\)"
    ):
        BalancedTransport("static://h:1", concurrency=httpx.Limits())
    with pytest.raises(ConfigurationError, match="deadline_s is 0; it must be above 0"):
        BalancedTransport("static://h:1", deadline_s=0)


@every(FLAVOURS)
async def test_when_all_that_are_listed_refuse_a_fresh_list_is_read(flavour, kit):
    kit.a.ails = None
    settings = DiscoverySettings(grace_s=0, poll_interval_s=1000.0, resync_interval_s=1000.0)
    with refusing_instance() as gone:
        registry = FakePolledRegistry(unique("test"))
        registry.set("orders", [gone])
        transport = flavour.transport(registry, discovery=settings)
        async with flavour.client(transport) as client:
            with pytest.raises(flavour.family.ConnectError):
                await client.get(WHO)
            registry.set("orders", [kit.a.instance()])
            fetched = registry.calls["fetch"]
            end, failed = time.monotonic() + 10.0, 0
            while time.monotonic() < end:
                try:
                    assert (await client.get(WHO)).text == "a"
                except flavour.family.ConnectError:
                    failed += 1
                    await flavour.pause()
                else:
                    break
            else:
                raise AssertionError(f"{failed} calls failed, and no fresh list came")
            assert registry.calls["fetch"] - fetched <= 3
