"""The supervisor in virtual time: polls, watches, doubt, cold starts and subscribers."""

import asyncio
import logging
import threading
import time
from contextlib import asynccontextmanager
from itertools import pairwise
from random import Random

import pytest

from trimtab import (
    ClosedError,
    ConfigurationError,
    DiscoveryError,
    DiscoverySettings,
    DiscoveryTimeoutError,
    Instance,
    RegistryDeniedError,
    RegistryRequestError,
)
from trimtab.discovery.last_known_good import LastKnownGood
from trimtab.discovery.supervisor import Supervisor
from trimtab.registries.protocol import Listing
from trimtab.testing import FakePolledRegistry, FakeRegistry
from trimtab_sim.loop import run

SIX = tuple(Instance(host="10.0.0.1", port=port) for port in range(1, 7))
BOTH = pytest.mark.parametrize("kind", [FakeRegistry, FakePolledRegistry])


def now():
    return asyncio.get_running_loop().time()


@asynccontextmanager
async def supervising(registry, *, seed=1, store=None, service="orders", **settings):
    supervisor = Supervisor(
        registry, service, DiscoverySettings(**settings), rng=Random(seed), store=store
    )
    task = asyncio.get_running_loop().create_task(supervisor.run())
    try:
        yield supervisor
    finally:
        task.cancel()
        await asyncio.wait([task])


