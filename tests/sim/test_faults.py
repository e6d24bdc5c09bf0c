"""Every action of a scenario: its effect, its targets, and that it is fully undone."""

from itertools import pairwise
from random import Random

import pytest

from trimtab_sim.effects import apply, choose
from trimtab_sim.scenario import actions as a
from trimtab_sim.simulation import simulate
from trimtab_sim.timeline import Director

ZONES = """
[service]
servers = [{count = 2, zone = "a"}, {count = 3, zone = "b", weight = 2.0}]
[registry]
ttl = 6
heartbeat = 2
"""


@pytest.fixture
def town(scenario):
    return scenario(ZONES, duration=1000)


def indices(runners):
    return [runner.server.place.index for runner in runners]


# -- targets -------------------------------------------------------------------------------------


def test_targets_are_all_by_index_by_zone_or_drawn(town, in_world):
    async def script(world):
        rng = Random(1)
        assert indices(choose("all", world, rng)) == [0, 1, 2, 3, 4]
        assert indices(choose(a.Targets(index=(3, 1)), world, rng)) == [1, 3]
        assert indices(choose(a.Targets(zone="b"), world, rng)) == [2, 3, 4]
        drawn = [tuple(indices(choose(a.Targets(count=2), world, rng))) for _ in range(200)]
        assert all(len(set(pair)) == 2 and list(pair) == sorted(pair) for pair in drawn)
        assert len(set(drawn)) == 10
        assert len(choose(a.Targets(count=99), world, rng)) == 5
        shares = {0.0: 1, 0.2: 1, 0.4: 2, 0.5: 3, 1.0: 5}
        assert {s: len(choose(a.Targets(share=s), world, rng)) for s in shares} == shares
        world.crash(world.runners[2])
        world.remove(world.runners[3], 0.0)
        assert indices(choose("all", world, rng)) == [0, 1, 4]
        assert indices(choose(a.Targets(zone="b"), world, rng)) == [4]
        assert indices(choose(a.Targets(index=(2,)), world, rng)) == [2]

    in_world(town, script)


# -- what ----------------------------------------------------------------------------------------

TWO = {"targets": a.Targets(index=(0, 2))}
ON_SERVERS = [
    (a.Crash(**TWO), {"is_running": False, "is_alive": False}),
    (a.BlackHole(**TWO), {"is_dark": True, "is_alive": False, "is_running": True}),
    (a.BlackHole(heartbeats=True, **TWO), {"is_dark": True, "is_alive": True}),
    (a.Hang(**TWO), {"is_hung": True}),
    (a.Slow(factor=4.0, **TWO), {"factor": 4.0}),
    (a.Slow(factor=4.0, waits=True, **TWO), {"factor": 4.0, "waits": True}),
    (a.Errors(rate=0.25, status=503, **TWO), {"error": (0.25, 503)}),
    (a.Refuse(**TWO), {"is_refusing": True}),
    (a.Gray(share=0.5, **TWO), {"gray": a.Gray(share=0.5, **TWO)}),
]
_SEEN = (
    *("is_running", "is_alive", "is_dark", "is_hung", "is_refusing"),
    *("factor", "waits", "error", "gray"),
)


def state(runner):
    return {name: getattr(runner.server, name) for name in _SEEN}


@pytest.mark.parametrize(("action", "effect"), ON_SERVERS, ids=lambda x: type(x).__name__)
def test_an_action_on_servers_changes_its_targets_alone_and_is_undone(
    town, in_world, until_moment, action, effect
):
    async def script(world):
        before = [state(runner) for runner in world.runners]
        undo = await apply(action, world, Random(1))
        hit = [before[0] | effect, before[1], before[2] | effect, before[3], before[4]]
        assert [state(runner) for runner in world.runners] == hit
        undo()
        undone = [state(runner) for runner in world.runners]
        await until_moment(10.0)
        assert [state(runner) for runner in world.runners] == undone == before
        assert sorted(world.registry.registered) == ["s0", "s1", "s2", "s3", "s4"]

    in_world(town, script)


HEARTBEATS_GO_ON = {a.Hang, a.Slow, a.Errors, a.Refuse, a.Gray}


