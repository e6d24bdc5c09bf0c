from __future__ import annotations

import asyncio
import threading

import pytest

from trimtab.errors import (
    ClosedError,
    ConfigurationError,
    NotRegisteredError,
    RegistryDeniedError,
    RegistryUnavailableError,
)
from trimtab.instance import Instance
from trimtab.registries import Registrar, Registry, WatchableRegistry
from trimtab.testing import FakePolledRegistry, FakeRegistry, ManualClock
from trimtab.testing.registry_harness import Contract, RegistryHarness, until

ONE = Instance(id="a", host="h", port=1)


def test_the_clock_moves_by_advance():
    clock = ManualClock(5)
    assert clock() == 5.0
    assert clock.advance(0.5) == clock() == 5.5
    with pytest.raises(ConfigurationError, match=r"cannot go back by 1 s"):
        clock.advance(-1)
    for wrong in (float("nan"), float("inf")):
        with pytest.raises(ConfigurationError, match="finite number of seconds"):
            clock.advance(wrong)
    assert clock() == 5.5


def test_the_fakes_follow_the_protocols():
    assert isinstance(FakeRegistry(), WatchableRegistry)
    assert isinstance(FakePolledRegistry(), Registry)
    assert not isinstance(FakePolledRegistry(), WatchableRegistry)
    assert isinstance(FakePolledRegistry(), Registrar)
    assert FakeRegistry("x").url == FakeRegistry("x").url == "fake://x"
    assert FakeRegistry("x").key != FakeRegistry("x").key


@pytest.mark.anyio
class TestFakeRegistry:
    async def test_calls_are_counted_and_closing_refuses(self):
        registry = FakeRegistry()
        registry.set("orders", [ONE], skipped=["x"])
        listing = await registry.fetch("orders")
        assert (listing.instances, listing.skipped) == ((ONE,), ("x",))
        assert await registry.services() == ["orders"]
        registry.fail(RegistryDeniedError("no"))
        with pytest.raises(RegistryDeniedError):
            await registry.fetch("orders")
        registry.heal()
        await registry.fetch("orders")
        await registry.aclose()
        assert registry.closed
        with pytest.raises(ClosedError):
            await registry.fetch("orders")
        assert registry.calls == {"fetch": 4, "services": 1, "aclose": 1}

    async def test_forgetting_is_a_reset_in_polls_and_watches(self):
        registry = FakeRegistry()
        await registry.register("orders", ONE, ttl_s=60)
        watch = registry.watch("orders")
        assert not (await anext(watch)).reset
        assert not (await registry.fetch("orders")).reset
        registry.forget()
        first = await anext(watch)
        assert (first.reset, first.instances) == (True, ())
        assert (await registry.fetch("orders")).reset
        assert not (await registry.fetch("orders")).reset
        with pytest.raises(NotRegisteredError, match="'a' is not registered"):
            await registry.heartbeat("orders", ONE)
        await watch.aclose()
        assert registry.watching == 0

    async def test_a_waiting_watch_raises_the_error_of_fail(self):
        registry = FakeRegistry()
        watch = registry.watch("orders")
        await anext(watch)
        waiting = asyncio.ensure_future(anext(watch))
        await asyncio.sleep(0)
        assert registry.watching == 1
        registry.fail()
        with pytest.raises(RegistryUnavailableError, match="the test says so"):
            await waiting

    async def test_a_heartbeat_postpones_the_end_of_the_lease(self):
        registry = FakeRegistry()
        await registry.register("orders", ONE, ttl_s=60)
        watch = registry.watch("orders")
        await anext(watch)
        waiting = asyncio.ensure_future(anext(watch))
        await asyncio.sleep(0)
        await registry.heartbeat("orders", ONE)
        await registry.deregister("orders", ONE)
        await registry.deregister("orders", ONE)
        assert (await waiting).instances == ()
        await watch.aclose()

    async def test_answers_take_delay_s(self):
        registry = FakePolledRegistry(delay_s=60)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(registry.fetch("orders"), 0.01)

    async def test_it_may_be_controlled_from_another_thread(self):
        registry = FakeRegistry()
        watch = registry.watch("orders")
        await anext(watch)
        waiting = asyncio.ensure_future(anext(watch))
        await asyncio.sleep(0)
        thread = threading.Thread(target=registry.set, args=("orders", [ONE]))
        thread.start()
        assert (await asyncio.wait_for(waiting, 10)).instances == (ONE,)
        thread.join()
        await watch.aclose()


@pytest.mark.anyio
async def test_until_names_the_last_listing_if_none_meets_the_condition():
    registry = FakePolledRegistry()
    registry.set("orders", [ONE])
    with pytest.raises(AssertionError, match=r"not within 0\.05 s; the last .*id='a'"):
        await until(registry, "orders", lambda listing: not listing.instances, 0.05)


def test_a_contract_needs_a_harness():
    with pytest.raises(NotImplementedError):
        Contract().harness()
    with pytest.raises(NotImplementedError):
        RegistryHarness().connect()
    with pytest.raises(NotImplementedError):
        asyncio.run(RegistryHarness().publish("orders", [ONE]))


def test_a_contract_finds_tasks_that_a_registry_leaves_behind():
    """The suite itself must fail for a registry that leaks; here, one that leaves a task."""

    class Leaking(FakePolledRegistry):
        async def fetch(self, service):
            self.left = asyncio.get_running_loop().create_task(asyncio.Event().wait())
            return await super().fetch(service)

    class Harness(RegistryHarness):
        deadline_s = 0.05

        def __init__(self):
            self.registry = Leaking()

        def connect(self, secret=None):
            return self.registry

        async def publish(self, service, instances):
            self.registry.set(service, instances)

    from trimtab.testing import RegistryContract  # noqa: PLC0415 - pytest would collect it here

    class Suite(RegistryContract):
        def harness(self):
            return Harness()

    with pytest.raises(AssertionError, match="left over after the registry was closed"):
        Suite().test_closing_again_does_nothing()
