"""Reading in virtual time: modes, lost cursors, answers that were overtaken, and the safety net."""

import asyncio
import logging
from contextlib import asynccontextmanager
from random import Random

import pytest

from trimtab import (
    ConfigurationError,
    DiscoverySettings,
    Instance,
    RegistryCursorLostError,
    RegistryUnavailableError,
)
from trimtab.discovery.hub import Hub
from trimtab.discovery.supervisor import Supervisor
from trimtab.registries.protocol import Listing
from trimtab.testing import FakePolledRegistry, FakeRegistry
from trimtab_sim.loop import run

SIX = tuple(Instance(host="10.0.0.1", port=port) for port in range(1, 7))


def now():
    return asyncio.get_running_loop().time()


@asynccontextmanager
async def supervising(registry, *, seed=1, **settings):
    supervisor = Supervisor(registry, "orders", DiscoverySettings(**settings), rng=Random(seed))
    task = asyncio.get_running_loop().create_task(supervisor.run())
    try:
        yield supervisor
    finally:
        task.cancel()
        await asyncio.wait([task])
        assert asyncio.all_tasks() == {asyncio.current_task()}, "nothing is left running"


def sizes_of(supervisor):
    sizes = []
    supervisor.subscribe(lambda snapshot: sizes.append(len(snapshot.instances)))
    return sizes


# Modes


def test_a_registry_that_pushes_is_polled_where_the_user_says_so():
    async def main():
        registry = FakeRegistry()
        registry.set("orders", SIX)
        async with supervising(registry, mode="poll", poll_interval_s=2.0) as supervisor:
            await asyncio.sleep(100)
            registry.set("orders", SIX[:5])
            await asyncio.sleep(2.3)
            return registry.calls["fetch"], registry.calls["watch"], supervisor.snapshot.instances

    fetches, watches, instances = run(main())
    assert 45 <= fetches <= 60
    assert watches == 0
    assert instances == SIX[:5]


@pytest.mark.parametrize("mode", ["auto", "push"])
def test_a_registry_that_pushes_is_followed_otherwise(mode):
    async def main():
        registry = FakeRegistry()
        registry.set("orders", SIX)
        async with supervising(registry, mode=mode, resync_interval_s=0.0):
            await asyncio.sleep(1000)
            return registry.calls

    assert run(main()) == {"watch": 1}


def test_pushing_is_refused_of_a_registry_that_cannot():
    async def main():
        hub, settings = Hub.of(asyncio.get_running_loop()), DiscoverySettings(mode="push")
        registry = FakePolledRegistry("one")
        with pytest.raises(ConfigurationError, match=r"^fake://one cannot push.*mode='poll'"):
            hub.lease(registry, "orders", settings)
        assert not hub._registries
        await hub.lease(FakeRegistry(), "orders", settings).aclose()

    run(main())


# Lost cursors and resets


class Losing(FakeRegistry):
    """A watch that loses its place `after_s` seconds after each list, `times` times."""

    def __init__(self, after_s, times=10**9, *, lists_first=True):
        super().__init__()
        self.after_s, self.times, self.lists_first = after_s, times, lists_first
        self.begun = []

    async def watch(self, service):
        self.begun.append(now())
        if len(self.begun) > self.times:
            async for listing in super().watch(service):
                yield listing
        if self.lists_first:
            yield self._listing(service)
            await asyncio.sleep(self.after_s)
        raise RegistryCursorLostError(f"{self.url}: compacted")


def test_a_lost_cursor_is_no_failure_and_the_list_is_read_again_at_once(caplog):
    async def main():
        registry = Losing(100.0, times=3)
        registry.set("orders", SIX)
        async with supervising(registry, resync_interval_s=0.0) as supervisor:
            sizes = sizes_of(supervisor)
            await asyncio.sleep(1000)
            return registry.begun, sizes, supervisor.state(now())

    with caplog.at_level(logging.INFO):
        begun, sizes, state = run(main())
    assert begun == [0.0, 100.0, 200.0, 300.0]
    assert sizes == [6]
    assert (state.failures, state.last_error, state.age_s) == (0, "", 700.0)
    assert [record.levelname for record in caplog.records] == ["INFO"] * 3
    assert "the watch starts again: fake://test: compacted" in caplog.text