@pytest.mark.parametrize(
    "action", [action for action, _ in ON_SERVERS], ids=lambda x: type(x).__name__
)
def test_heartbeats_end_or_go_on_as_documented(town, in_world, until_moment, action):
    async def script(world):
        await until_moment(5.0)
        undo = await apply(action, world, Random(1))
        await until_moment(30.0)
        there = "s0" in world.registry.registered
        undo()
        await until_moment(31.0)
        assert "s0" in world.registry.registered
        return there

    lives = type(action) in HEARTBEATS_GO_ON or getattr(action, "heartbeats", False)
    assert in_world(town, script) is lives


def test_a_dead_server_has_left_the_truth_and_comes_back_into_it(town, in_world, until_moment):
    async def script(world):
        await until_moment(5.0)
        undo = await apply(a.Crash(**TWO), world, Random(1))
        await until_moment(7.0)
        undo()
        await until_moment(8.0)
        changes = world.convergence.changes[5:]
        return [(change.instance, change.kind, change.at) for change in changes]

    assert in_world(town, script) == [
        ("s0", "death", 5.0),
        ("s2", "death", 5.0),
        ("s0", "add", 7.0),
        ("s2", "add", 7.0),
    ]


def test_a_server_that_crashes_before_it_registers_does_not_register(
    scenario, in_world, until_moment
):
    async def script(world):
        lift = world.registry.override("outage", "refuse")
        new = world.add_server(world.scenario.service.groups()[0])
        await until_moment(5.0)
        world.crash(new)
        lift()
        await until_moment(50.0)
        return sorted(world.registry.registered)

    assert in_world(scenario(), script) == ["s0", "s1", "s2"]


def test_a_crash_and_restart_within_the_first_heartbeat_leave_one_registration(
    scenario, in_world, until_moment
):
    async def script(world):
        for runner in world.runners:
            world.crash(runner)
            world.restart(runner)
        await until_moment(0.5)
        for runner in world.runners:
            world.crash(runner)
        await until_moment(60.0)
        return sorted(world.registry.registered)

    assert in_world(scenario(), script) == []


def test_flapping_servers_crash_restart_and_end_alive(town, in_world, until_moment):
    async def script(world):
        await until_moment(10.0)
        undo = await apply(
            a.Flap(period=4.0, down=0.25, targets=a.Targets(index=(1,))), world, Random(1)
        )
        server, alive = world.runners[1].server, []
        for quarter in range(12):
            await until_moment(10.5 + quarter)
            alive.append(server.is_alive)
        await until_moment(22.5)
        undo()
        await until_moment(40.0)
        assert server.is_alive
        return alive

    assert in_world(town, script) == [False, True, True, True] * 3


def test_flapping_does_not_restart_servers_that_another_fault_crashed(town, in_world, until_moment):
    async def script(world):
        world.crash(world.runners[1])
        undo = await apply(a.Flap(period=2.0, targets=a.Targets(index=(0, 1))), world, Random(1))
        await until_moment(7.5)
        undo()
        return [runner.server.is_alive for runner in world.runners]

    assert in_world(town, script) == [True, False, True, True, True]


def test_overlapping_faults_of_one_kind_end_one_by_one(town, in_world):
    async def script(world):
        server, rng = world.runners[0].server, Random(1)
        one = {"targets": a.Targets(index=(0,))}
        first = await apply(a.BlackHole(**one), world, rng)
        second = await apply(a.BlackHole(heartbeats=True, **one), world, rng)
        assert (server.is_dark, server.is_alive) == (True, False)
        first()
        # The second found no available server.
        assert not server.is_dark
        second()
        first = await apply(a.Refuse(**one), world, rng)
        second = await apply(a.Refuse(**one), world, rng)
        first()
        assert server.is_refusing
        second()
        return server.is_refusing

    assert in_world(town, script) is False


def test_a_partition_is_cut_and_mended(town, in_world):
    async def script(world):
        undo = await apply(a.Partition(from_="zone:a", to="registry"), world, Random(1))
        there, back = world.runners[0].server.place, world.runners[2].server.place
        assert world.network.cuts(there, world.registry.place)
        assert not world.network.cuts(back, world.registry.place)
        turn = world.registry.turn
        undo()
        assert world.registry.turn > turn
        return world.network.cuts(there, world.registry.place)

    assert in_world(town, script) is False


