"""A client's own probes in virtual time: whom, when, how many at once, and what is told."""

import asyncio
from itertools import pairwise
from random import Random

import pytest

from trimtab import ConfigurationError, Instance, Status
from trimtab.balancing.probes import ProbeRunner, Reconnects
from trimtab.check import Check
from trimtab.health.probing import ProbeSettings, ReconnectSettings
from trimtab.probing import ProbeResult
from trimtab_sim.loop import run

TCP = Check(kind="tcp", interval_s=5.0, timeout_s=2.0, rise=2, fall=3)
A, B = (Instance(host=f"10.0.0.{n}", port=80, id=name) for n, name in enumerate("ab", 1))


class World:
    """Instances that are well or not, whoever is to be probed, and what was told."""

    def __init__(self, *members, **settings):
        self.members, self.ill, self.silent, self.broken = list(members), set(), set(), set()
        self.probes, self.told, self.at_once, self.most_at_once = [], [], 0, 0
        self.runner = ProbeRunner(
            ProbeSettings(
                **{"check": TCP, "jitter_ratio": 0.0, "carrier": self.carrier, **settings}
            ),
            members=self.those,
            judge=self.judge,
            rng=Random(3),
        )

    def those(self):
        if "members" in self.broken:
            raise RuntimeError("a bug")
        return self.members

    def judge(self, id_, ok, now, why):
        self.told.append((id_, ok, now, why))
        if "judge" in self.broken:
            raise RuntimeError("a bug")

    async def carrier(self, check, instance):
        self.probes.append((instance.id, instance.address, asyncio.get_running_loop().time()))
        self.at_once += 1
        self.most_at_once = max(self.at_once, self.most_at_once)
        try:
            if "carrier" in self.broken:
                raise RuntimeError("a bug")
            await asyncio.sleep(1e9 if instance.id in self.silent else 0.1)
        finally:
            self.at_once -= 1
        ok = instance.id not in self.ill
        return ProbeResult(Status.PASSING if ok else Status.CRITICAL, "well" if ok else "ill")

    def times(self, id_):
        return [at for each, _, at in self.probes if each == id_]

    async def __aenter__(self):
        self.task = asyncio.create_task(self.runner.run())
        return self

    async def __aexit__(self, *_):
        self.task.cancel()
        await asyncio.wait([self.task])
        assert self.at_once == 0
        assert len(asyncio.all_tasks()) == 1
        assert self.task.cancelled()


def test_all_are_probed_each_at_its_own_times():
    async def main():
        async with World(A, B) as world:
            await asyncio.sleep(60)
            return world

    world = run(main())
    for id_ in "ab":
        at = world.times(id_)
        assert 0 < at[0] < 5.0
        assert at == pytest.approx([at[0] + 5.0 * n for n in range(12)])
    assert abs(world.times("a")[0] - world.times("b")[0]) > 0.1
    assert world.told == []  # All is as it was.


def test_a_fault_is_reported_in_time_and_again_while_it_lasts_and_its_end_once():
    async def main():
        async with World(A, B) as world:
            await asyncio.sleep(50)
            world.silent.add("a")
            await asyncio.sleep(50)
            world.silent.clear()
            await asyncio.sleep(50)
            return world

    world = run(main())
    assert {id_ for id_, *_ in world.told} == {"a"}
    *faults, (_, ok, at, why) = world.told
    assert 2 * 5.0 + 2.0 <= faults[0][2] - 50.0 <= 3 * 5.0 + 2.0
    assert [round(b[2] - a[2], 6) for a, b in pairwise(faults)] == [5.0] * 7
    assert {(ok, why) for _, ok, _, why in faults} == {(False, "tcp check timed out after 2 s")}
    assert (ok, why) == (True, "well")
    assert 5.0 < at - 100.0 < 10.0 + 0.2


def test_only_ejected_instances_are_probed_and_reported_when_they_pass():
    async def main():
        async with World(only_ejected=True) as world:
            await asyncio.sleep(10)
            world.members = [A]
            world.ill.add("a")
            await asyncio.sleep(40)
            world.ill.clear()
            await asyncio.sleep(6)
            assert [ok for _, ok, *_ in world.told][-1] is False
            await asyncio.sleep(5)
            world.members = []
            seen = len(world.probes)
            await asyncio.sleep(30)
            assert len(world.probes) <= seen + 1
            return world

    world = run(main())
    assert [ok for _, ok, *_ in world.told].count(True) == 1
    assert world.told[-1][:2] == ("a", True)
    assert min(world.times("a")) > 10.0


