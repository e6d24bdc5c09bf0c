"""The ZooKeeper adapter and a real ZooKeeper: watches, sessions, ownership, rights."""

from __future__ import annotations

import asyncio
import json
import logging
from contextlib import aclosing
from uuid import uuid4

import pytest
from kazoo.security import make_digest_acl

from trimtab.errors import (
    ClosedError,
    NotRegisteredError,
    RegistryAnswerError,
    RegistryDeniedError,
    RegistryUnavailableError,
)
from trimtab.instance import Instance, Status
from trimtab.registration import register
from trimtab.registries import connect
from trimtab.registries.zookeeper import reader as reader_module
from trimtab.testing.registry_harness import until
from zookeeper_kit import expire, our_threads, session_of

pytestmark = [pytest.mark.real, pytest.mark.anyio]
DEADLINE_S = 30
A = Instance(id="a", host="10.0.0.1", port=81)
B = Instance(id="b", host="10.0.0.2", port=82)


@pytest.fixture
def base():
    return f"/test-{uuid4().hex[:8]}"


@pytest.fixture
def plain(zookeeper):
    """Another client than ours."""
    with zookeeper.plain_client() as client:
        yield client


@pytest.fixture
async def open_(zookeeper, base):
    """Connect to this test's base; closed at the end."""
    opened = []

    def open_(options="", user="", address=zookeeper.address):
        opened.append(connect(f"zk://{user}{address}{base}?{options}"))
        return opened[-1]

    yield open_
    for registry in opened:
        await registry.aclose()


def node_of(instance):
    fields = {"id": instance.id, "address": instance.host, "port": instance.port}
    return json.dumps(fields).encode()


async def lists(watch, *instances):
    """Wait until a watch lists these and no others."""
    async with asyncio.timeout(DEADLINE_S):
        async for listing in watch:
            if set(listing.instances) == set(instances):
                return listing
    raise AssertionError("the watch has ended")


# -- watches ---------------------------------------------------------------------------------


async def test_a_watch_lives_through_the_comings_and_goings_of_its_node(open_, plain, base):
    """Missing base, missing node, a node deleted and made again: a ChildrenWatch would be dead."""
    async with aclosing(open_("recheck=60s").watch("orders")) as watch:
        assert (await anext(watch)).instances == ()
        for instance in (A, B):
            await asyncio.to_thread(
                plain.create, f"{base}/orders/{instance.id}", node_of(instance), makepath=True
            )
            await lists(watch, instance)
            await asyncio.to_thread(plain.delete, f"{base}/orders", recursive=True)
            await lists(watch)


async def test_a_child_whose_data_change_is_seen_though_the_list_is_the_same(open_, plain, base):
    registry = open_()
    await registry.register("orders", A, ttl_s=4)
    async with aclosing(open_("recheck=60s").watch("orders")) as watch:
        await lists(watch, A)
        await asyncio.to_thread(plain.set, f"{base}/orders/a", node_of(A.with_(port=99)))
        await lists(watch, A.with_(port=99))


async def test_unchanged_nodes_are_not_read_again(open_, plain, base, monkeypatch):
    for number in range(3):
        instance = A.with_(id=f"i{number}", port=1 + number)
        plain.create(f"{base}/orders/i{number}", node_of(instance), makepath=True)
    registry, asked = open_("recheck=60s"), []
    async with aclosing(registry.watch("orders")) as watch:
        assert len((await anext(watch)).instances) == 3
        session = session_of(registry)
        ask = session.ask

        async def counted(question, *arguments, **options):
            asked.append(arguments[0].removeprefix(base))
            return await ask(question, *arguments, **options)

        monkeypatch.setattr(session, "ask", counted)
        await asyncio.to_thread(plain.set, f"{base}/orders/i1", node_of(A))
        await anext(watch)
        assert asked == ["/orders/i1"]
        asked.clear()
        await asyncio.to_thread(plain.create, f"{base}/orders/new", node_of(B))
        await anext(watch)
        assert asked == ["/orders", "/orders/new"]