def test_a_server_cut_off_from_the_registry_lapses_and_comes_back(town, in_world, until_moment):
    async def script(world):
        await until_moment(5.0)
        undo = await apply(a.Partition(from_="server:0", to="registry"), world, Random(1))
        await until_moment(13.5)
        gone = sorted(world.registry.registered)
        undo()
        await until_moment(25.0)
        return gone, sorted(world.registry.registered)

    gone, back = in_world(town, script)
    assert gone == ["s1", "s2", "s3", "s4"]
    assert back == ["s0", *gone]


SKEW = """
[registry]
ttl = 9
heartbeat = 3
sweep = 1
[discovery]
poll_interval_s = 1.0
grace_s = 0.0
[[timeline]]
at = 40
action = "registry_clock_skew"
offset_s = {}
duration = 30
"""
CRASH = "[[timeline]]\nat = 35\naction = 'crash'\ntargets = {index = [0]}\n"


def test_a_registry_whose_clock_jumps_ahead_drops_live_servers_for_a_heartbeat(scenario):
    added = "[[timeline]]\nat = 20\naction = 'add'\n"
    run = simulate(scenario(SKEW.format(20.0) + added, duration=120))
    (change,) = [change for change in run.convergence.changes if change.at >= 20.0]
    # All leases end at the jump; every server registers again at its next heartbeat.
    assert [40.0 <= moment <= 40.0 + 1 + 1 for moment in change.lapsed.values()] == [True]
    assert [moment <= 40.0 + 3 + 1 for moment in change.agreed_at.values()] == [True]
    assert sorted(run.world.registry.registered) == ["s0", "s1", "s2", "s3"]
    assert run.convergence.violations(120.0) == []


@pytest.mark.parametrize(("offset_s", "gone_s"), [(0.0, 9.0), (-20.0, 29.0), (2.0, 7.0)])
def test_a_skewed_clock_moves_the_end_of_a_dead_server_s_lease(scenario, offset_s, gone_s):
    run = simulate(scenario(SKEW.format(offset_s) + CRASH, duration=120))
    death = next(change for change in run.convergence.changes if change.kind == "death")
    (took_s,) = {agreed - death.at for agreed in death.agreed_at.values()}
    # The last heartbeat was up to 3 s before the crash; the sweep and the poll take up to 1 s each.
    assert gone_s - 3.0 <= took_s <= gone_s + 2.0
    assert run.convergence.violations(120.0) == []


def test_added_servers_come_one_by_one_with_their_zone_and_weight(town, in_world, until_moment):
    async def script(world):
        add = a.Add(count=3, every=10.0, zone="c", weight=0.0)
        world.spawn(apply(add, world, Random(1)))
        counts = []
        for moment in (0.5, 10.5, 20.5):
            await until_moment(moment)
            counts.append(len(world.runners))
        new = world.runners[5].server.instance
        assert (new.zone, new.weight) == ("c", 0.0)
        # An instance of weight 0 is in no view, so no client is judged by it.
        world.convergence.client_started(0)
        world.crash(world.runners[5])
        assert world.convergence.changes[-1].agreed_at == {}
        return counts, sorted(world.registry.registered)

    counts, registered = in_world(town, script)
    assert counts == [6, 7, 8]
    assert registered == [f"s{number}" for number in range(8)]


def test_a_removed_server_deregisters_works_on_and_stops(town, in_world, until_moment):
    async def script(world):
        await until_moment(5.0)
        await apply(a.Remove(targets=a.Targets(index=(0,)), drain=3.0), world, Random(1))
        await until_moment(5.5)
        runner = world.runners[0]
        assert "s0" not in world.registry.registered
        assert runner.server.is_alive
        assert not runner.is_available
        await until_moment(8.5)
        assert not runner.server.is_alive
        world.restart(runner)
        return runner.server.is_alive, runner.server.ended_at

    assert in_world(town, script) == (False, 8.0)