class Noting(FakePolledRegistry):
    """Notes when it is asked."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.asked = []

    async def fetch(self, service):
        self.asked.append(now())
        return await super().fetch(service)


def gaps(times):
    return [later - before for before, later in pairwise(times)]


def store_in(folder, **kwargs):
    return LastKnownGood(
        folder, registry_key="k", registry_url="u", service="orders", max_age_s=3600.0, **kwargs
    )


# Polling


def test_polls_are_jittered_within_their_bounds():
    async def main():
        registry = Noting()
        registry.set("orders", SIX)
        async with supervising(registry, poll_interval_s=10.0, jitter_ratio=0.1):
            await asyncio.sleep(3000)
        return registry.asked

    asked = run(main())
    assert asked[0] == 0
    waits = gaps(asked)[1:]
    assert all(9.0 <= wait <= 11.0 for wait in waits)
    assert min(waits) < 9.3
    assert max(waits) > 10.7


def test_clients_that_start_together_spread_over_the_interval():
    async def main(seed):
        registry = Noting()
        registry.set("orders", SIX)
        async with supervising(registry, seed=seed, poll_interval_s=10.0):
            await asyncio.sleep(10.5)
        return registry.asked[1]

    second = sorted(run(main(seed)) for seed in range(200))
    assert 0 <= second[0] < 0.5
    assert 9.5 < second[-1] <= 10
    assert all(
        15 <= sum(start <= at < start + 2 for at in second) <= 75 for start in range(0, 10, 2)
    )


def test_errors_back_off_with_full_jitter_and_reset_when_healed():
    async def main():
        registry = Noting()
        registry.set("orders", SIX)
        settings = {"poll_interval_s": 1.0, "backoff_first_s": 0.1, "backoff_max_s": 5.0}
        async with supervising(registry, **settings) as supervisor:
            await supervisor.first(1.0)
            registry.fail()
            registry.asked.clear()
            await asyncio.sleep(200)
            state, during = supervisor.state(now()), list(registry.asked)
            registry.heal()
            await asyncio.sleep(10)
            return state, during, supervisor.state(now())

    state, during, after = run(main())
    waits = gaps(during)
    bounds = [min(0.1 * 2**number, 5.0) for number in range(len(waits))]
    assert all(wait <= bound + 1e-9 for wait, bound in zip(waits, bounds, strict=True))
    assert 200 / 5 < len(waits) < 200
    assert state.failures == len(during)
    assert state.instances == 6
    assert 198 < state.age_s < 202
    assert "fake://test is down" in state.last_error
    assert (after.failures, after.last_error) == (0, "")
    assert after.age_s < 1.2


@BOTH
@pytest.mark.parametrize("error", [RegistryDeniedError("no"), RegistryRequestError("what?")])
def test_lasting_errors_wait_longer(kind, error):
    async def main():
        registry = kind()
        registry.fail(error)
        async with supervising(registry):
            await asyncio.sleep(100)
        return registry.calls["fetch"] + registry.calls["watch"]

    assert 10 <= run(main()) <= 20


def test_a_fetch_that_hangs_is_given_up():
    async def main():
        registry = FakePolledRegistry(delay_s=1e6)
        async with supervising(registry, fetch_timeout_s=3.0) as supervisor:
            await asyncio.sleep(3.01)
            return supervisor.state(now())

    state = run(main())
    assert state.failures == 1
    assert "no answer within 3 s" in state.last_error


# The last good list


@BOTH
def test_a_dead_registry_leaves_the_last_good_list_with_its_age(kind):
    async def main():
        registry = kind()
        registry.set("orders", SIX)
        async with supervising(registry) as supervisor:
            before = await supervisor.first(1.0)
            registry.fail()
            await asyncio.sleep(3600)
            assert supervisor.snapshot.instances == before.instances
            assert supervisor.state(now()).age_s > 3590
            registry.set("orders", SIX[:4])
            registry.heal()
            await asyncio.sleep(11)
            return supervisor.snapshot

    assert run(main()).instances == SIX[:4]


@BOTH
def test_a_bug_in_an_adapter_is_logged_and_survived(kind, caplog):
    async def main():
        registry = kind()
        registry.set("orders", SIX)
        registry.fail(TypeError("a bug"))
        async with supervising(registry) as supervisor:
            await asyncio.sleep(5)
            state = supervisor.state(now())
            registry.heal()
            await asyncio.sleep(10)
            return state, supervisor.snapshot

    state, snapshot = run(main())
    assert state.last_error == "TypeError: a bug"
    assert snapshot.instances == SIX
    assert "Traceback" in caplog.text


class Breaking(FakeRegistry):
    """Gives one list per watch, then breaks."""

    async def watch(self, service):
        await self._answer("watch")
        yield Listing(instances=SIX)


def test_a_watch_that_breaks_after_each_list_is_not_begun_in_haste():
    async def main():
        registry = Breaking()
        settings = {"backoff_max_s": 5.0, "resync_interval_s": 0.0}
        async with supervising(registry, **settings) as supervisor:
            await asyncio.sleep(100)
            return registry.calls["watch"], supervisor.state(now())

    watches, state = run(main())
    assert 20 <= watches <= 90
    assert state.last_error == "fake://test ended the watch"


def test_a_watch_that_held_for_long_is_begun_again_soon():
    async def main():
        registry = FakeRegistry()
        registry.set("orders", SIX)
        async with supervising(registry):
            for _ in range(20):
                await asyncio.sleep(60)
                registry.fail()
                await asyncio.sleep(0.001)
                registry.heal()
                await asyncio.sleep(0.31)  # 0.1 s at most, or 0.2 s more if it came too early
                assert registry.watching == 1

    run(main())


# Doubt


@BOTH
def test_an_empty_list_is_held_and_then_believed(kind):
    async def main():
        registry = kind()
        registry.set("orders", SIX)
        settings = {"grace_s": 5.0, "poll_interval_s": 1.0}
        async with supervising(registry, **settings) as supervisor:
            await supervisor.first(1.0)
            registry.set("orders", ())
            await asyncio.sleep(4)
            held, kept = supervisor.state(now()).held, len(supervisor.snapshot.instances)
            await asyncio.sleep(3)
            return held, kept, supervisor.snapshot.instances, supervisor.state(now()).held

    assert run(main()) == (0, 6, (), None)


@BOTH
def test_a_doubted_list_that_comes_back_was_never_seen(kind):
    async def main():
        registry, seen = kind(), []
        registry.set("orders", SIX)
        settings = {"grace_s": 5.0, "poll_interval_s": 1.0}
        async with supervising(registry, **settings) as supervisor:
            supervisor.subscribe(lambda snapshot: seen.append(len(snapshot.instances)))
            await supervisor.first(1.0)
            registry.set("orders", SIX[:2])
            await asyncio.sleep(3)
            assert supervisor.state(now()).held == 2
            registry.set("orders", SIX[:5])
            await asyncio.sleep(60)
            assert supervisor.state(now()).held is None
        return seen

    assert run(main()) == [6, 5]


def test_a_pushed_loss_is_read_again_before_it_is_believed():
    async def main():
        registry = FakeRegistry()
        registry.set("orders", SIX)
        async with supervising(registry, grace_s=5.0) as supervisor:
            await supervisor.first(1.0)
            registry.set("orders", ())
            await asyncio.sleep(4.9)
            before = registry.calls["fetch"]
            await asyncio.sleep(1)
            return before, registry.calls["fetch"], supervisor.snapshot.instances

    assert run(main()) == (0, 1, ())


def test_a_doubted_list_is_kept_while_the_registry_cannot_confirm_it():
    async def main():
        registry = FakeRegistry()
        registry.set("orders", SIX)
        async with supervising(registry, grace_s=5.0) as supervisor:
            await supervisor.first(1.0)
            registry.set("orders", ())
            await asyncio.sleep(1)
            registry.fail()
            await asyncio.sleep(60)
            kept = len(supervisor.snapshot.instances)
            registry.set("orders", SIX[:4])
            registry.heal()
            await asyncio.sleep(10)
            return kept, len(supervisor.snapshot.instances)

    assert run(main()) == (6, 4)


@pytest.mark.parametrize("seed", range(5))
@BOTH
def test_a_registry_that_was_restarted_empty_removes_no_instance(kind, seed):
    """Instances register again within their heartbeat interval, in any order."""

    async def main():
        registry, rng, sizes = kind(), Random(seed), []
        registry.set("orders", SIX)
        settings = {"grace_s": 5.0, "poll_interval_s": 1.0}
        async with supervising(registry, seed=seed, **settings) as supervisor:
            supervisor.subscribe(lambda snapshot: sizes.append(len(snapshot.instances)))
            await supervisor.first(1.0)
            registry.fail()
            await asyncio.sleep(60)
            registry.forget()
            registry.heal()
            healed_at = now()
            for after_s, number in sorted((rng.random() * 3.3, number) for number in range(6)):
                await asyncio.sleep(healed_at + after_s - now())
                await registry.register("orders", SIX[number], ttl_s=1e6)
            await asyncio.sleep(20)
        return sizes

    assert set(run(main())) == {6}


def test_no_grace_believes_at_once():
    async def main():
        registry = FakeRegistry()
        registry.set("orders", SIX)
        async with supervising(registry, grace_s=0.0) as supervisor:
            await supervisor.first(1.0)
            registry.set("orders", ())
            await asyncio.sleep(0.01)
            return supervisor.snapshot.instances

    assert run(main()) == ()


# The first list


@BOTH
@pytest.mark.parametrize("error", [RegistryDeniedError("token?"), RegistryRequestError("404")])
def test_hopeless_errors_fail_the_first_use_at_once(kind, error):
    async def main():
        registry = kind()
        registry.fail(error)
        async with supervising(registry) as supervisor:
            with pytest.raises(DiscoveryError, match=str(error).replace("?", r"\?")) as caught:
                await supervisor.first(10.0)
            assert not isinstance(caught.value, DiscoveryTimeoutError)
            return now()

    assert run(main()) < 0.1


@BOTH
def test_an_unreachable_registry_is_waited_for(kind):
    async def main():
        registry = kind()
        registry.set("orders", SIX)
        registry.fail()
        asyncio.get_running_loop().call_later(3.0, registry.heal)
        async with supervising(registry) as supervisor:
            return len((await supervisor.first(10.0)).instances), now()

    size, at = run(main())
    assert size == 6
    assert 3.0 <= at <= 8.0


@BOTH
def test_the_first_list_is_waited_for_only_so_long(kind):
    async def main(registry):
        async with supervising(registry, startup_timeout_s=2.0) as supervisor:
            with pytest.raises(DiscoveryTimeoutError, match=r"'orders'.*within 2 s") as caught:
                await supervisor.first(2.0)
            return str(caught.value), now()

    silent, at = run(main(kind(delay_s=1e6)))
    assert "it has not answered" in silent
    assert at == 2.0
    down = kind()
    down.fail()
    assert "fake://test is down" in run(main(down))[0]


def test_waiting_for_a_list_ends_when_the_service_is_dropped():
    async def main():
        async with supervising(FakeRegistry(delay_s=1e6)) as supervisor:
            waiting = asyncio.ensure_future(supervisor.first(1e5))
            await asyncio.sleep(1)
        with pytest.raises(ClosedError, match="was dropped"):
            await waiting
        return now()

    assert run(main()) == 1.0


# The list on disk


@BOTH
def test_a_cold_start_with_the_registry_down_uses_the_list_on_disk(kind, tmp_path):
    async def main():
        registry = kind()
        registry.set("orders", SIX)
        async with supervising(registry, store=store_in(tmp_path)) as supervisor:
            await supervisor.first(1.0)
        registry.fail()
        async with supervising(registry, store=store_in(tmp_path)) as supervisor:
            began = now()
            snapshot = await supervisor.first(10.0)
            waited, state = now() - began, supervisor.state(now())
            registry.heal()
            await asyncio.sleep(10)
            return snapshot, waited, state, supervisor.state(now())

    snapshot, waited, cold, warm = run(main())
    assert (snapshot.instances, snapshot.source) == (SIX, "disk")
    assert waited < 0.1
    assert (cold.source, cold.instances, cold.failures) == ("disk", 6, 1)
    assert 0 <= cold.age_s < 60  # the file's time is the machine's
    assert (warm.source, warm.failures) == ("registry", 0)


@BOTH
def test_a_cold_start_with_a_silent_registry_uses_it_after_half_the_patience(kind, tmp_path):
    async def main():
        store_in(tmp_path).save(SIX)
        registry = kind(delay_s=1e6)
        async with supervising(
            registry, store=store_in(tmp_path), startup_timeout_s=4.0
        ) as supervisor:
            return (await supervisor.first(4.0)).source, now()

    assert run(main()) == ("disk", 2.0)


def test_a_list_on_disk_that_is_too_old_or_missing_is_not_used(tmp_path):
    async def main():
        store_in(tmp_path).save(SIX)
        registry = FakePolledRegistry()
        registry.fail()
        stores = (store_in(tmp_path, wall_clock=lambda: 4e9), store_in(tmp_path / "none"))
        for store in stores:
            async with supervising(registry, store=store) as supervisor:
                with pytest.raises(DiscoveryTimeoutError):
                    await supervisor.first(2.0)

    run(main())


def test_a_registry_that_is_empty_at_a_cold_start_is_doubted(tmp_path):
    async def main():
        store_in(tmp_path).save(SIX)
        registry = FakeRegistry()
        registry.fail()
        asyncio.get_running_loop().call_later(1.0, registry.heal)
        async with supervising(registry, store=store_in(tmp_path), grace_s=5.0) as supervisor:
            await supervisor.first(10.0)
            await asyncio.sleep(4)
            held = supervisor.state(now()).held
            await asyncio.sleep(10)
            return held, supervisor.snapshot

    held, snapshot = run(main())
    assert held == 0
    assert (snapshot.instances, snapshot.source) == ((), "registry")


@BOTH
@pytest.mark.parametrize(
    ("age_s", "grace_s", "expected"),
    [(0, 5.0, [(0.0, 6), (5.0, 0)]), (0, 0.0, [(0.0, 0)]), (4000, 5.0, [(0.0, 0)])],
    ids=["fresh", "no grace", "too old"],
)
def test_a_first_list_that_is_empty_is_weighed_against_the_one_on_disk(
    kind, tmp_path, age_s, grace_s, expected
):
    """The registry may just have been restarted: an empty list is what it says then."""

    async def main():
        store_in(tmp_path).save(SIX)
        store = store_in(tmp_path, wall_clock=lambda: time.time() + age_s)
        seen = []
        async with supervising(kind(), store=store, grace_s=grace_s) as supervisor:
            supervisor.subscribe(lambda each: seen.append((now(), len(each.instances))))
            await asyncio.sleep(4.9)
            source = supervisor.snapshot.source
            await asyncio.sleep(1)
            assert supervisor.snapshot.source == "registry"
        return seen, source

    seen, source = run(main())
    assert seen == expected
    assert source == ("disk" if len(expected) > 1 else "registry")


@BOTH
def test_instances_that_register_again_with_an_empty_registry_join_the_list_on_disk(kind, tmp_path):
    async def main():
        store_in(tmp_path).save(SIX)
        registry, sizes = kind(), []
        settings = {"grace_s": 5.0, "poll_interval_s": 0.5}
        async with supervising(registry, store=store_in(tmp_path), **settings) as supervisor:
            supervisor.subscribe(lambda each: sizes.append(len(each.instances)))
            for count in range(7):
                await asyncio.sleep(0.5)
                registry.set("orders", SIX[:count])
            await asyncio.sleep(10)
            return sizes, supervisor.snapshot.source, store_in(tmp_path).load()[0]

    assert run(main()) == ([6], "registry", SIX)


def test_a_first_list_that_is_not_empty_is_taken_as_it_is(tmp_path):
    async def main():
        store_in(tmp_path).save(SIX)
        registry = FakeRegistry()
        registry.set("orders", SIX[:1])
        async with supervising(registry, store=store_in(tmp_path)) as supervisor:
            return (await supervisor.first(1.0)).instances

    assert run(main()) == SIX[:1]


def test_an_unchanged_list_is_confirmed_on_disk_now_and_then(tmp_path):
    class Counting(LastKnownGood):
        saves = confirms = 0

        def save(self, instances):
            self.saves += 1

        def confirm(self):
            self.confirms += 1

    store = Counting(tmp_path, registry_key="k", registry_url="u", service="s", max_age_s=9.0)

    async def main():
        registry = FakePolledRegistry()
        registry.set("orders", SIX)
        async with supervising(registry, store=store, poll_interval_s=5.0):
            await asyncio.sleep(600)
            registry.set("orders", SIX[:5])
            await asyncio.sleep(6)

    run(main())
    assert store.saves == 2
    assert 8 <= store.confirms <= 10


# Warnings


def warnings_of(caplog, scenario):
    """Run a scenario of an hour at most; return its warnings."""
    with caplog.at_level(logging.WARNING):
        run(scenario())
    return [record.getMessage() for record in caplog.records]


@BOTH
def test_an_outage_is_one_warning_that_names_service_registry_and_list(kind, caplog):
    async def scenario():
        registry = kind()
        registry.set("orders", SIX)
        async with supervising(registry) as supervisor:
            await supervisor.first(1.0)
            registry.fail()
            await asyncio.sleep(600)

    (said,) = warnings_of(caplog, scenario)
    assert all(fact in said for fact in ("'orders'", "fake://test", "stays in use", "6 instances"))


@BOTH
def test_an_outage_before_the_first_list_says_that_there_is_none(kind, caplog):
    async def scenario():
        registry = kind()
        registry.fail()
        async with supervising(registry):
            await asyncio.sleep(600)

    (said,) = warnings_of(caplog, scenario)
    assert all(fact in said for fact in ("'orders'", "fake://test", "no list yet"))


@BOTH
def test_a_doubted_loss_is_one_warning_with_both_numbers_and_the_time(kind, caplog):
    async def scenario():
        registry = kind()
        registry.set("orders", SIX)
        async with supervising(registry, grace_s=7.0) as supervisor:
            await supervisor.first(1.0)
            registry.set("orders", SIX[:2])
            await asyncio.sleep(600)

    (said,) = warnings_of(caplog, scenario)
    facts = ("'orders'", "fake://test", "2 instances instead of 6", "stay in use for 7 s")
    assert all(fact in said for fact in facts)


def test_a_list_from_disk_is_a_warning_with_its_size_and_age(caplog, tmp_path):
    store_in(tmp_path, wall_clock=lambda: 1000.0).save(SIX)

    async def scenario():
        registry = FakeRegistry()
        registry.fail()
        async with supervising(registry, store=store_in(tmp_path, wall_clock=lambda: 1600.0)):
            await asyncio.sleep(600)

    (_, said) = warnings_of(caplog, scenario)
    assert all(fact in said for fact in ("'orders'", "fake://test", "from disk", "6 instances"))
    assert "600 s old" in said


# Subscribers


def test_subscribers_are_called_for_differences_only():
    async def main():
        registry, seen = FakePolledRegistry(), []
        registry.set("orders", SIX)
        async with supervising(registry, poll_interval_s=1.0) as supervisor:
            supervisor.subscribe(lambda snapshot: seen.append(snapshot.instances))
            await asyncio.sleep(10)
            registry.set("orders", SIX)  # a new version, the same instances
            await asyncio.sleep(10)
            registry.set("orders", SIX[:5])
            await asyncio.sleep(10)
            late = []
            supervisor.subscribe(lambda snapshot: late.append(snapshot.instances))
            return seen, late, supervisor.state(now()).age_s

    seen, late, age_s = run(main())
    assert seen == [SIX, SIX[:5]]
    assert late == [SIX[:5]]
    assert age_s < 1.2


def test_an_error_of_a_subscriber_is_logged_and_the_others_are_called(caplog):
    async def main():
        registry, seen = FakeRegistry(), []
        registry.set("orders", SIX)
        async with supervising(registry) as supervisor:
            supervisor.subscribe(lambda _: 1 / 0)
            supervisor.subscribe(lambda snapshot: seen.append(len(snapshot.instances)))
            await supervisor.first(1.0)
            registry.set("orders", SIX[:4])
            await asyncio.sleep(1)
            return seen

    with caplog.at_level(logging.ERROR):
        assert run(main()) == [6, 4]
    assert caplog.text.count("a subscriber to its list raised an error") == 2


def test_a_subscriber_that_another_one_unsubscribes_is_not_called_any_more():
    async def main():
        registry, seen = FakeRegistry(), []
        registry.set("orders", SIX)
        async with supervising(registry) as supervisor:
            leave = supervisor.subscribe(lambda snapshot: seen.append(len(snapshot.instances)))
            await supervisor.first(1.0)
            leave()
            leave()
            registry.set("orders", SIX[:4])
            await asyncio.sleep(1)
            return seen

    assert run(main()) == [6]


def test_the_state_has_age_source_and_errors():
    async def main():
        registry = FakeRegistry("one")
        async with supervising(registry) as supervisor:
            before = supervisor.state(now())
            registry.set("orders", SIX)
            await asyncio.sleep(7)
            return before, supervisor.state(now())

    before, after = run(main())
    assert (before.service, before.registry) == ("orders", "fake://one")
    assert (before.instances, before.age_s, before.source) == (None, None, "")
    assert (before.failures, before.last_error, before.held) == (0, "", None)
    assert (after.instances, after.age_s, after.source) == (6, 7.0, "registry")


@pytest.mark.parametrize(
    "wrong",
    [
        {"poll_interval_s": 0}, {"poll_interval_s": "5"}, {"startup_timeout_s": float("nan")},
        {"jitter_ratio": -0.1}, {"jitter_ratio": 1.1}, {"grace_s": -1}, {"max_services": True},
        {"idle_s": None}, {"max_age_s": -5},
    ],
)  # fmt: skip
def test_settings_out_of_range_are_refused_by_name(wrong):
    with pytest.raises(ConfigurationError, match=f"^{next(iter(wrong))} is "):
        DiscoverySettings(**wrong)


def test_settings_at_their_bounds():
    assert DiscoverySettings(grace_s=0, jitter_ratio=0) != DiscoverySettings(jitter_ratio=1)


# Nothing ends it but closing


class SpeechlessError(Exception):
    """An adapter's own error, which has no words."""

    def __str__(self):
        raise RuntimeError("no words")