async def test_a_thousand_children_are_read_and_followed(open_, plain, base):
    plain.ensure_path(f"{base}/orders")
    wanted = [A.with_(id=f"i{n}", port=1 + n) for n in range(1000)]
    results = [plain.create_async(f"{base}/orders/{each.id}", node_of(each)) for each in wanted]
    for result in results:
        result.get(timeout=DEADLINE_S)
    async with aclosing(open_("timeout=20s").watch("orders")) as watch:
        await lists(watch, *wanted)
        await asyncio.to_thread(plain.delete, f"{base}/orders/i500")
        await lists(watch, *wanted[:500], *wanted[501:])


async def test_watches_that_ended_leave_one_of_a_kind_behind(open_, plain, base, zookeeper):
    plain.create(f"{base}/orders/a", node_of(A), makepath=True)
    before = zookeeper.watches()
    registry = open_("recheck=60s")
    for _ in range(10):
        async with aclosing(registry.watch("orders")) as watch:
            await anext(watch)
    assert zookeeper.watches() - before <= 1
    client = session_of(registry).client
    assert [len(each) for each in client._data_watchers.values()] == [1]
    assert [len(each) for each in client._child_watchers.values()] == [1]


async def test_everything_is_read_again_now_and_then_unasked(open_, plain, base):
    plain.create(f"{base}/orders/a", node_of(A), makepath=True)
    async with asyncio.timeout(DEADLINE_S), aclosing(open_("recheck=50ms").watch("orders")) as all_:
        versions = [(await anext(all_)).version for _ in range(3)]
    assert len(set(versions)) == 1


async def test_a_polled_reading_leaves_no_watch(open_, plain, base, zookeeper):
    plain.create(f"{base}/orders/a", node_of(A), makepath=True)
    registry = open_("poll")
    await registry.fetch("orders")
    client = session_of(registry).client
    assert not client._data_watchers
    assert not client._child_watchers


async def test_a_node_with_children_of_its_own_is_no_instance(open_, plain, base):
    plain.create(f"{base}/orders/a", node_of(A), makepath=True)
    plain.create(f"{base}/orders/nested/b", node_of(B), makepath=True)
    listing = await open_().fetch("orders")
    assert (listing.instances, listing.skipped) == ((A,), ())


async def test_too_many_children_are_refused(open_, plain, base, monkeypatch):
    monkeypatch.setattr(reader_module, "MAX_CHILDREN", 1)
    for instance in (A, B):
        plain.create(f"{base}/orders/{instance.id}", node_of(instance), makepath=True)
    with pytest.raises(RegistryAnswerError, match="2 children; at most 1"):
        await open_().fetch("orders")


async def test_a_base_without_nodes_has_no_services(open_):
    assert await open_().services() == []


async def test_dubbos_providers_are_followed(open_, plain, base):
    name = "rest%3A%2F%2F10.0.0.1%3A20880%2Fa.Greeter%3Fversion%3D1.0%26weight%3D50"
    plain.create(f"{base}/a.Greeter/providers/{name}", b"10.0.0.1", makepath=True)
    plain.ensure_path(f"{base}/metadata")
    registry = open_("dubbo")
    assert await registry.services() == ["a.Greeter"]
    async with aclosing(registry.watch("a.Greeter:1.0")) as watch:
        (found,) = (await anext(watch)).instances
        assert (found.address, found.weight) == ("10.0.0.1:20880", 50.0)
        await asyncio.to_thread(plain.delete, f"{base}/a.Greeter/providers/{name}")
        await lists(watch)


# -- sessions --------------------------------------------------------------------------------


