"""The simulated registry: leases, delays, outages and wrong answers."""

import asyncio
from contextlib import aclosing
from random import Random

import pytest

from trimtab import Instance
from trimtab.errors import (
    NotRegisteredError,
    RegistryAnswerError,
    RegistryUnavailableError,
)
from trimtab_sim.world.network import Partition
from trimtab_sim.world.places import Place
from trimtab_sim.world.registry import ANSWER_TIMEOUT_S, PolledView, WatchedView, Writer

REGISTRY = """
[registry]
mode = "{mode}"
ttl = 10
heartbeat = 3
sweep = 2
long_poll_wait = 30
propagation = {{law = "constant", mean = {propagation}}}
latency = {{law = "constant", mean = {latency}}}
"""


@pytest.fixture
def calm(scenario):
    def make(mode="poll", propagation=0.0, latency=0.0, **options):
        text = REGISTRY.format(mode=mode, propagation=propagation, latency=latency)
        return scenario(text, duration=1000, **options)

    return make


def now():
    return asyncio.get_running_loop().time()


def view_of(world, kind=PolledView, index=0):
    return kind(world.registry, Place("client", index), Random(index))


async def ids(view):
    return [instance.id for instance in (await view.fetch("service")).instances]


def stranger(name):
    return Instance(host="10.9.9.9", port=1, id=name)


def test_a_lease_lapses_at_the_first_sweep_after_its_ttl_and_heartbeats_keep_it(
    calm, in_world, until_moment
):
    async def script(world):
        registry, view = world.registry, view_of(world)
        registry.put(stranger("x"))
        await until_moment(9.0)
        registry.renew("x")
        await until_moment(19.5)
        assert "x" in await ids(view)  # Over at 19, swept at 20.
        await until_moment(20.5)
        return await ids(view)

    assert in_world(calm(), script) == ["s0", "s1", "s2"]


def test_a_forgotten_server_registers_again(calm, in_world, until_moment):
    async def script(world):
        await until_moment(5.0)
        with pytest.raises(NotRegisteredError):
            world.registry.renew("nobody")
        world.registry.forget_all()
        empty = await ids(view_of(world))
        await until_moment(8.0)
        return empty, sorted(await ids(view_of(world)))

    assert in_world(calm(), script) == ([], ["s0", "s1", "s2"])


def test_dropping_an_unknown_instance_is_no_change(calm, in_world):
    async def script(world):
        version = world.registry.version
        world.registry.drop("nobody")
        world.registry.put(world.runners[0].server.instance)
        return world.registry.version - version

    assert in_world(calm(), script) == 0


def test_readers_see_a_change_after_its_delay(calm, in_world, until_moment):
    async def script(world):
        await until_moment(1.0)
        world.registry.put(stranger("x"))
        await until_moment(1.49)
        before = await ids(view_of(world))
        await until_moment(1.5)
        return before, await ids(view_of(world))

    before, after = in_world(calm(propagation=0.5), script)
    assert "x" not in before
    assert "x" in after


def test_a_slow_older_change_does_not_undo_a_newer_one(calm, in_world, until_moment):
    async def script(world):
        registry = world.registry
        await until_moment(1.0)
        delays = iter([5.0, 1.0])
        registry._propagation = lambda _uniform: next(delays)
        registry.put(stranger("x"))
        registry.drop("x")
        await until_moment(2.5)
        seen = await ids(view_of(world))
        version = (await view_of(world).fetch("service")).version
        await until_moment(10.0)
        assert (await view_of(world).fetch("service")).version == version
        return seen, await ids(view_of(world))

    sooner, later = in_world(calm(), script)
    assert "x" not in sooner
    assert "x" not in later


def test_a_question_takes_its_time_on_the_way_at_the_registry_and_back(scenario, in_world):
    text = (
        "[registry]\nlatency = {law='constant', mean=0.5}\n"
        "[network]\nlatency = {law='constant', mean=0.1}"
    )

    async def script(world):
        await ids(view_of(world))
        return now()

    assert in_world(scenario(text), script) == pytest.approx(0.7)


@pytest.mark.parametrize(
    ("how", "after_s"), [("refuse", 0.0), ("error", 0.0), ("silent", ANSWER_TIMEOUT_S)]
)
def test_an_outage_refuses_errs_or_is_silent_to_readers_and_writers(calm, in_world, how, after_s):
    async def script(world):
        writer = Writer(world.registry, Place("server", 9), Random(1), on_taken=list)
        lift = world.registry.override("outage", how)
        asked = [
            lambda: view_of(world).fetch("service"),
            lambda: writer.fetch("service"),
            lambda: writer.register("service", stranger("x"), ttl_s=10),
            lambda: writer.heartbeat("service", stranger("x")),
            lambda: writer.deregister("service", stranger("x")),
        ]
        took = []
        for ask in asked:
            began = now()
            with pytest.raises(RegistryUnavailableError):
                await ask()
            took.append(now() - began)
        lift()
        await writer.register("service", stranger("x"), ttl_s=10)
        assert "x" in [i.id for i in (await writer.fetch("service")).instances]
        await writer.deregister("service", stranger("x"))
        assert "x" not in await ids(view_of(world))
        return took

    assert in_world(calm(), script) == pytest.approx([after_s] * 5)