@pytest.mark.parametrize(
    ("order", "counts"), [("add_first", [6, 6, 6, 5]), ("remove_first", [4, 4, 4, 5])]
)
def test_a_rolling_deploy_replaces_one_after_the_other(town, in_world, until_moment, order, counts):
    async def script(world):
        await until_moment(5.0)
        deploy = a.Replace(
            targets=a.Targets(index=(0, 1, 2)), every=10.0, order=order, same_address=True
        )
        world.spawn(apply(deploy, world, Random(1)))
        seen = []
        for moment in (5.5, 15.5, 25.5, 35.5):
            await until_moment(moment)
            seen.append(len(world.registry.registered))
        olds, news = world.runners[:3], world.runners[5:]
        for old, new in zip(olds, news, strict=True):
            assert old.server.instance.address == new.server.instance.address
            assert world.route(old.server.instance) is new.server
            assert (new.group, old.server.is_alive) == (old.group, False)
        return seen

    assert in_world(town, script) == counts


def test_servers_are_replaced_once_and_crashed_ones_do_not_return(town, in_world, until_moment):
    async def script(world):
        rng = Random(1)
        deploy = a.Replace(targets=a.Targets(index=(0, 1)), every=5.0, same_address=True)
        world.spawn(apply(deploy, world, rng))
        world.spawn(apply(deploy, world, rng))
        await until_moment(1.0)
        world.crash(world.runners[1])
        await until_moment(30.0)
        world.restart(world.runners[1])
        return [runner.is_available for runner in world.runners]

    assert in_world(town, script) == [False, False, True, True, True, True, True]


def test_load_is_for_all_clients_or_one_group(scenario):
    text = """
[[clients]]
name = "web"
arrivals = {kind = "constant", rate = 10}
[[clients]]
name = "batch"
arrivals = {kind = "constant", rate = 10}
[[timeline]]
at = 20
duration = 10
action = "load"
factor = 5
"""
    assert simulate(scenario(text, duration=50)).recorder.begun == pytest.approx(1800, abs=4)
    one = simulate(scenario(text + 'clients = "web"', duration=50))
    assert one.recorder.begun == pytest.approx(1400, abs=4)


@pytest.mark.parametrize(
    ("action", "name", "value"),
    [
        (a.RegistryOutage(how="silent"), "outage", "silent"),
        (a.RegistryStale(), "stale", True),
        (a.RegistryWrong(kind="partial", share=0.1), "wrong", ("partial", 0.1)),
    ],
    ids=lambda x: type(x).__name__,
)
def test_overlapping_registry_faults_end_with_the_last_one(town, in_world, action, name, value):
    async def script(world):
        before = getattr(world.registry, name)
        first = await apply(action, world, Random(1))
        second = await apply(action, world, Random(1))
        assert getattr(world.registry, name) == value
        first()
        assert getattr(world.registry, name) == value
        second()
        assert getattr(world.registry, name) == before

    in_world(town, script)


def test_a_registry_restarted_empty_has_forgotten_all(town, in_world):
    async def script(world):
        assert await apply(a.RegistryRestartEmpty(), world, Random(1)) is None
        return world.registry.registered

    assert in_world(town, script) == {}


def test_an_unknown_action_raises(town, in_world):
    async def script(world):
        with pytest.raises(TypeError, match="no action 'dance'"):
            await apply("dance", world, Random(1))

    in_world(town, script)


# -- when ----------------------------------------------------------------------------------------

BAD_DAY = """
[scenario]
duration = 200
heal = 60
[service]
servers = 4
{}
"""
EVERYTHING = "\n".join(
    f"[[timeline]]\nat = {20 + number}\n{action}"
    for number, action in enumerate(
        [
            "action = 'crash'",
            "action = 'black_hole'",
            "action = 'black_hole'\nheartbeats = true",
            "action = 'hang'",
            "action = 'slow'\nfactor = 9",
            "action = 'errors'",
            "action = 'refuse'",
            "action = 'flap'\nperiod = 7",
            "action = 'gray'\nshare = 0.5",
            "action = 'partition'\nfrom = 'clients'\nto = 'servers'",
            "action = 'registry_clock_skew'\noffset_s = 5",
            "action = 'registry_outage'",
            "action = 'registry_stale'",
            "action = 'registry_wrong'\nkind = 'garbage'",
        ]
    )
)