async def test_an_expired_session_is_begun_anew_and_what_it_held_registered_again(open_, zookeeper):
    registry, watcher = open_(), open_("recheck=60s")
    await registry.register("orders", A, ttl_s=2)
    async with aclosing(watcher.watch("orders")) as watch:
        await lists(watch, A)
        await expire(zookeeper, registry, 2)
        await expire(zookeeper, watcher)
        await lists(watch)
        with pytest.raises(NotRegisteredError):
            await registry.heartbeat("orders", A)
        await registry.register("orders", A, ttl_s=2)
        await lists(watch, A)


async def test_a_registration_comes_back_whatever_happens_to_its_node(
    open_, plain, base, zookeeper
):
    registry = open_()
    async with (
        register(registry, "orders", A, ttl_s=2, heartbeat_s=0.05),
        aclosing(open_("recheck=60s").watch("orders")) as watch,
    ):
        await lists(watch, A)
        # Nobody tells the one whose node it is.
        await asyncio.to_thread(plain.delete, f"{base}/orders/a")
        await lists(watch)
        await lists(watch, A)
        await expire(zookeeper, registry, 2)
        await lists(watch)
        await lists(watch, A)


async def test_a_successor_takes_over_what_a_crash_has_left_before_it_vanishes(
    open_, plain, base, zookeeper
):
    crashed, successor = open_(), open_()
    await crashed.register("orders", A, ttl_s=4)
    async with aclosing(open_("recheck=60s").watch("orders")) as watch:
        await lists(watch, A)
        moved = A.with_(port=99)
        await successor.register("orders", moved, ttl_s=4)
        assert len((await lists(watch, moved)).instances) == 1
        await expire(zookeeper, crashed, 4)
        await successor.heartbeat("orders", moved)
        assert (await open_().fetch("orders")).instances == (moved,)


async def test_a_replaced_registrant_notices_and_deletes_nothing(open_):
    old, new = open_(), open_()
    await old.register("orders", A, ttl_s=4)
    await new.register("orders", A, ttl_s=4)
    with pytest.raises(NotRegisteredError, match="not ours"):
        await old.heartbeat("orders", A)
    await old.deregister("orders", A)
    assert (await new.fetch("orders")).instances == (A,)
    await new.heartbeat("orders", A)


async def test_a_node_made_by_hand_is_taken_over(open_, plain, base):
    plain.create(f"{base}/orders/a", b"by hand", makepath=True)
    registry = open_()
    await registry.register("orders", A, ttl_s=4)
    await registry.heartbeat("orders", A)
    assert plain.exists(f"{base}/orders/a").ephemeralOwner == session_of(registry, 4).id


async def test_another_program_may_deregister_what_it_did_not_register(open_):
    await open_().register("orders", A, ttl_s=4)
    await open_().deregister("orders", A)
    assert (await open_().fetch("orders")).instances == ()


async def test_a_heartbeat_carries_what_has_changed(open_, plain, base):
    registry = open_()
    await registry.register("orders", A, ttl_s=4)
    written = plain.get(f"{base}/orders/a")[1].version
    await registry.heartbeat("orders", A)
    assert plain.get(f"{base}/orders/a")[1].version == written
    draining = A.with_(status=Status.DRAINING, weight=0.5)
    await registry.heartbeat("orders", draining)
    assert (await registry.fetch("orders")).instances == (draining,)
    await registry.heartbeat("orders", draining)
    assert plain.get(f"{base}/orders/a")[1].version == written + 1


async def test_each_ttl_has_its_own_session_and_aclose_ends_them_all(open_, zookeeper):
    before, registry = zookeeper.clients(), open_("session=4s")
    await registry.register("orders", A, ttl_s=4)
    await registry.fetch("orders")
    assert len(our_threads()) == 3
    await registry.register("orders", B, ttl_s=2)
    assert len(our_threads()) == 6
    reader = open_()
    async with aclosing(reader.watch("orders")) as watch:
        await lists(watch, A, B)
        await registry.aclose()
        await lists(watch)
    await reader.aclose()
    assert our_threads() == []
    assert zookeeper.clients() == before