ODD = [
    asyncio.CancelledError(),
    SpeechlessError(),
    MemoryError(),
    RecursionError(),
    UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid"),
    ClosedError("closed"),
    StopAsyncIteration(),
    ExceptionGroup("several", [ValueError()]),
    None,
    Listing(instances=None),
    Listing(instances=(None,)),
    Listing(instances=(7, "x")),
]


class Odd(FakePolledRegistry):
    """Answers with odd things for a while, each as often as `times`."""

    def __init__(self, *odd, times=3):
        super().__init__()
        self.odd = [each for each in odd for _ in range(times)]

    async def fetch(self, service):
        if not self.odd:
            return await super().fetch(service)
        odd = self.odd.pop(0)
        if isinstance(odd, BaseException):
            raise odd
        return odd


class OddWatch(Odd):
    """The same, told by a watch."""

    async def watch(self, service):
        yield await self.fetch(service)
        await asyncio.sleep(1)
        while True:
            yield await self.fetch(service)
            await asyncio.sleep(1)


@pytest.mark.parametrize(
    "odd", ODD, ids=[type(each).__name__ + str(at) for at, each in enumerate(ODD)]
)
@pytest.mark.parametrize("kind", [Odd, OddWatch])
def test_whatever_an_adapter_answers_it_goes_on(kind, odd):
    async def main():
        registry = kind(odd)
        registry.set("orders", SIX)
        async with supervising(registry) as supervisor:
            assert (await supervisor.first(60)).instances == SIX
            registry.odd = [odd] * 3
            await asyncio.sleep(30)
            assert supervisor.state(now()).failures == 0
            registry.set("orders", SIX[:5])
            await asyncio.sleep(30)
            return supervisor.snapshot.instances

    assert run(main()) == SIX[:5]