def test_an_instance_ejected_again_needs_all_rise_probes_again():
    async def main():
        async with World(A, only_ejected=True) as world:
            await asyncio.sleep(20)
            world.members = []
            await asyncio.sleep(20)
            world.told.clear()
            world.members = [A]
            at = asyncio.get_running_loop().time()
            await asyncio.sleep(20)
            probes = [each for each in world.times("a") if each >= at]
            return probes, world.told

    probes, told = run(main())
    assert told[0][:3] == ("a", True, pytest.approx(probes[1] + 0.1))


def test_probes_of_new_instances_are_spread_and_removed_instances_are_not_probed():
    many = [Instance(host="10.0.0.1", port=n) for n in range(1, 201)]

    async def main():
        async with World() as world:
            await asyncio.sleep(20.5)
            world.members = many
            await asyncio.sleep(6.5)
            world.members = []
            await asyncio.sleep(60)
            return world

    world = run(main())
    first = {}
    for id_, _, at in world.probes:
        first.setdefault(id_, at)
    assert len(first) == 200
    assert 21 <= min(first.values()) < max(first.values()) < 26.0
    # The chance of more than 70 of 200 in some second of five is below 1e-6 (binomial).
    assert max(sum(21 + n <= at < 22 + n for at in first.values()) for n in range(5)) < 70
    assert max(at for *_, at in world.probes) < 28.0


def test_probes_at_once_are_bounded_and_the_others_wait():
    many = [Instance(host="10.0.0.1", port=n) for n in range(1, 31)]

    async def main():
        async with World(*many, max_at_once=4) as world:
            world.silent.update(each.id for each in many)
            await asyncio.sleep(100)
            return world

    world = run(main())
    assert world.most_at_once == 4
    # 30 probes of 2 s, 4 at once: a round takes 15 s, and nobody is left out.
    assert {len(world.times(each.id)) for each in many} <= {6, 7}
    assert {id_ for id_, *_ in world.told} == {each.id for each in many}


def test_jitter_keeps_clients_apart_and_the_interval_in_the_mean():
    async def main():
        async with World(A, jitter_ratio=0.1) as world:
            await asyncio.sleep(5000)
            return world.times("a")

    at = run(main())
    gaps = [b - a for a, b in pairwise(at)]
    assert 4.5 <= min(gaps) < 4.52
    assert 5.48 < max(gaps) <= 5.5
    # Standard error of the mean of 1,000 uniform gaps: 0.009; five of them.
    assert sum(gaps) / len(gaps) == pytest.approx(5.0, abs=0.046)


def test_a_new_address_is_probed_afresh_and_a_new_weight_is_not():
    async def main():
        async with World(A) as world:
            world.ill.add("a")
            await asyncio.sleep(10)  # two probes; a third would tell
            world.members = [A.with_(port=81)]
            await asyncio.sleep(10)
            assert world.told == []
            moved = len([each for each in world.probes if each[1] == "10.0.0.1:81"])
            world.members = [A.with_(port=81, weight=3.0)]
            await asyncio.sleep(5)
            return moved, world

    moved, world = run(main())
    assert moved == 2
    assert [ok for _, ok, *_ in world.told] == [False]


@pytest.mark.parametrize("what", ["members", "judge", "carrier"])
def test_an_error_is_logged_and_the_other_probes_go_on(what, caplog):
    async def main():
        async with World(A) as world:
            await asyncio.sleep(20)
            world.broken.add(what)
            world.ill.add("a")
            await asyncio.sleep(50)
            seen = len(world.told)
            world.broken.clear()
            world.ill.clear()
            await asyncio.sleep(50)
            return world, seen

    world, seen = run(main())
    assert len(world.times("a")) == 24
    assert seen > 0
    assert world.told[-1][1] is True
    assert ("a bug" in caplog.text) is (what != "carrier")
    assert ("RuntimeError: a bug" in {why for *_, why in world.told}) is (what == "carrier")


def test_the_same_chance_gives_the_same_probes():
    async def main():
        async with World(A, B, jitter_ratio=0.3) as world:
            await asyncio.sleep(100)
            return world.probes

    assert run(main()) == run(main())


