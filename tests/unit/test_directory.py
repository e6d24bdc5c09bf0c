"""The list itself, for asyncio (in virtual time) and for synchronous code."""

import asyncio
import logging
import threading
from contextlib import aclosing
from random import Random

import pytest

from trimtab import (
    ClosedError,
    ConfigurationError,
    Directory,
    DiscoverySettings,
    DiscoveryTimeoutError,
    Instance,
    Status,
)
from trimtab.testing import FakePolledRegistry, FakeRegistry
from trimtab_sim.loop import run

A, B, C = (Instance(host="10.0.0.1", port=port) for port in (1, 2, 3))


@pytest.fixture
def registry():
    registry = FakeRegistry()
    registry.set("orders", [A, B.with_(status=Status.CRITICAL)])
    registry.set("invoices", [C])
    return registry


def test_it_lists_every_instance_healthy_and_not(registry):
    async def main():
        async with Directory(registry) as directory:
            found = await directory.instances("orders")
            assert [each.status for each in found] == ["passing", "critical"]
            snapshot = await directory.snapshot("orders")
            assert (snapshot.service, snapshot.source) == ("orders", "registry")
            assert await directory.services() == ["invoices", "orders"]
            assert (await directory.state("orders")).instances == 2
            assert registry.calls["watch"] == 1
        assert registry.watching == 0

    run(main())


def test_directories_of_one_loop_share(registry):
    async def main():
        directories = [Directory(registry) for _ in range(3)]
        for directory in directories:
            await directory.instances("orders")
        assert registry.calls["watch"] == 1
        for directory in directories:
            assert registry.watching == 1
            await directory.aclose()
            await directory.aclose()
        assert registry.watching == 0

    run(main())


def test_a_closed_directory_says_so(registry):
    async def main():
        directory = Directory(registry)
        await directory.aclose()
        with pytest.raises(ClosedError):
            await directory.instances("orders")
        with pytest.raises(ClosedError):
            directory.on_change("orders", print)

    run(main())


def test_the_first_list_is_waited_for_only_so_long():
    async def main():
        settings = DiscoverySettings(startup_timeout_s=2.0)
        async with Directory(FakeRegistry(delay_s=1e6), settings=settings) as directory:
            with pytest.raises(DiscoveryTimeoutError):
                await directory.instances("orders")

    run(main())


def test_idle_and_surplus_services_go(registry):
    async def main():
        settings = DiscoverySettings(max_services=2, idle_s=60.0)
        async with Directory(registry, settings=settings) as directory:
            for name in ("orders", "invoices", "users"):
                await directory.instances(name)
            await asyncio.sleep(0)
            assert registry.watching == 2
            await asyncio.sleep(100)
            await directory.instances("orders")
            await asyncio.sleep(0)
            assert registry.watching == 1

    run(main())


def test_watch_yields_the_list_and_then_differences():
    async def main():
        registry, sizes = FakePolledRegistry(), []
        registry.set("orders", [A])
        settings = DiscoverySettings(poll_interval_s=1.0)
        async with Directory(registry, settings=settings) as directory:
            async with aclosing(directory.watch("orders")) as snapshots:
                async for snapshot in snapshots:
                    sizes.append(len(snapshot.instances))
                    if len(sizes) == 3:
                        break
                    await asyncio.sleep(5)  # polls in between find nothing new
                    registry.set("orders", [A, B, C][: len(sizes) + 1])
            return sizes

    assert run(main()) == [1, 2, 3]


def test_a_slow_watcher_gets_the_latest_and_nothing_twice(registry):
    async def main():
        registry.set("orders", [A])
        async with (
            Directory(registry) as directory,
            aclosing(directory.watch("orders")) as snapshots,
        ):
            assert (await anext(snapshots)).instances == (A,)
            for list_ in ([A, B], [A, B, C], [A, C]):
                registry.set("orders", list_)
                await asyncio.sleep(1)
            assert (await anext(snapshots)).instances == (A, C)
            for list_ in ([A, B], [A, C]):  # away and back unseen
                registry.set("orders", list_)
                await asyncio.sleep(1)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(anext(snapshots), 60)

    run(main())


def test_a_watcher_is_a_user_until_it_stops(registry):
    async def main():
        settings = DiscoverySettings(idle_s=60.0)
        async with Directory(registry, settings=settings) as directory:
            snapshots = directory.watch("orders")
            await anext(snapshots)
            await asyncio.sleep(1000)
            await directory.instances("invoices")
            assert registry.watching == 2
            await snapshots.aclose()
            assert registry.watching == 1

    run(main())


def test_callbacks_are_called_now_and_on_every_change_however_idle_the_service(registry):
    async def main():
        seen = []
        settings = DiscoverySettings(idle_s=60.0)
        async with Directory(registry, settings=settings) as directory:
            directory.on_change("orders", lambda snapshot: seen.append(len(snapshot.instances)))
            await asyncio.sleep(1000)
            await directory.instances("invoices")  # makes the cache look for idle services
            await asyncio.sleep(1)
            registry.set("orders", [A, B, C])
            await asyncio.sleep(1)
        registry.set("orders", [A])
        await asyncio.sleep(10)
        assert registry.watching == 0
        return seen

    assert run(main()) == [2, 3]