def test_a_cursor_lost_again_and_again_backs_off():
    async def main():
        registry = Losing(0.0)
        registry.set("orders", SIX)
        async with supervising(registry, backoff_max_s=5.0, resync_interval_s=0.0) as supervisor:
            await asyncio.sleep(100)
            return registry.begun, supervisor.state(now()).failures

    begun, failures = run(main())
    assert begun[:2] == [0.0, 0.0]
    assert begun[2] > 0.0
    assert 20 <= len(begun) <= 90
    assert failures == 0


def test_a_cursor_lost_before_any_list_is_a_failure():
    async def main():
        registry = Losing(0.0, lists_first=False)
        async with supervising(registry, resync_interval_s=0.0) as supervisor:
            await asyncio.sleep(10)
            return supervisor.state(now())

    state = run(main())
    assert state.failures > 2
    assert "compacted" in state.last_error


@pytest.mark.parametrize("kind", [FakeRegistry, FakePolledRegistry])
def test_after_a_reset_a_small_loss_is_held_too(kind):
    async def main():
        registry = kind()
        registry.set("orders", SIX)
        settings = {"grace_s": 5.0, "poll_interval_s": 0.5}
        async with supervising(registry, **settings) as supervisor:
            sizes = sizes_of(supervisor)
            await supervisor.first(1.0)
            registry._generation += 1  # as `forget` has it
            registry.set("orders", SIX[:5])
            await asyncio.sleep(5.0)
            held, during = supervisor.state(now()).held, list(sizes)
            await asyncio.sleep(2.0)
            return held, during, sizes, supervisor.state(now()).held

    assert run(main()) == (5, [6], [6, 5], None)


def test_a_lost_cursor_makes_doubtful():
    async def main():
        registry = Losing(10.0, times=1)
        registry.set("orders", SIX)
        async with supervising(registry, grace_s=5.0) as supervisor:
            sizes = sizes_of(supervisor)
            await asyncio.sleep(9.0)
            registry.set("orders", SIX[:5])  # Seen when the watch begins again.
            await asyncio.sleep(5.9)
            during = list(sizes)
            await asyncio.sleep(0.2)
            return during, sizes

    assert run(main()) == ([6], [6, 5])


def test_kept_instances_do_not_delay_new_ones():
    async def main():
        registry, seen = FakeRegistry(), []
        registry.set("orders", SIX)
        new = Instance(host="10.0.0.2", port=1)
        async with supervising(registry, grace_s=5.0) as supervisor:
            supervisor.subscribe(lambda snapshot: seen.append((now(), snapshot.instances)))
            await supervisor.first(1.0)
            age_before_s = supervisor.state(10.0).age_s
            await asyncio.sleep(10)
            registry.set("orders", (SIX[0].with_(weight=3.0), new))
            await asyncio.sleep(10)
            return seen, new, age_before_s

    seen, new, _ = run(main())
    heavy = SIX[0].with_(weight=3.0)
    assert seen == [(0.0, SIX), (10.0, (heavy, *SIX[1:], new)), (15.0, (heavy, new))]


def status_set(registry, count):
    registry.set("orders", [each.with_(status="critical") for each in SIX[:count]] + [*SIX[count:]])


def usable(snapshot):
    return sum(each.status == "passing" for each in snapshot.instances)


def test_a_registry_that_was_frozen_says_so_of_one_after_another_and_is_not_believed():
    """What a Consul cluster says within 60 ms after it was frozen for longer than the TTL."""

    async def main():
        registry, seen = FakeRegistry(), []
        registry.set("orders", SIX)
        async with supervising(registry) as supervisor:
            supervisor.subscribe(lambda each: seen.append((now(), usable(each))))
            await asyncio.sleep(30)
            for count in (1, 2, 3, 4, 5, 6, 5, 3, 1, 0):
                status_set(registry, count)
                await asyncio.sleep(0.006)
            await asyncio.sleep(30)
            return seen, supervisor.state(now()).held

    assert run(main()) == ([(0.0, 6)], None)


