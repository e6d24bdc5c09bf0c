"""Sharing: one supervisor per registry, service and settings on each loop."""

import asyncio
import threading

import pytest

from trimtab import DiscoverySettings, Instance
from trimtab.discovery import hub as hub_module
from trimtab.discovery.hub import Hub
from trimtab.discovery.supervisor import READS_AT_ONCE
from trimtab.registries.static import StaticRegistry
from trimtab.testing import FakePolledRegistry, FakeRegistry
from trimtab_sim.loop import run

SETTINGS = DiscoverySettings()


def hub():
    return Hub.of(asyncio.get_running_loop())


@pytest.fixture
def registry():
    registry = FakeRegistry()
    registry.set("orders", [Instance(host="a", port=1)])
    return registry


def test_any_number_of_leases_share_one_supervisor_until_the_last_ends(registry):
    async def main():
        leases = [hub().lease(registry, "orders", DiscoverySettings()) for _ in range(5)]
        snapshots = [await lease.first(1.0) for lease in leases]
        assert all(snapshot is snapshots[0] for snapshot in snapshots)
        assert registry.calls["watch"] == 1
        for lease in leases[:-1]:
            await lease.aclose()
            await lease.aclose()  # again: nothing
        await asyncio.sleep(1)
        assert registry.watching == 1
        await leases[-1].aclose()
        assert registry.watching == 0
        assert not registry.closed  # it is its maker's

    run(main())


def test_other_settings_and_services_have_supervisors_of_their_own(registry):
    async def main():
        leases = [
            hub().lease(registry, "orders", SETTINGS),
            hub().lease(registry, "orders", DiscoverySettings(grace_s=1.0)),
            hub().lease(registry, "invoices", SETTINGS),
            hub().lease(FakeRegistry(), "orders", SETTINGS),
        ]
        await asyncio.sleep(1)
        assert registry.watching == 3
        for lease in leases:
            await lease.aclose()
        assert registry.watching == 0

    run(main())


def test_a_dropped_service_starts_afresh(registry):
    async def main():
        for _ in range(3):
            lease = hub().lease(registry, "orders", SETTINGS)
            await lease.first(1.0)
            await lease.aclose()
        assert registry.calls["watch"] == 3

    run(main())


def test_a_lease_that_ends_takes_its_subscribers_along(registry):
    async def main():
        seen = []
        staying = hub().lease(registry, "orders", SETTINGS)
        going = hub().lease(registry, "orders", SETTINGS)
        going.subscribe(lambda snapshot: seen.append(len(snapshot.instances)))
        await going.first(1.0)
        await going.aclose()
        registry.set("orders", [])
        await asyncio.sleep(10)
        assert seen == [1]
        assert staying.snapshot.instances == ()
        assert staying.state().instances == 0
        await staying.aclose()

    run(main())


def test_a_registry_made_from_a_url_is_closed_with_its_last_holder(monkeypatch):
    made = []

    def connect(url):
        registry = FakeRegistry()
        registry.key = url
        made.append(registry)
        return registry

    monkeypatch.setattr(hub_module, "connect", connect)

    async def main():
        hold = hub().hold("fake://one")
        lease = hub().lease("fake://one", "orders", SETTINGS)
        await lease.aclose()
        assert not made[0].closed
        await hold.aclose()

    run(main())
    assert made[0].closed
    assert not any(registry.calls["watch"] for registry in made[1:])


@pytest.mark.parametrize("kind", [FakeRegistry, FakePolledRegistry])
def test_a_thousand_services_are_read_a_few_at_a_time(kind):
    class Busy(kind):
        now = most = 0

        async def _answer(self, call):
            self.now += 1
            self.most = max(self.most, self.now)
            try:
                await super()._answer(call)
            finally:
                self.now -= 1

    async def main():
        registry = Busy(delay_s=0.1)
        leases = [hub().lease(registry, f"s{number}", SETTINGS) for number in range(1000)]
        for lease in leases:
            await lease.first(10.0)
        took_s, following = asyncio.get_running_loop().time(), getattr(registry, "watching", 0)
        for lease in leases:
            await lease.aclose()
        return registry.most, took_s, following

    most, took_s, following = run(main())
    assert most == READS_AT_ONCE
    assert took_s == pytest.approx(1000 / READS_AT_ONCE * 0.1, rel=0.1)
    assert following == (1000 if kind is FakeRegistry else 0), "those who watch hold no place"


def test_equal_static_lists_share():
    async def main():
        ones, twos = (StaticRegistry([Instance(host="a", port=1)]) for _ in range(2))
        assert hub().hold(ones) is hub().hold(twos)
        assert hub().hold(StaticRegistry()) is not hub().hold(ones)

    run(main())


def test_letting_go_holds_even_when_it_is_cancelled(registry):
    async def main():
        lease = hub().lease(registry, "orders", SETTINGS)
        await lease.first(1.0)
        closing = asyncio.ensure_future(lease.aclose())
        await asyncio.sleep(0)
        closing.cancel()
        await asyncio.wait([closing])
        assert not hub()._registries

    run(main())


def test_lists_are_kept_on_disk_where_the_settings_say(registry, tmp_path):
    async def main():
        settings = DiscoverySettings(last_known_good=tmp_path)
        for source in ("registry", "disk"):
            lease = hub().lease(registry, "orders", settings)
            assert (await lease.first(1.0)).source == source
            await lease.aclose()
            registry.fail()
        assert len(list(tmp_path.iterdir())) == 1

    run(main())


def test_each_loop_has_one_hub_and_closed_loops_leave_none():
    async def main():
        assert hub() is hub()
        return hub()

    hubs = [run(main()) for _ in range(5)]
    assert len(set(map(id, hubs))) == 5
    assert sum(loop.is_closed() for loop in hub_module._hubs) <= 1


def test_threads_that_ask_at_once_get_one_hub():
    loop, found, together = asyncio.new_event_loop(), [], threading.Barrier(8)

    def ask():
        together.wait()
        found.append(Hub.of(loop))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    loop.close()
    assert len(set(map(id, found))) == 1
