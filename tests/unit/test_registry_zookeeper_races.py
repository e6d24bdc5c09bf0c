"""What other clients do between two questions of ours, played by a session that says so."""

from __future__ import annotations

import asyncio
import threading
from types import SimpleNamespace

import pytest
from kazoo.exceptions import (
    BadVersionError,
    ConnectionLoss,
    NoAuthError,
    NodeExistsError,
    NoNodeError,
    RolledBackError,
)
from kazoo.protocol.states import EventType

from trimtab.errors import (
    ClosedError,
    NotRegisteredError,
    RegistryDeniedError,
    RegistryUnavailableError,
)
from trimtab.instance import Instance
from trimtab.registries.zookeeper import ZooKeeperSettings
from trimtab.registries.zookeeper.ensemble import Sessions, SessionsPerLoop
from trimtab.registries.zookeeper.reader import Folder
from trimtab.registries.zookeeper.session import Session
from trimtab.registries.zookeeper.writer import ZooKeeperWriter, put, remove

A = Instance(id="a", host="10.0.0.1", port=80)
OURS, THEIRS, ABSENT = SimpleNamespace(ephemeralOwner=1), SimpleNamespace(ephemeralOwner=2), None
TAKEN_OVER = [True, "/a"]
SETTINGS = ZooKeeperSettings(url="zk://h:1/s", hosts="h:1", base="/s")


class Scripted:
    """A session and its client: answers each question as the test says, and notes it."""

    id = 1

    def __init__(self, *answers):
        self.answers, self.asked = list(answers), []
        self.client = self

    def __getattr__(self, name):
        return name

    def on_event(self, event):
        raise AssertionError("nothing is watched here")

    def transaction(self):
        return SimpleNamespace(
            delete=lambda path: None,
            create=lambda path, data, ephemeral: None,
            commit_async="commit_async",
        )

    async def ask(self, question, *arguments, **options):
        self.asked.append(question.removesuffix("_async"))
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


class Ensemble:
    def __init__(self, *answers):
        self.session = Scripted(*answers)

    async def ask(self, what, question, *, session_s=None):
        return await question(self.session)


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("answers", "asked"),
    [
        ([NodeExistsError(), OURS, None], "create exists set"),
        ([NodeExistsError(), OURS, NoNodeError(), "/a"], "create exists set create"),
        ([NodeExistsError(), THEIRS, TAKEN_OVER], "create exists commit"),
        (
            [NodeExistsError(), THEIRS, [NoNodeError(), RolledBackError()], "/a"],
            "create exists commit create",
        ),
        (
            [NodeExistsError(), ABSENT, [NoNodeError()], NodeExistsError(), THEIRS, TAKEN_OVER],
            "create exists commit create exists commit",
        ),
        (
            [NodeExistsError(), THEIRS, [RolledBackError(), NodeExistsError()], "/a"],
            "create exists commit create",
        ),
    ],
)
async def test_a_node_is_put_in_place_whatever_others_do_meanwhile(answers, asked):
    session = Scripted(*answers)
    await put(session, "/a", b"")
    assert " ".join(session.asked) == asked
    assert session.answers == []


@pytest.mark.anyio
async def test_a_node_that_others_keep_changing_is_given_up():
    session = Scripted(*[NodeExistsError(), THEIRS, [BadVersionError()]] * 9)
    with pytest.raises(RegistryUnavailableError, match="changed by others again and again"):
        await put(session, "/a", b"")


@pytest.mark.anyio
@pytest.mark.parametrize("failures", [[NoAuthError(), RolledBackError()], [ConnectionLoss()]])
async def test_a_take_over_that_is_denied_or_cut_off_is_an_error(failures):
    with pytest.raises(type(failures[0])):
        await put(Scripted(NodeExistsError(), THEIRS, failures), "/a", b"")


@pytest.mark.anyio
async def test_a_node_that_went_before_it_was_removed_is_no_error():
    await remove(Scripted(OURS, NoNodeError()), "/a", only_ours=True)
    await remove(Scripted(NoNodeError()), "/a", only_ours=False)