def test_critical_instances_count_after_half_a_second_and_new_ones_at_once():
    async def main():
        registry, seen = FakeRegistry(), []
        registry.set("orders", SIX)
        new = Instance(host="10.0.0.2", port=1)
        async with supervising(registry) as supervisor:
            supervisor.subscribe(lambda each: seen.append((now(), usable(each))))
            await asyncio.sleep(10)
            sick = SIX[0].with_(status="critical")
            registry.set("orders", (sick, *SIX[1:]))
            await asyncio.sleep(0.25)
            registry.set("orders", (sick, *SIX[1:], new))
            await asyncio.sleep(10)
            return seen, supervisor.state(now())

    seen, state = run(main())
    assert seen == [(0.0, 6), (10.25, 7), (10.5, 6)]
    assert state.age_s == 10.0
    assert state.held is None


def test_an_instance_that_turned_critical_right_before_trouble_is_doubted():
    async def main():
        registry, seen = FakeRegistry(), []
        registry.set("orders", SIX)
        async with supervising(registry) as supervisor:
            supervisor.subscribe(lambda each: seen.append(usable(each)))
            await asyncio.sleep(10)
            status_set(registry, 1)
            await asyncio.sleep(0.25)
            registry.fail()
            await asyncio.sleep(10)
            during = list(seen)
            registry.set("orders", SIX)
            registry.heal()
            await asyncio.sleep(20)
            return during, seen

    assert run(main()) == ([6], [6])


# Answers that were overtaken


class Slow(FakeRegistry):
    """A full read that takes its time, and answers what was so when it was asked."""

    fetch_s = 2.0

    async def fetch(self, service):
        listing = await super().fetch(service)
        await asyncio.sleep(self.fetch_s)
        return listing


def test_a_full_read_overtaken_by_the_watch_does_not_roll_the_list_back():
    async def main():
        registry = Slow()
        registry.set("orders", SIX[:4])
        async with supervising(registry, resync_interval_s=10.0, jitter_ratio=0.0) as supervisor:
            sizes = sizes_of(supervisor)
            await until(lambda: registry.calls["fetch"] == 1)
            await asyncio.sleep(1.0)
            registry.set("orders", SIX)
            await asyncio.sleep(1000)
            return sizes, registry.calls["watch"]

    assert run(main()) == ([4, 6], 1)


def test_a_poll_overtaken_by_a_later_one_is_dropped():
    """The reading that confirms a loss runs beside the polls, and either may be the slower."""

    async def main():
        registry = Slow()
        registry.set("orders", SIX)
        settings = {"mode": "poll", "poll_interval_s": 4.0, "grace_s": 1.0, "jitter_ratio": 0.0}
        async with supervising(registry, **settings) as supervisor:
            sizes = sizes_of(supervisor)
            registry.set("orders", ())
            await supervisor.first(10.0)
            for _ in range(100):
                registry.fetch_s = 3.5 if registry.calls["fetch"] % 2 else 0.5
                registry.set("orders", SIX[: registry.calls["fetch"] % 3])
                await asyncio.sleep(0.7)
            registry.set("orders", SIX)
            await asyncio.sleep(20)
            return sizes

    assert run(main())[-1] == 6


async def until(condition, *, step_s=0.05):
    while not condition():  # noqa: ASYNC110 - it looks inside what knows of no events
        await asyncio.sleep(step_s)


# The safety net


class Mute(FakeRegistry):
    """A watch that gives one list, and then nothing."""

    async def watch(self, service):
        self.calls["mute watch"] += 1
        yield self._listing(service)
        await asyncio.sleep(1e9)


def test_a_watch_that_has_fallen_silent_is_begun_anew(caplog):
    async def main():
        registry = Mute()
        registry.set("orders", SIX)
        settings = {"resync_interval_s": 60.0, "fetch_timeout_s": 10.0}
        async with supervising(registry, **settings) as supervisor:
            sizes = sizes_of(supervisor)
            await asyncio.sleep(100)
            registry.set("orders", SIX[:4])
            changed_at = now()
            await until(lambda: supervisor.snapshot.instances == SIX[:4])
            return now() - changed_at, sizes, registry.calls["mute watch"], supervisor.state(now())

    late_s, sizes, watches, state = run(main())
    # One interval with its jitter, the patience with the watch, and the grace after trouble.
    assert 10.0 < late_s <= 66.0 + 10.0 + 5.1
    assert sizes == [6, 4]
    assert watches == 2
    assert state.failures == 0
    (record,) = (record for record in caplog.records if "missed a change" in record.getMessage())
    assert record.levelno == logging.WARNING