def test_healing_undoes_everything(scenario):
    run = simulate(scenario(BAD_DAY.format(EVERYTHING)))
    world = run.world
    well = {
        "is_running": True,
        "is_alive": True,
        "is_dark": False,
        "is_hung": False,
        "is_refusing": False,
        "factor": 1.0,
        "waits": False,
        "error": None,
        "gray": None,
    }
    assert [state(runner) for runner in world.runners] == [well] * 4
    assert sorted(world.registry.registered) == ["s0", "s1", "s2", "s3"]
    assert (world.registry.outage, world.registry.stale, world.registry.wrong) == (
        None,
        False,
        None,
    )
    assert world.network.partitions == []
    assert world.registry.clock_skew_s == 0.0
    assert [event.label for event in run.events][-1] == "heal"
    assert {event.until for event in run.events[:-1]} == {60.0}
    assert sum(run.recorder.bad[150:]) == 0


def test_an_event_ends_after_its_duration_and_healing_ends_it_once(scenario):
    text = "[[timeline]]\nat = 10\nduration = 5\naction = 'slow'\nfactor = 2"
    run = simulate(scenario(BAD_DAY.format(text)))
    assert [(event.at, event.until, event.label) for event in run.events] == [
        (10.0, 15.0, "slow"),
        (60.0, None, "heal"),
    ]


def churned(scenario, text, **options):
    run = simulate(scenario(f"[[churn]]\n{text}", **options))
    return [event.at for event in run.events if event.label != "heal"]


def test_churn_comes_at_its_rate_at_moments_of_its_own(scenario):
    text = "every = 0.5\ndo = {action = 'slow', factor = 2, duration = 1}"
    found = churned(scenario, text, duration=2000)
    # Five standard deviations of a Poisson number of mean 4000.
    assert len(found) == pytest.approx(4000, abs=5 * 4000**0.5)
    gaps = [later - sooner for sooner, later in pairwise(found)]
    assert sum(gap > 1.0 for gap in gaps) / len(gaps) == pytest.approx(0.1353, abs=0.03)


def test_churn_that_takes_its_time_does_not_hold_up_the_next(scenario):
    text = "every = 10\ndo = {action = 'add', count = 2, every = 90}"
    assert len(churned(scenario, text, duration=1000)) > 60


def test_churn_has_bounds_in_time_and_number(scenario):
    slow = "do = {action = 'slow', factor = 2, duration = 1}"
    found = churned(scenario, f"every = 1\nfrom = 20\nuntil = 40\n{slow}")
    assert found
    assert min(found) >= 20
    assert max(found) <= 40
    assert len(churned(scenario, f"every = 1\nat_most = 7\n{slow}")) == 7
    healed = "[scenario]\nduration = 100\nwarmup = 30\nheal = 50\n"
    found = churned(scenario, f"every = 1\nuntil = 90\n{slow}\n{healed}")
    assert found
    assert min(found) >= 30
    assert max(found) <= 50


def test_a_director_applies_actions_in_order(scenario, in_world, until_moment):
    text = "\n".join(
        f"[[timeline]]\nat = {at}\naction = 'registry_restart_empty'" for at in (3, 1, 2)
    )

    async def script(world):
        director = Director(world)
        director.start()
        await until_moment(5.0)
        return [event.at for event in director.events]

    assert in_world(scenario(text), script) == [1.0, 2.0, 3.0]


def test_a_server_that_leaves_before_its_first_heartbeat_deregisters(town, in_world, until_moment):
    async def script(world):
        world.remove(world.runners[0], 0.0)
        await until_moment(0.001)
        assert "s0" not in world.registry.registered

    in_world(town, script)


def test_a_server_may_leave_while_the_registry_is_away(town, in_world, until_moment):
    async def script(world):
        world.registry.override("outage", "refuse")
        world.remove(world.runners[0], 0.0)
        await until_moment(0.001)
        assert "s0" in world.registry.registered

    in_world(town, script)