@pytest.mark.anyio
async def test_the_owner_of_a_node_is_unknown_after_a_broken_connection():
    session = Scripted(OURS)
    session.id = None
    with pytest.raises(ConnectionLoss):
        await remove(session, "/a", only_ours=True)


@pytest.mark.anyio
async def test_a_node_that_goes_under_a_heartbeat_is_not_registered():
    ensemble = Ensemble("/a", OURS, NoNodeError())
    writer = ZooKeeperWriter(SETTINGS, ensemble)
    await writer.register("orders", A, ttl_s=2)
    with pytest.raises(NotRegisteredError):
        await writer.heartbeat("orders", A.with_(weight=2))


def stat(**fields):
    return SimpleNamespace(czxid=1, pzxid=1, mzxid=1, numChildren=0, **fields)


@pytest.mark.anyio
async def test_a_child_that_goes_between_the_list_and_its_data_is_left_out():
    session = Scripted("/s", (["a", "b"], stat()), NoNodeError(), (b"B", stat()))
    folder = Folder("/s", with_data=True)
    await folder.read(session, None, watch=False)
    assert folder.nodes == {"b": b"B"}


@pytest.mark.anyio
async def test_a_node_that_comes_between_two_questions_is_seen():
    session = Scripted("/s", NoNodeError(), stat(), (["a"], stat()), (b"A", stat()))
    folder = Folder("/s", with_data=True)
    await folder.read(session, None, watch=True)
    assert folder.nodes == {"a": b"A"}
    assert session.asked == ["sync", "get_children", "exists", "get_children", "get"]


@pytest.mark.anyio
async def test_a_node_without_data_is_an_empty_one():
    folder = Folder("/s", with_data=True)
    await folder.read(Scripted("/s", (["a"], stat()), (None, stat())), None, watch=False)
    assert folder.nodes == {"a": b""}


@pytest.mark.anyio
async def test_an_interrupted_reading_begins_again():
    folder = Folder("/s", with_data=True)
    session = Scripted("/s", (["a", "b"], stat()), (b"A", stat()), (b"B", stat()))
    await folder.read(session, None, watch=False)
    with pytest.raises(ConnectionLoss):
        await folder.read(Scripted(ConnectionLoss()), {"/s/a"}, watch=False)
    again = Scripted("/s", (["b"], stat()), (b"C", stat()))
    await folder.read(again, {"/s/a"}, watch=False)
    assert again.asked == ["sync", "get_children", "get"]
    assert folder.nodes == {"b": b"C"}


@pytest.mark.anyio
async def test_a_child_with_children_is_no_instance():
    folder = Folder("/s", with_data=True)
    nested = SimpleNamespace(czxid=1, pzxid=1, mzxid=1, numChildren=1)
    session = Scripted("/s", (["a", "dir"], stat()), (b"A", stat()), (b"", nested))
    await folder.read(session, None, watch=False)
    await folder.read(Scripted((b"B", stat())), {"/s/a"}, watch=False)
    assert folder.nodes == {"a": b"B"}


class Result:
    """An answer of kazoo's that comes when, and as often as, the test says."""

    exception, value = None, "value"

    def rawlink(self, callback):
        self.callback = callback


class IdleClient:
    """A kazoo client that is connected and does nothing."""

    connected, client_state, client_id = True, "CONNECTED", (1, b"")
    handler = SimpleNamespace(latest=SimpleNamespace(is_alive=lambda: True), cut=lambda: None)
    logger = SimpleNamespace(last="", debug=lambda *_: None)

    def add_listener(self, listener):
        self.listener = listener

    def remove_listener(self, listener):
        self.listener = None

    def start_async(self):
        pass

    def stop(self):
        raise RuntimeError("the writer does not stop")


@pytest.mark.anyio
async def test_a_question_that_kazoo_fails_twice_is_answered_once():
    session, result = Session(IdleClient(), lambda path: None), Result()
    asked = asyncio.ensure_future(session.ask(lambda: result))
    await asyncio.sleep(0)
    result.callback(result)
    result.callback(result)
    assert await asked == "value"
    await asyncio.sleep(0)
    assert session._slots._value == 100