@pytest.mark.parametrize("error", [MemoryError(), asyncio.CancelledError(), SpeechlessError()])
def test_its_own_failure_is_survived_too(monkeypatch, error, caplog):
    """Even a bug in the reader itself."""

    async def main():
        registry = FakePolledRegistry()
        registry.set("orders", SIX)
        async with supervising(registry) as supervisor:
            reader, times = supervisor._reader, []
            good = reader._poll

            async def bad():
                times.append(now())
                if len(times) < 4:
                    raise error
                await good()

            monkeypatch.setattr(reader, "_poll", bad)
            assert (await supervisor.first(60)).instances == SIX
            return times

    times = run(main())
    assert len(times) == 4
    assert all(gap > 0 for gap in gaps(times))
    assert "begins again" in caplog.text


def test_a_broken_log_ends_nothing(monkeypatch):
    async def main():
        registry = Odd(RuntimeError("a bug"))
        registry.set("orders", SIX)

        def broken(*_args, **_kwargs):
            raise OSError("no space left on device")

        monkeypatch.setattr(logging.getLogger("trimtab.discovery"), "warning", broken)
        async with supervising(registry) as supervisor:
            return (await supervisor.first(60)).instances

    assert run(main()) == SIX


class OddStore:
    """A disk that raises, or hangs."""

    def __init__(self, error=None):
        self.error, self.released = error, threading.Event()

    def load(self):
        if self.error:
            raise self.error
        self.released.wait(10)

    def save(self, instances):
        self.load()

    def confirm(self):
        self.load()


