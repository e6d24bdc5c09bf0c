"""Services by name in virtual time: opened, kept, let go."""

import asyncio
import gc
from random import Random

import pytest

from service_kit import answered
from trimtab import (
    ClosedError,
    ConcurrencyLimits,
    DiscoverySettings,
    DiscoveryTimeoutError,
    Instance,
    NoEligibleInstanceError,
    NoInstancesError,
    RegistryDeniedError,
    RetryPolicy,
)
from trimtab.balancing import Policies, Services
from trimtab.calls import ANSWER, Fail, Wait
from trimtab.discovery import Home
from trimtab.pool import Pick
from trimtab.testing import FakePolledRegistry, FakeRegistry
from trimtab_sim.loop import run

TWO = [Instance(host="10.0.0.1", port=port) for port in (1, 2)]


def make(
    registry, *, strategy="round_robin", on_removed=lambda members: None, limits=None, **settings
):
    return Services(
        Home.for_async(),
        registry,
        policies=Policies(
            strategy=strategy,
            retry=RetryPolicy(max_attempts=3, budget_ratio=0.0, budget_min_per_s=0.1),
            concurrency=limits or ConcurrencyLimits(),
        ),
        settings=DiscoverySettings(**settings),
        rng=Random(1),
        on_removed=on_removed,
    )


@pytest.fixture
def registry():
    registry = FakeRegistry()
    for name in ("orders", "invoices", "users"):
        registry.set(name, TWO)
    return registry


def begin(service):
    request = service.request()
    return request, service.begin(request)


def error_of(service):
    request, step = begin(service)
    assert isinstance(step, Fail)
    return service.error_of(request, step)


def names(services):
    return sorted(service.name for service in services.all())


# -- opened --------------------------------------------------------------------------------------


def test_a_service_is_opened_once_and_then_found(registry):
    async def main():
        services = make(registry)
        assert services.all() == []
        first, second = await asyncio.gather(services.open("orders"), services.open("orders"))
        assert first is second is services.get("orders") is await services.open("orders")
        assert first.is_ready
        assert (registry.calls["watch"], services.all()) == (1, [first])
        assert sorted(first.eligible()) == sorted(each.id for each in TWO)
        await services.aclose()
        await services.aclose()
        assert registry.watching == 0

    run(main())


def test_a_service_is_there_before_its_first_list():
    async def main():
        services = make(FakeRegistry(delay_s=5.0))
        opening = asyncio.ensure_future(services.open("orders"))
        await asyncio.sleep(1)
        (service,) = services.all()
        assert not service.is_ready
        assert await opening is service
        assert service.is_ready
        await services.aclose()

    run(main())


def test_a_request_begins_to_keep_the_list_and_is_woken_by_it(registry):
    async def main():
        services = make(registry)
        service = services.get("orders")
        woken = asyncio.Event()
        request = service.request()
        request.wake = woken.set
        assert isinstance(service.begin(request), Wait)
        await woken.wait()
        assert isinstance(service.resumed(request), Pick)
        assert asyncio.get_running_loop().time() == 0.0
        await services.aclose()

    run(main())


def test_a_registry_that_refuses_ends_the_waits_at_once_and_is_asked_again(registry):
    async def main():
        registry.fail(RegistryDeniedError("no such token"))
        services = make(registry)
        service = services.get("orders")
        for _ in range(2):
            woken = asyncio.Event()
            request = service.request()
            request.wake = woken.set
            assert isinstance(service.begin(request), Wait)
            await woken.wait()
            step = service.resumed(request)
            assert "no such token" in str(service.error_of(request, step))
        assert service.under_way == 0
        await services.aclose()

    run(main())


def test_services_of_one_loop_share_supervisors_and_not_pools(registry):
    async def main():
        users = [make(registry) for _ in range(4)]
        services = [await each.open("orders") for each in users]
        begin(services[0])
        assert [service.statistics().in_flight for service in services] == [1, 0, 0, 0]
        assert registry.calls["watch"] == 1
        for each in users:
            assert registry.watching == 1
            await each.aclose()
        assert registry.watching == 0

    run(main())