def test_a_callback_that_raises_is_logged_and_called_again(registry, caplog):
    async def main():
        calls = []

        def bad(snapshot):
            calls.append(snapshot)
            raise ValueError("a bug")

        async with Directory(registry) as directory:
            directory.on_change("orders", bad)
            await asyncio.sleep(1)
            registry.set("orders", [A])
            await asyncio.sleep(1)
        return calls

    with caplog.at_level(logging.ERROR):
        assert len(run(main())) == 2
    assert caplog.text.count("ValueError: a bug") == 2


def test_each_event_loop_has_lists_of_its_own_and_the_directory_outlives_it(registry):
    directory = Directory(registry)
    for _ in range(2):
        assert len(run(directory.instances("orders"))) == 2
    with directory as names:
        assert len(names.instances("orders")) == 2
        run(directory.aclose())  # closes what that loop used
        assert len(names.instances("orders")) == 2


@pytest.mark.parametrize(
    "url", ["consul://10.0.0.1:8500?token=hidden", "etcd://user:hidden@10.0.0.1:2379/services"]
)
def test_it_is_shown_without_secrets(url):
    directory = Directory(url)
    for text in (repr(directory), repr(directory.sync())):
        assert url.partition(":")[0] in text
        assert "10.0.0.1" in text
        assert "hidden" not in text


@pytest.mark.parametrize("registry", ["10.0.0.1:8500", "consul://h?nonsense=1", None, FakeRegistry])
def test_a_wrong_registry_is_refused_when_the_directory_is_made(registry):
    with pytest.raises(ConfigurationError):
        Directory(registry)


def test_wrong_settings_are_refused_with_a_remedy():
    with pytest.raises(ConfigurationError, match=r"settings=DiscoverySettings\("):
        Directory("static://h:1", settings={"mode": "poll"})


def test_without_an_event_loop_it_names_the_synchronous_way(registry):
    with pytest.raises(RuntimeError, match=r"sync\(\)"):
        Directory(registry).on_change("orders", print)


@pytest.mark.parametrize("is_seeded", [True, False])
def test_a_forked_child_has_no_lists_and_a_chance_of_its_own_unless_seeded(registry, is_seeded):
    rng = Random(1) if is_seeded else None
    directory = Directory(registry, rng=rng)
    with directory as names:
        names.instances("orders")
        lists, lock, chance = dict(directory._lists), directory._lock, directory._rng.getstate()
        assert lists
        directory.forget()
        assert not directory._lists
        assert directory._lock is not lock
        assert (directory._rng.getstate() == chance) is is_seeded
        directory._lists = lists


# Synchronous


def test_without_a_block_sync_gives_the_same(registry):
    directory = Directory(registry)
    names, others = directory.sync(), directory.sync()
    assert len(names.instances("orders")) == len(others.instances("orders")) == 2
    assert registry.calls["watch"] == 1
    with others:
        pass
    assert registry.watching == 0
    with pytest.raises(ClosedError):
        names.instances("orders")
    with pytest.raises(ClosedError), directory:
        pass


def test_the_synchronous_directory_is_the_same(registry):
    with Directory(registry) as directory:
        assert len(directory.instances("orders")) == 2
        assert directory.snapshot("orders").service == "orders"
        assert directory.services() == ["invoices", "orders"]
        assert directory.state("orders").failures == 0
        assert registry.calls["watch"] == 1
    assert registry.watching == 0
    directory.close()
    with pytest.raises(ClosedError):
        directory.instances("orders")


def test_synchronous_watching_and_callbacks(registry):
    seen, changed = [], threading.Event()

    def note(snapshot):
        seen.append(len(snapshot.instances))
        if len(seen) == 2:
            changed.set()

    with Directory(registry) as directory:
        directory.on_change("orders", note)
        snapshots = directory.watch("orders")
        assert len(next(snapshots).instances) == 2
        registry.set("orders", [A, B, C])
        assert len(next(snapshots).instances) == 3
        assert changed.wait(10)
        snapshots.close()
    assert seen == [2, 3]
    assert registry.watching == 0


def test_a_synchronous_callback_may_not_wait_for_itself(registry, caplog, wait_until):
    with Directory(registry) as directory:
        directory.on_change("orders", lambda _: directory.instances("orders"))
        wait_until(lambda: "own background thread" in caplog.text)
        assert "use the async interface" in caplog.text


class Deaf(FakePolledRegistry):
    """An adapter over a library that drops a cancellation which comes with the answer."""

    async def fetch(self, service):
        self.calls["begun"] += 1
        try:
            await asyncio.sleep(0.5)
        except asyncio.CancelledError:
            self.calls["dropped"] += 1
        return await super().fetch(service)


def test_closing_ends_a_reading_whose_adapter_drops_the_cancellation():
    async def main():
        registry = Deaf()
        registry.set("orders", [A])
        settings = DiscoverySettings(poll_interval_s=1.0)
        async with asyncio.timeout(60), Directory(registry, settings=settings) as directory:
            await directory.instances("orders")
            while registry.calls["begun"] < 2:  # noqa: ASYNC110 - virtual time
                await asyncio.sleep(0.1)
        assert registry.calls["dropped"] == 1
        await asyncio.sleep(60)
        assert registry.calls["begun"] == 2

    run(main())