async def test_ids_of_any_shape_live_through_their_paths(open_):
    registry = open_()
    for id_ in ("[::1]:80", "a/b?c", "ü%", "..", "a\nb"):
        instance = A.with_(id=id_)
        await registry.register("orders", instance, ttl_s=4)
        await registry.heartbeat("orders", instance)
        assert (await registry.fetch("orders")).instances == (instance,)
        await registry.deregister("orders", instance)
        assert (await registry.fetch("orders")).instances == ()


# -- loops, threads, processes ---------------------------------------------------------------


def test_loops_come_and_go_over_one_registry(zookeeper, base):
    """The first loop ends without closing anything; the second stops what it left."""
    registry = connect(f"{zookeeper.url}{base}")

    async def use():
        await registry.register("orders", A, ttl_s=4)
        await registry.heartbeat("orders", A)
        return (await registry.fetch("orders")).instances

    async def use_and_close():
        found = await use()
        await registry.aclose()
        return found

    assert asyncio.run(use()) == (A,)
    left = our_threads()
    assert len(left) == 6
    assert asyncio.run(use_and_close()) == (A,)
    for thread in left:
        thread.join(DEADLINE_S)
    assert our_threads() == []


async def test_a_closed_registry_says_so_to_its_watches_too(open_):
    registry = open_("recheck=60s")
    watch = registry.watch("orders")
    await anext(watch)
    waiting = asyncio.ensure_future(anext(watch))
    await registry.aclose()
    for asked in (waiting, registry.fetch("orders")):
        with pytest.raises(ClosedError, match="is closed"):
            await asked


async def test_a_question_under_way_ends_with_the_registry(open_):
    registry = open_("timeout=20s", address="127.0.0.1:9")
    asked = asyncio.create_task(registry.fetch("orders"))
    async with asyncio.timeout(DEADLINE_S):
        while not our_threads():  # noqa: ASYNC110 - threads do not announce themselves
            await asyncio.sleep(0.01)
    await registry.aclose()
    with pytest.raises(ClosedError):
        await asked
    assert our_threads() == []


# -- trouble ---------------------------------------------------------------------------------


async def test_an_ensemble_out_of_reach_is_unavailable_and_the_reason_is_told(open_, caplog):
    caplog.set_level(logging.INFO)
    registry = open_("timeout=300ms", address="127.0.0.1:9")
    with pytest.raises(RegistryUnavailableError, match=r"within 0\.3 s .*refused"):
        await registry.fetch("orders")
    assert not [record for record in caplog.records if record.levelno > logging.INFO]


async def test_what_is_no_zookeeper_is_unavailable(open_, nginx):
    registry = open_("timeout=500ms", address=f"127.0.0.1:{nginx.port}")
    with pytest.raises(RegistryUnavailableError, match="no answer within"):
        await registry.fetch("orders")


async def test_a_frozen_server_is_unavailable_in_bounded_time_and_comes_back(own_zookeeper):
    registry = connect(f"{own_zookeeper.url}?timeout=300ms&session=4s")
    await registry.register("orders", A, ttl_s=4)
    own_zookeeper.freeze()
    asked = [registry.fetch("orders") for _ in range(300)]
    results = await asyncio.gather(*asked, registry.heartbeat("orders", A), return_exceptions=True)
    assert {type(each) for each in results} == {RegistryUnavailableError}
    own_zookeeper.thaw()
    await until(registry, "orders", lambda each: each.instances == (A,), DEADLINE_S)
    await registry.aclose()