# Reconnecting


class Reach:
    """Instances that can be connected to or not, and what was told of it."""

    def __init__(self, *members, **settings):
        self.members = {one.id: one for one in members}
        self.down, self.at, self.told = set(), [], []
        self.reconnects = Reconnects(
            ReconnectSettings(**{"carrier": self.carrier, **settings}),
            find=self.members.get,
            judge=lambda *told: self.told.append(told),
            rng=Random(3),
        )

    async def carrier(self, check, instance):
        assert check.kind == "tcp"
        self.at.append((instance.id, asyncio.get_running_loop().time()))
        if instance.id in self.down:
            raise ConnectionRefusedError("refused")
        return ProbeResult(Status.PASSING, "connected")

    def gaps(self):
        return [after - before for (_, before), (_, after) in pairwise(self.at)]


def test_one_that_can_be_reached_is_connected_to_once():
    async def main():
        reach = Reach(A)
        reach.reconnects.watch("a")
        await asyncio.sleep(60)
        assert reach.told == [("a", True, "connected")]
        assert len(asyncio.all_tasks()) == 1

    run(main())


def test_what_opened_is_prepared_before_it_is_told():
    async def main():
        reach, order = Reach(A), []

        async def prepare(id_):
            order.append((id_, list(reach.told)))

        reach.reconnects._prepare = prepare
        reach.down.add("a")
        reach.reconnects.watch("a")
        await asyncio.sleep(5)
        assert order == []
        reach.down.clear()
        await asyncio.sleep(60)
        assert reach.told[-1] == ("a", True, "connected")
        assert order == [("a", reach.told[:-1])]

    run(main())


def test_one_out_of_reach_is_connected_to_until_it_is_back():
    async def main():
        reach = Reach(A, B)
        reach.down.add("a")
        for _ in range(3):
            reach.reconnects.watch("a")
        await asyncio.sleep(200)
        gaps = reach.gaps()
        assert 0.08 <= gaps[0] <= 0.1
        soon = [gap for gap, (_, at) in zip(gaps, reach.at, strict=False) if at < 60]
        late = gaps[len(soon) :]
        assert all(gap <= 0.8 for gap in soon)
        assert len(soon) < 60 / 0.6
        assert 8.0 <= max(late) <= 10.0
        assert all(told == ("a", False, "ConnectionRefusedError: refused") for told in reach.told)
        reach.down.clear()
        await asyncio.sleep(10.0)
        assert reach.told[-1] == ("a", True, "connected")
        reach.reconnects.watch("a")
        await asyncio.sleep(0)
        assert len(reach.told) == len(reach.at)

    run(main())


def test_one_that_left_the_list_is_connected_to_no_more():
    async def main():
        reach = Reach(A)
        reach.down.add("a")
        reach.reconnects.watch("a")
        await asyncio.sleep(5)
        del reach.members["a"]
        await asyncio.sleep(5)
        count = len(reach.at)
        await asyncio.sleep(60)
        assert len(reach.at) == count
        assert len(asyncio.all_tasks()) == 1

    run(main())


def test_only_so_many_connections_open_at_once_and_closing_ends_all():
    async def main():
        opening = most = 0

        async def carrier(_check, _instance):
            nonlocal opening, most
            opening += 1
            most = max(opening, most)
            try:
                await asyncio.sleep(0.5)
                raise OSError("unreachable")
            finally:
                opening -= 1

        many = [Instance(host=f"10.0.0.{n}", port=80) for n in range(1, 11)]
        reach = Reach(*many, carrier=carrier, max_at_once=4)
        for one in many:
            reach.reconnects.watch(one.id)
        await asyncio.sleep(10)
        assert most == 4
        assert {id_ for id_, *_ in reach.told} == {one.id for one in many}
        await reach.reconnects.aclose()
        await reach.reconnects.aclose()
        assert opening == 0
        assert len(asyncio.all_tasks()) == 1

    run(main())


@pytest.mark.parametrize(
    ("name", "value"), [("first_s", 0), ("timeout_s", -1.0), ("max_s", 0.05), ("max_at_once", 0)]
)
def test_wrong_settings_of_reconnecting_are_refused_by_name(name, value):
    with pytest.raises(ConfigurationError, match=name):
        ReconnectSettings(**{name: value})