@pytest.mark.anyio
async def test_a_question_given_up_frees_its_place_when_its_answer_comes():
    session, result = Session(IdleClient(), lambda path: None), Result()
    asked = asyncio.ensure_future(session.ask(lambda: result))
    await asyncio.sleep(0)
    asked.cancel()
    await asyncio.gather(asked, return_exceptions=True)
    assert session._slots._value == 99
    result.callback(result)
    await asyncio.sleep(0)
    assert session._slots._value == 100


@pytest.mark.anyio
async def test_a_question_that_kazoo_refuses_holds_no_place():
    session = Session(IdleClient(), lambda path: None)

    def refuse():
        raise TypeError("a path must be text")

    with pytest.raises(TypeError):
        await session.ask(refuse)
    session.client.connected = False
    with pytest.raises(ConnectionLoss):
        await session.ask(refuse)
    assert session._slots._value == 100


@pytest.mark.anyio
async def test_only_events_of_nodes_are_reported():
    heard = []
    session = Session(IdleClient(), heard.append)
    session.on_event(SimpleNamespace(type=EventType.NONE, path=None))
    session.on_event(SimpleNamespace(type=EventType.CHILD, path="/a"))
    await asyncio.sleep(0)
    assert heard == ["/a"]


@pytest.mark.anyio
async def test_a_client_that_does_not_stop_is_left_behind():
    session = Session(IdleClient(), lambda path: None)
    await session.aclose()
    assert session.client.listener is None


@pytest.mark.anyio
async def test_a_child_process_leaves_its_parents_sessions_alone(monkeypatch):
    sessions = Sessions(None)
    session = Session(IdleClient(), lambda path: None)
    sessions._open[1.0] = session
    monkeypatch.setattr("os.getpid", lambda: -1)
    sessions.abandon()
    await session.aclose()
    assert session.client.listener is not None


@pytest.mark.anyio
async def test_a_refused_user_is_told_and_the_session_is_over():
    session = Session(IdleClient(), lambda path: None)
    assert not session.is_over(1.0)
    session.client.connected, session.client.client_state = False, "AUTH_FAILED"
    waiting = asyncio.ensure_future(session.ready())
    await asyncio.sleep(0)
    session.client.listener("LOST")
    with pytest.raises(RegistryDeniedError, match="refuses the user"):
        await waiting
    session.client.handler = SimpleNamespace(latest=SimpleNamespace(is_alive=lambda: False))
    assert session.is_over(1.0)


@pytest.mark.anyio
async def test_a_suspension_counts_from_its_beginning_and_ends_when_connected(monkeypatch):
    told = []
    session = Session(IdleClient(), told.append)
    now = asyncio.get_running_loop().time()
    for state, at, is_over in (
        ("SUSPENDED", 1.0, False),
        ("LOST", 3.0, True),
        ("CONNECTED", 4.0, False),
    ):
        monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda at=at: now + at)
        session.client.listener(state)
        await asyncio.sleep(0)
        assert session.is_over(1.5) is is_over
    assert told == [None, None]


def test_what_a_loop_left_behind_is_ended_when_the_registry_is_closed():
    registry, left = SessionsPerLoop(SETTINGS), Session.__new__(Session)
    left.stop = (ended := threading.Event()).set

    async def leave():
        registry.here()._open[1.0] = left

    asyncio.run(leave())
    asyncio.run(registry.aclose())
    assert ended.wait(10)
    with pytest.raises(ClosedError):
        asyncio.run(leave())


def test_two_watches_of_one_service_both_see_a_change():
    sessions = Sessions(None)
    with sessions.alarm("/s") as one:
        with sessions.alarm("/s") as two:
            sessions._ring("/s/a")
            sessions._ring("/t/a")
            assert one._paths == two._paths == {"/s/a"}
        sessions._ring(None)
        sessions._ring("/s/b")
        assert (one._paths, two._paths) == (None, {"/s/a"})
    assert not sessions._alarms