# -- let go --------------------------------------------------------------------------------------


def test_after_closing_nothing_opens(registry):
    async def main():
        services = make(registry)
        service = await services.open("orders")
        await services.aclose()
        assert service.begin(service.request()) is None
        with pytest.raises(ClosedError, match="'orders'"):
            await services.open("orders")
        with pytest.raises(ClosedError, match="'orders'"):
            services.get("orders")

    run(main())


def test_the_least_recently_used_service_is_dropped(registry):
    async def main():
        removed = []
        services = make(registry, max_services=2, on_removed=removed.extend)
        for name in ("orders", "invoices", "orders", "users"):
            await services.open(name)
            services.all()  # to look at them is no use
            await asyncio.sleep(1)
        assert registry.watching == 2
        assert names(services) == ["orders", "users"]
        assert len(removed) == 2  # their connections are to be closed
        await services.aclose()

    run(main())


def test_an_idle_service_is_dropped_without_a_request(registry):
    async def main():
        services = make(registry, idle_s=60.0)
        await services.open("orders")
        await services.open("invoices")
        for _ in range(20):
            await asyncio.sleep(30)
            services.get("orders")
        assert registry.watching == 1
        await asyncio.sleep(200)
        assert registry.watching == 0
        assert services.all() == []
        assert (await services.open("orders")).is_ready
        await services.aclose()

    run(main())


@pytest.mark.parametrize("state", ["listing", "sending", "queued"])
def test_a_service_in_use_is_not_dropped_for_its_age_or_its_number(state, registry):
    async def main():
        if state == "listing":
            registry.fail()
        limits = ConcurrencyLimits(max_in_flight=1, max_pending=9, max_wait_s=1e6)
        services = make(registry, max_services=1, idle_s=10.0, limits=limits, startup_timeout_s=1e6)
        service = services.get("orders")
        if state != "listing":
            await service.ready(1.0)
        in_use = [begin(service)[0] for _ in range(3 if state == "queued" else 1)]
        for _ in range(5):
            await asyncio.sleep(9)
            services.get("users")
        assert names(services) == ["orders", "users"]
        await asyncio.sleep(100)
        assert names(services) == ["orders"]
        assert services.get("orders") is service
        for request in in_use:
            service.cancelled(request)
        services.get("users")
        assert names(services) == ["users"]
        await asyncio.sleep(1)
        assert registry.watching == 0 or state != "listing"
        await services.aclose()
        assert registry.watching == 0

    run(main())


def test_a_service_that_was_idle_and_in_use_is_found_again(registry):
    """Or else two would keep one service's list, and one of them for ever."""

    async def main():
        services = make(registry, idle_s=10.0)
        service = await services.open("orders")
        request, _ = begin(service)
        await asyncio.sleep(0)
        services._sweeper.cancel()  # the sweep comes late
        await asyncio.sleep(30)
        assert services.get("orders") is service
        service.cancelled(request)
        await services.aclose()
        assert registry.watching == 0

    run(main())


def test_idle_services_that_were_not_swept_yet_make_room_and_close(registry):
    async def main():
        services = make(registry, max_services=2, idle_s=10.0)
        for name in ("orders", "invoices"):
            await services.open(name)
        services._sweeper.cancel()
        await asyncio.sleep(30)
        assert names(services) == ["invoices", "orders"]
        await services.open("users")
        await asyncio.sleep(0)
        assert (names(services), registry.watching) == (["users"], 1)
        await asyncio.sleep(30)
        await services.aclose()
        assert registry.watching == 0

    run(main())