async def test_a_task_that_waits_for_a_lost_session_gets_the_next(own_zookeeper):
    registry = connect(f"{own_zookeeper.url}?timeout=20s&session=0.5s")
    await registry.register("orders", A, ttl_s=0.5)
    first = session_of(registry, 0.5)
    own_zookeeper.kill()
    async with asyncio.timeout(DEADLINE_S):
        while first.client.connected:  # noqa: ASYNC110 - its thread does not announce itself
            await asyncio.sleep(0.02)
        waiting = [asyncio.create_task(registry.fetch("orders"))]
        while not first.is_over(0.5):  # noqa: ASYNC110 - nor does time
            await asyncio.sleep(0.02)
        waiting.append(asyncio.create_task(registry.fetch("orders")))
        await asyncio.sleep(0)
        assert session_of(registry, 0.5) is not first
    own_zookeeper.start()
    for listing in await asyncio.gather(*waiting):
        assert listing.skipped == ()
    await registry.aclose()
    assert our_threads() == []


async def test_closing_does_not_wait_for_a_server_that_hangs(own_zookeeper):
    """kazoo by itself waits for a whole session, and then without any bound."""
    registry = connect(f"{own_zookeeper.url}?timeout=300ms&session=1000s")
    await registry.fetch("orders")
    own_zookeeper.freeze()
    session = session_of(registry, 1000)
    async with asyncio.timeout(DEADLINE_S):
        while session.client.connected:  # noqa: ASYNC110 - its thread does not announce itself
            await asyncio.sleep(0.05)
        await registry.aclose()
    assert our_threads() == []


async def test_a_restart_without_data_is_a_reset_and_heals_by_itself(own_zookeeper):
    """Servers that lost their data refuse, for ever, the clients that have seen them."""
    registry = connect(f"{own_zookeeper.url}?timeout=300ms&session=1s")
    for port in range(1, 20):
        await registry.register("orders", A.with_(port=port), ttl_s=1)
    assert not (await registry.fetch("orders")).reset
    own_zookeeper.kill()
    own_zookeeper.wipe()
    own_zookeeper.start()
    found = None
    async with asyncio.timeout(DEADLINE_S):
        while found is None:
            try:
                found = await registry.fetch("orders")
            except RegistryUnavailableError:
                continue
    assert (found.instances, found.reset) == ((), True)
    assert not (await registry.fetch("orders")).reset
    async with asyncio.timeout(DEADLINE_S):
        while True:
            try:
                await registry.register("orders", A, ttl_s=1)
                break
            except RegistryUnavailableError:
                continue
    assert (await registry.fetch("orders")).instances == (A,)
    await registry.aclose()
    assert our_threads() == []


# -- rights ----------------------------------------------------------------------------------


async def test_a_node_that_we_may_not_read_is_denied(open_, plain, base):
    acl = [make_digest_acl("root", "root", all=True)]
    plain.ensure_path(base)
    plain.create(f"{base}/orders", b"", acl=acl)
    for user in ("", "root:wrong@"):
        with pytest.raises(RegistryDeniedError, match="NoAuthError: check the user"):
            await open_(user=user).fetch("orders")
        with pytest.raises(RegistryDeniedError, match="NoAuthError"):
            await open_(user=user).register("orders", A, ttl_s=4)
    trusted = open_(user="root:root@")
    await trusted.register("orders", A, ttl_s=4)
    assert (await trusted.fetch("orders")).instances == (A,)


async def test_all_may_read_nodes_that_only_their_creator_may_write(open_):
    owner, stranger = open_("acl=creator", user="me:s3cr3t@"), open_(user="you:other@")
    await owner.register("orders", A, ttl_s=4)
    assert (await stranger.fetch("orders")).instances == (A,)
    for asked in (
        stranger.register("orders", A, ttl_s=4),
        stranger.register("orders", B, ttl_s=4),
        stranger.deregister("orders", A),
    ):
        with pytest.raises(RegistryDeniedError) as caught:
            await asked
        assert "other" not in str(caught.value)
    await owner.heartbeat("orders", A)


async def test_no_password_is_logged(open_, caplog):
    caplog.set_level(1)
    for options in ("", "poll"):
        registry = open_(options, user="me:s3cr3t@")
        await registry.fetch("orders")
        await registry.aclose()
    assert caplog.records
    assert "s3cr3t" not in caplog.text