@pytest.mark.parametrize("error", [MemoryError(), UnicodeError(), OSError(), RecursionError()])
@pytest.mark.parametrize("first", [[], [RuntimeError("no answer")]])
def test_whatever_the_disk_raises_the_list_comes(error, first):
    async def main():
        registry = Odd(*first)
        registry.set("orders", SIX)
        async with supervising(registry, store=OddStore(error)) as supervisor:
            return (await supervisor.first(60)).instances

    assert run(main()) == SIX


def test_a_disk_that_hangs_holds_up_neither_the_loop_nor_the_first_list():
    store = OddStore()

    async def main():
        registry = FakePolledRegistry()
        registry.set("orders", SIX)
        turns = 0

        async def turning():
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0.001)

        task = asyncio.create_task(turning())
        async with supervising(registry, store=store) as supervisor:
            instances = (await supervisor.first(5)).instances
            task.cancel()
            store.released.set()
        return instances, turns

    instances, turns = asyncio.run(main())
    assert instances == SIX
    assert turns > 50


# One address under several ids


@BOTH
def test_one_address_under_three_ids_is_one_instance_and_that_is_told_once(kind, caplog):
    same = [Instance(id=id_, host="10.0.0.1", port=1) for id_ in "abc"]
    other = Instance(host="10.0.0.2", port=1)

    async def main():
        registry = kind()
        registry.set("orders", [*same, other])
        async with supervising(registry) as supervisor:
            first = (await supervisor.first(1.0)).instances
            await asyncio.sleep(30)
            registry.set("orders", [same[2], other, same[0]])
            await asyncio.sleep(30)
            second = supervisor.snapshot.instances
            registry.set("orders", [same[2], other])
            await asyncio.sleep(30)
            return first, second, supervisor.snapshot.instances

    first, second, third = run(main())
    assert first == (same[0], other)
    assert second == (same[0], other)  # It keeps its statistics.
    assert third == (same[2], other)
    told = [message for message in caplog.messages if "count as one" in message]
    assert ["'c', 'a'" in each or "'a', 'c'" in each for each in told] == [False, True]
    assert "'a', 'b', 'c'" in told[0]