@pytest.mark.parametrize(("first_calls", "max_services"), [(40, 20), (200, 72)])
def test_many_first_requests_at_once_all_get_their_list(first_calls, max_services):
    async def main():
        registry = FakeRegistry(delay_s=0.5)
        for number in range(first_calls):
            registry.set(f"s{number}", TWO)
        services = make(registry, max_services=max_services, idle_s=1000.0)

        async def call(name):
            service = services.get(name)
            woken = asyncio.Event()
            request = service.request()
            request.wake = woken.set
            step = service.begin(request)
            while isinstance(step, Wait):
                await asyncio.wait_for(woken.wait(), 30)
                woken.clear()
                step = service.resumed(request)
            assert isinstance(step, Pick), step
            await asyncio.sleep(1)
            assert service.completed(request, step, 200) is ANSWER

        await asyncio.gather(*(call(f"s{number}") for number in range(first_calls)))
        assert len(services.all()) == first_calls
        for number in range(3):  # each new one makes room for itself, and for those beyond
            registry.set(f"new{number}", TWO)
            await services.open(f"new{number}")
        assert len(services.all()) <= max_services
        await services.aclose()
        assert registry.watching == 0

    run(main())


def test_waiting_for_the_list_of_a_dropped_service_ends_at_once():
    async def main():
        services = make(FakeRegistry(delay_s=1e6), max_services=1)
        opening = asyncio.ensure_future(services.open("orders"))
        await asyncio.sleep(1)
        other = asyncio.ensure_future(services.open("users"))
        with pytest.raises(ClosedError, match="'orders' was dropped"):
            await opening
        assert asyncio.get_running_loop().time() == 1.0
        with pytest.raises(DiscoveryTimeoutError):
            await other
        await services.aclose()

    run(main())


# -- lists and figures ---------------------------------------------------------------------------


def test_updates_reach_the_pool_and_removed_members_are_handed_over(registry):
    async def main():
        removed = []
        services = make(registry, on_removed=removed.extend)
        service = await services.open("orders")
        request, pick = begin(service)
        answered(service, request, pick, 200)
        stays = next(each for each in TWO if each.id != pick.instance.id)
        registry.set("orders", [stays, Instance(host="10.0.0.1", port=3)])
        await asyncio.sleep(0.1)
        assert [member.id for member in removed] == [pick.instance.id]
        assert removed[0].in_flight == 1
        assert service.ended(pick, "success")
        assert removed[0].in_flight == 0
        await services.aclose()
        assert len(removed) == 3

    run(main())


def test_a_pick_that_was_dropped_is_given_back_before_the_figures(registry):
    async def main():
        services = make(registry)
        service = await services.open("orders")
        request, pick = begin(service)
        answered(service, request, pick, 200)
        service.drop(pick)
        assert pick.member.in_flight == 1
        assert service.statistics().in_flight == 0
        await services.aclose()
        gc.collect()

    run(main())


def test_a_retry_needs_the_policy_another_instance_and_the_budget(registry):
    async def main():
        services = make(registry)
        service = await services.open("orders")

        def after(*failures):
            request, step = begin(service)
            for failure in failures:
                while isinstance(step, Wait):
                    step = request.resumed(step.until)
                step = service.failed(request, step, failure)
            return step

        assert isinstance(after("refused"), Pick)
        assert after("refused", "refused") == Fail("attempt")
        assert isinstance(after("no_response"), Wait)  # all that the budget has
        assert after("no_response") == Fail("attempt")
        assert after("connect_timeout") == Fail("attempt")
        await services.aclose()

    run(main())


def test_errors_of_picking_say_the_state_of_discovery():
    async def main():
        registry = FakePolledRegistry("one")
        registry.set("orders", [TWO[0].with_(status="critical")])
        registry.set("empty", [])
        services = make(registry, poll_interval_s=1.0)
        empty, orders = await services.open("empty"), await services.open("orders")
        error = error_of(empty)
        assert isinstance(error, NoInstancesError)
        assert "'empty'" in str(error)
        assert "fake://one is 0.0 s old" in str(error)
        await asyncio.sleep(5)
        registry.fail()
        await asyncio.sleep(5)
        error = error_of(orders)
        assert isinstance(error, NoEligibleInstanceError)
        assert "1 critical" in str(error)
        assert "does not answer" in str(error)
        assert error.reasons == {"critical": 1}
        assert orders.state().failures > 0
        await services.aclose()

    run(main())


def test_equal_seeds_pick_equally(registry):
    async def main():
        services = make(registry, strategy="random")
        service = await services.open("orders")
        picked = [begin(service)[1].instance.id for _ in range(50)]
        await services.aclose()
        return picked

    assert run(main()) == run(main())