def test_nothing_lapses_while_the_registry_is_away_and_leases_begin_anew(
    calm, in_world, until_moment
):
    async def script(world):
        registry = world.registry
        registry.put(stranger("x"))
        lift = registry.override("outage", "refuse")
        await until_moment(100.0)
        assert "x" in registry.registered
        lift()
        registry.renew_all()
        await until_moment(109.0)
        assert "x" in registry.registered
        await until_moment(113.0)
        return "x" in registry.registered

    assert in_world(calm(), script) is False


def test_a_stale_registry_shows_its_old_state_until_the_fault_ends(calm, in_world):
    async def script(world):
        registry = world.registry
        lift = registry.override("stale", value=True)
        registry.put(stranger("x"))
        stale = await ids(view_of(world))
        lift()
        return stale, await ids(view_of(world))

    stale, fresh = in_world(calm(), script)
    assert stale == ["s0", "s1", "s2"]
    assert fresh == [*stale, "x"]


def test_wrong_answers_leave_out_repeat_or_are_garbage(calm, in_world):
    async def script(world):
        registry, view = world.registry, view_of(world)
        lift = registry.override("wrong", ("partial", 0.3))
        counts = [len(await ids(view)) for _ in range(300)]
        lift()
        lift = registry.override("wrong", ("duplicate", 0.3))
        twice = [len(await ids(view)) for _ in range(300)]
        everyone = await ids(view)
        lift()
        lift = registry.override("wrong", ("garbage", 1.0))
        with pytest.raises(RegistryAnswerError):
            await ids(view)
        lift()
        return sum(counts) / 300, sum(twice) / 300, set(everyone), await ids(view)

    partial, twice, everyone, after = in_world(calm(servers=20), script)
    assert partial == pytest.approx(14, abs=0.6)
    assert twice == pytest.approx(26, abs=0.6)
    assert everyone == set(after)


def test_a_partitioned_client_gets_no_answer_and_others_do(calm, in_world):
    async def script(world):
        world.network.cut(Partition("client:0", "registry", both_ways=False))
        began = now()
        with pytest.raises(RegistryUnavailableError, match="no answer within 10 s"):
            await ids(view_of(world))
        took = now() - began
        return took, await ids(view_of(world, index=1))

    took, others = in_world(calm(), script)
    assert took == pytest.approx(ANSWER_TIMEOUT_S)
    assert others == ["s0", "s1", "s2"]


async def follow(view, seen):
    async with aclosing(view.watch("service")) as listings:
        async for listing in listings:
            seen.append((round(now(), 6), len(listing.instances)))


@pytest.mark.parametrize("mode", ["long_poll", "push"])
def test_a_watching_client_gets_each_change_at_once(calm, in_world, until_moment, mode):
    seen = []

    async def script(world):
        world.spawn(follow(view_of(world, WatchedView), seen))
        await until_moment(7.0)
        world.registry.put(stranger("x"))
        await until_moment(40.0)

    in_world(calm(mode=mode, latency=0.25), script)
    # x, never renewed, lapses at 17 and is swept at 18.
    assert seen[:3] == [(0.25, 3), (7.25, 4), (18.25, 3)]
    assert len(seen) == 3


def test_a_long_poll_asks_again_when_nothing_changes_and_a_push_does_not(
    calm, in_world, until_moment
):
    async def script(world):
        seen = []
        world.spawn(follow(view_of(world, WatchedView), seen))
        await until_moment(100.0)
        return seen

    assert in_world(calm(mode="long_poll"), script) == [(0, 3), (30, 3), (60, 3), (90, 3)]
    assert in_world(calm(mode="push"), script) == [(0, 3)]


def test_a_watch_fails_with_the_registry_and_corrects_a_wrong_answer(calm, in_world, until_moment):
    async def script(world):
        registry, seen = world.registry, []
        task = world.spawn(follow(view_of(world, WatchedView), seen))
        await until_moment(1.0)
        lift = registry.override("wrong", ("partial", 1.0))
        await until_moment(2.0)
        lift()
        await until_moment(3.0)
        world._tasks.discard(task)
        task.remove_done_callback(world._ended)
        registry.override("outage", "refuse")
        with pytest.raises(RegistryUnavailableError):
            await task
        return seen

    assert in_world(calm(mode="push"), script) == [(0, 3), (1, 0), (2, 3)]


def test_a_view_knows_no_other_services_and_closes(calm, in_world):
    async def script(world):
        view = view_of(world)
        names = await view.services()
        await view.aclose()
        return names, view.key

    assert in_world(calm(), script) == ([], "sim://registry as seen by client:0")