def test_one_that_registers_again_under_a_new_id_is_not_listed_beside_its_old_entry():
    old = [Instance(id=f"old{port}", host="10.0.0.1", port=port) for port in range(1, 7)]
    new = [each.with_(id=each.id.replace("old", "new")) for each in old]

    async def main():
        registry = FakeRegistry()
        registry.set("orders", old)
        async with supervising(registry, grace_s=5.0) as supervisor:
            await supervisor.first(1.0)
            registry.set("orders", new[:2])
            await asyncio.sleep(1)
            held = supervisor.snapshot.instances
            registry.set("orders", new)
            await asyncio.sleep(60)
            return held, supervisor.snapshot.instances

    held, after = run(main())
    assert sorted(each.port for each in held) == [1, 2, 3, 4, 5, 6]
    assert after == tuple(new)


def test_of_many_merged_addresses_few_are_told(caplog):
    many = [
        Instance(id=f"{'x' * 1000}{number}", host="h", port=1 + number // 5)
        for number in range(5000)
    ]

    async def main():
        registry = FakePolledRegistry()
        registry.set("orders", many)
        async with supervising(registry) as supervisor:
            return (await supervisor.first(1.0)).instances

    assert len(run(main())) == 1000
    assert len(caplog.messages) <= 100
    assert all(len(message) < 1000 for message in caplog.messages)


# Names compare as those of URLs


@BOTH
@pytest.mark.parametrize(
    ("registered", "called"),
    [
        ("Billing_API", "billing_api"),
        ("BILLING", "billing"),
        ("billing", "billing."),
        ("Billing.", "billing"),
        ("größe-Ä", "größe-ä"),
        ("billing", "Billing"),
    ],
)
def test_a_service_is_found_however_it_is_spelled(kind, registered, called):
    async def main():
        registry = kind()
        registry.set(registered, SIX)
        registry.set("another", ())
        async with supervising(registry, service=called) as supervisor:
            first = (await supervisor.first(5.0)).instances
            registry.set(registered, SIX[:5])
            await asyncio.sleep(30)
            return first, supervisor.snapshot.instances

    assert run(main()) == (SIX, SIX[:5])


@BOTH
def test_a_service_that_is_registered_later_is_found_however_it_is_spelled(kind):
    async def main():
        registry = kind()
        registry.set("another", SIX)
        async with supervising(registry, service="billing_api") as supervisor:
            assert (await supervisor.first(5.0)).instances == ()
            await asyncio.sleep(100)
            registry.set("Billing_API", SIX)
            await asyncio.sleep(200)
            return supervisor.snapshot.instances

    assert run(main()) == SIX


@BOTH
def test_names_that_differ_by_case_only_are_an_error_that_names_them(kind):
    async def main():
        registry = kind()
        registry.set("Billing", SIX)
        registry.set("BILLING", SIX)
        async with supervising(registry, service="billing") as supervisor:
            with pytest.raises(DiscoveryError, match="'BILLING', 'Billing' differ by case only"):
                await supervisor.first(5.0)


# -- fresh lists, since requests fail ------------------------------------------------------------


class NotingWatched(FakeRegistry):
    """Notes when it is asked for a whole list, beside its watch."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.asked = []

    async def fetch(self, service):
        self.asked.append(now())
        return await super().fetch(service)


@pytest.mark.parametrize("kind", [Noting, NotingWatched])
def test_a_fresh_list_is_read_at_once_and_then_about_once_a_second(kind):
    async def main():
        registry = kind()
        registry.set("orders", SIX)
        settings = {"poll_interval_s": 1000.0, "resync_interval_s": 0.0}
        async with supervising(registry, **settings) as supervisor:
            await supervisor.first(1.0)
            await asyncio.sleep(1500.0)
            registry.asked.clear()
            began = now()
            for _ in range(1000):
                supervisor.refresh()
                await asyncio.sleep(0.01)
            asked = [at - began for at in registry.asked]
            assert asked[0] == 0.0
            assert 5 <= len(asked) <= 10
            assert all(1.0 <= later - at <= 2.02 for at, later in pairwise(asked))

    run(main())


@BOTH
def test_a_name_that_is_right_asks_for_no_others(kind):
    class Asking(kind):
        asked = 0

        async def services(self):
            self.asked += 1
            return await super().services()

    async def main():
        registry = Asking()
        registry.set("orders", SIX)
        async with supervising(registry) as supervisor:
            await supervisor.first(5.0)
            registry.set("orders", ())
            await asyncio.sleep(300)
        return registry.asked

    assert run(main()) == 0


@BOTH
@pytest.mark.parametrize("error", [RegistryRequestError("cannot"), RuntimeError("a bug"), None])
def test_a_registry_that_does_not_name_its_services_is_asked_now_and_then(kind, error):
    class Silent(kind):
        asked = 0

        async def services(self):
            self.asked += 1
            if error is None:
                await asyncio.sleep(1e6)
            raise error

    async def main():
        registry = Silent()
        async with supervising(registry, poll_interval_s=0.1) as supervisor:
            assert (await supervisor.first(5.0)).instances == ()
            await asyncio.sleep(100)
            return registry.asked

    assert 1 <= run(main()) <= 21


def test_a_fresh_list_is_used_and_a_failed_read_keeps_the_old_one():
    async def main():
        registry = Noting()
        registry.set("orders", SIX[:1])
        async with supervising(registry, poll_interval_s=1000.0, grace_s=0.0) as supervisor:
            supervisor.refresh()  # Before the first list there is nothing to refresh.
            await supervisor.first(1.0)
            registry.set("orders", SIX[1:])
            supervisor.refresh()
            await asyncio.sleep(0.1)
            assert supervisor.snapshot.instances == SIX[1:]
            registry.fail(RegistryDeniedError("no"))
            await asyncio.sleep(2.0)
            supervisor.refresh()
            await asyncio.sleep(0.1)
            assert supervisor.snapshot.instances == SIX[1:]
            assert supervisor.state(now()).failures == 1

    run(main())
