"""Pools by service name in virtual time: opened, kept, let go."""

import asyncio
import gc
from random import Random

import pytest

from trimtab import (
    ClosedError,
    DiscoverySettings,
    DiscoveryTimeoutError,
    Instance,
    NoEligibleInstanceError,
    NoInstancesError,
    RetryPolicy,
)
from trimtab.discovery import Balancer, Home, Policies
from trimtab.testing import FakePolledRegistry, FakeRegistry
from trimtab_sim.loop import run

TWO = [Instance(host="10.0.0.1", port=port) for port in (1, 2)]


def make(registry, *, strategy="round_robin", on_removed=lambda members: None, **settings):
    return Balancer(
        Home.for_async(),
        registry,
        policies=Policies(
            strategy=strategy,
            retry=RetryPolicy(max_attempts=3, budget_ratio=0.0, budget_min_per_s=0.1),
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


def test_a_service_is_opened_once_and_then_found(registry):
    async def main():
        balancer = make(registry)
        assert balancer.find("orders") is None
        first, second = await asyncio.gather(balancer.open("orders"), balancer.open("orders"))
        assert first is second is balancer.find("orders") is await balancer.open("orders")
        assert first.is_ready
        assert (registry.calls["watch"], balancer.services()) == (1, [first])
        assert sorted(first.eligible()) == sorted(each.id for each in TWO)
        await balancer.aclose()
        await balancer.aclose()
        assert registry.watching == 0

    run(main())


def test_a_service_without_its_first_list_is_not_found_yet():
    async def main():
        balancer = make(FakeRegistry(delay_s=5.0))
        opening = asyncio.ensure_future(balancer.open("orders"))
        await asyncio.sleep(1)
        assert balancer.find("orders") is None
        assert not balancer.services()[0].is_ready
        assert (await opening).is_ready
        await balancer.aclose()

    run(main())


def test_balancers_of_one_loop_share_supervisors_and_not_pools(registry):
    async def main():
        balancers = [make(registry) for _ in range(4)]
        services = [await balancer.open("orders") for balancer in balancers]
        services[0].pick()
        assert [service.statistics().in_flight for service in services] == [1, 0, 0, 0]
        assert registry.calls["watch"] == 1
        for balancer in balancers:
            assert registry.watching == 1
            await balancer.aclose()
        assert registry.watching == 0

    run(main())


def test_after_closing_nothing_opens(registry):
    async def main():
        balancer = make(registry)
        await balancer.aclose()
        with pytest.raises(ClosedError, match="'orders'"):
            await balancer.open("orders")

    run(main())


def test_the_least_recently_used_service_goes(registry):
    async def main():
        removed = []
        balancer = make(registry, max_services=2, on_removed=removed.extend)
        for name in ("orders", "invoices", "orders", "users"):
            await balancer.open(name)
            await asyncio.sleep(1)
        assert registry.watching == 2
        assert balancer.find("invoices") is None
        assert balancer.find("orders") is not None
        assert len(removed) == 2  # their connections are to be closed
        await balancer.aclose()

    run(main())


def test_an_idle_service_goes_though_nobody_calls(registry):
    async def main():
        balancer = make(registry, idle_s=60.0)
        await balancer.open("orders")
        await balancer.open("invoices")
        for _ in range(20):
            await asyncio.sleep(30)
            assert balancer.find("orders") is not None
        assert registry.watching == 1
        await asyncio.sleep(200)
        assert registry.watching == 0
        assert balancer.services() == []
        assert (await balancer.open("orders")).is_ready
        await balancer.aclose()

    run(main())


def test_a_service_that_makes_room_while_it_opens_says_so_at_once():
    async def main():
        balancer = make(FakeRegistry(delay_s=1e6), max_services=1)
        opening = asyncio.ensure_future(balancer.open("orders"))
        await asyncio.sleep(1)
        other = asyncio.ensure_future(balancer.open("users"))
        with pytest.raises(ClosedError, match="'orders' was let go"):
            await opening
        assert asyncio.get_running_loop().time() == 1.0
        with pytest.raises(DiscoveryTimeoutError):
            await other
        await balancer.aclose()

    run(main())


def test_updates_reach_the_pool_and_removed_members_are_told(registry):
    async def main():
        removed = []
        balancer = make(registry, on_removed=removed.extend)
        service = await balancer.open("orders")
        pick = service.pick(exclude=[TWO[1].id])
        registry.set("orders", [TWO[1], Instance(host="10.0.0.1", port=3)])
        await asyncio.sleep(0.1)
        assert [member.id for member in removed] == [TWO[0].id]
        assert removed[0].in_flight == 1
        assert service.done(pick, "success")
        assert removed[0].in_flight == 0
        await balancer.aclose()
        assert len(removed) == 3

    run(main())


def test_a_pick_is_given_back_once_and_figures_follow(registry):
    async def main():
        balancer = make(registry)
        service = await balancer.open("orders")
        pick = service.pick(key="k")
        await asyncio.sleep(0.2)
        service.answered(pick, ok=True)
        await asyncio.sleep(0.2)
        assert service.done(pick, "success")
        assert not service.done(pick, "failure")
        figures = service.statistics()
        assert (figures.service, figures.in_flight, figures.picks) == ("orders", 0, 1)
        assert figures.members[pick.instance.id].latency_s == pytest.approx(0.2, rel=0.05)
        await balancer.aclose()

    run(main())


def test_a_pick_that_was_lost_is_given_back_before_the_figures_and_the_next_pick(registry):
    async def main():
        balancer = make(registry)
        service = await balancer.open("orders")
        for look in (service.statistics, service.pick):
            lost = service.pick()
            service.drop(lost)
            service.drop(lost)  # a finalizer may come twice
            assert lost.member.in_flight == 1
            look()
            assert lost.is_done
            assert lost.member.cancelled >= 1
        await balancer.aclose()
        gc.collect()

    run(main())


def test_retries_need_the_policy_another_instance_and_the_budget(registry):
    async def main():
        balancer = make(registry)
        service = await balancer.open("orders")
        one, both = [TWO[0].id], [each.id for each in TWO]
        policy = service.policies.retry

        def wait_s(cause, tried):
            return service.retry_wait_s(policy, cause, tried, backoff=service.backoff(policy))

        assert wait_s("refused", one) == 0.0
        assert wait_s("refused", both) is None
        assert 0 < wait_s("no_response", one) < policy.backoff_first_s  # all that the budget has
        assert wait_s("no_response", one) is None
        assert wait_s("connect_timeout", one) == 0.0  # costs no server anything
        await balancer.aclose()

    run(main())


def test_errors_of_picking_tell_how_discovery_stands():
    async def main():
        registry = FakePolledRegistry("one")
        registry.set("orders", [TWO[0].with_(status="critical")])
        registry.set("empty", [])
        balancer = make(registry, poll_interval_s=1.0)
        empty, orders = await balancer.open("empty"), await balancer.open("orders")
        with pytest.raises(NoInstancesError, match=r"'empty'.*fake://one is 0\.0 s old; check"):
            empty.pick()
        await asyncio.sleep(5)
        registry.fail()
        await asyncio.sleep(5)
        with pytest.raises(NoEligibleInstanceError, match=r"1 critical.*does not answer") as caught:
            orders.pick()
        assert caught.value.reasons == {"critical": 1}
        assert orders.state().failures > 0
        await balancer.aclose()

    run(main())


def test_equal_seeds_pick_equally(registry):
    async def main():
        balancer = make(registry, strategy="random")
        service = await balancer.open("orders")
        picked = [service.pick().instance.id for _ in range(50)]
        await balancer.aclose()
        return picked

    assert run(main()) == run(main())