def test_a_watch_that_says_it_a_little_later_is_left_alone(caplog):
    class Lagging(FakeRegistry):
        async def watch(self, service):
            async for listing in super().watch(service):
                if self.calls["fetch"]:
                    await asyncio.sleep(5.0)
                yield listing

    async def main():
        registry = Lagging()
        registry.set("orders", SIX)
        async with supervising(registry, resync_interval_s=10.0) as supervisor:
            sizes = sizes_of(supervisor)
            for count in (4, 5, 6, 3) * 25:
                await asyncio.sleep(20)
                registry.set("orders", SIX[:count])
            await asyncio.sleep(20)
            return sizes, registry.calls["watch"]

    sizes, watches = run(main())
    assert sizes == [6, *((4, 5, 6, 3) * 25)]
    assert watches == 1
    assert not caplog.records


def test_a_full_read_says_that_the_list_is_still_fresh():
    async def main():
        registry = FakeRegistry()
        registry.set("orders", SIX)
        async with supervising(registry, resync_interval_s=60.0) as supervisor:
            sizes = sizes_of(supervisor)
            ages = []
            for _ in range(1000):
                await asyncio.sleep(7.0)
                ages.append(supervisor.state(now()).age_s)
            return max(ages), registry.calls, sizes

    oldest_s, calls, sizes = run(main())
    assert 55.0 < oldest_s <= 90.0
    assert 7000 / 66 <= calls["fetch"] <= 7000 / 54
    assert calls["watch"] == 1
    assert sizes == [6]


def test_another_order_is_no_difference():
    class Sorting(FakeRegistry):
        async def fetch(self, service):
            listing = await super().fetch(service)
            return Listing(instances=listing.instances[::-1], version=listing.version)

    async def main():
        registry = Sorting()
        registry.set("orders", SIX)
        async with supervising(registry):
            await asyncio.sleep(1000)
            return registry.calls["watch"]

    assert run(main()) == 1


def test_full_reads_stand_in_for_a_watch_that_is_refused():
    class Blocked(FakeRegistry):
        async def watch(self, service):
            self.calls["watch"] += 1
            raise RegistryUnavailableError(f"{self.url}: a proxy lets no stream through")
            yield

    async def main():
        registry = Blocked()
        registry.set("orders", SIX)
        async with supervising(registry, resync_interval_s=10.0, grace_s=0.0) as supervisor:
            sizes = sizes_of(supervisor)
            await asyncio.sleep(20)
            registry.set("orders", SIX[:3])
            await asyncio.sleep(20)
            return sizes, supervisor.state(now())

    sizes, state = run(main())
    assert sizes == [6, 3]
    assert "lets no stream through" in state.last_error


def test_a_full_read_that_fails_beside_a_silent_watch_shows_and_heals():
    async def main():
        registry = Mute()
        registry.set("orders", SIX)
        async with supervising(registry, resync_interval_s=60.0) as supervisor:
            sizes = sizes_of(supervisor)
            await supervisor.first(1.0)
            registry.fail()
            await asyncio.sleep(100)
            during = supervisor.state(now())
            registry.heal()
            await asyncio.sleep(6)
            return during, supervisor.state(now()), sizes

    during, after, sizes = run(main())
    assert during.failures > 2
    assert (after.failures, sizes) == (0, [6])


def test_full_reads_of_a_fleet_are_spread_over_the_interval():
    async def main(seed):
        registry = FakeRegistry()
        registry.set("orders", SIX)
        async with supervising(registry, seed=seed, resync_interval_s=60.0):
            await until(lambda: registry.calls["fetch"], step_s=0.5)
            return now()

    first = [run(main(seed)) for seed in range(100)]
    assert 30.0 <= min(first) < 34.0
    assert 86.0 < max(first) <= 90.5
    assert all(
        5 <= sum(start <= at < start + 12 for at in first) <= 40 for start in range(30, 90, 12)
    )
