"""Registrations tied to servers: the ASGI conversation, signals, gunicorn's hooks; see also e2e."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from contextlib import asynccontextmanager
from types import SimpleNamespace

import pytest

from trimtab import Check, ConfigurationError, Instance
from trimtab.registration import GunicornHooks, Registered
from trimtab.testing import FakePolledRegistry

LIMIT_S = 30.0


async def plain(scope, receive, send):
    """An application with a lifespan."""
    assert scope["type"] == "lifespan"
    for _ in range(2):
        kind = (await receive())["type"]
        await send({"type": f"{kind}.complete"})


async def without(scope, receive, send):
    """An application that knows requests only, as Django's."""
    if scope["type"] != "http":
        raise ValueError("only http")
    await send({"type": "http.response.start"})


async def failing(scope, receive, send):
    await receive()
    await send({"type": "lifespan.startup.failed", "message": "no database"})


class Server:
    """Says to an application what a server does, and listens only between."""

    def __init__(self, app):
        self._app = app
        self._to_app, self._from_app = asyncio.Queue(), asyncio.Queue()

    async def say(self, kind):
        await self._to_app.put({"type": kind})
        async with asyncio.timeout(LIMIT_S):
            return (await self._from_app.get())["type"]

    def begin(self):
        scope = {"type": "lifespan"}
        self._task = asyncio.create_task(self._app(scope, self._to_app.get, self._from_app.put))

    async def end(self):
        async with asyncio.timeout(LIMIT_S):
            await self._task


async def listed(registry):
    return [each.id for each in (await registry.fetch("orders")).instances]


async def until(condition):
    async with asyncio.timeout(LIMIT_S):
        while not await condition():  # noqa: ASYNC110 - the registry has no event
            await asyncio.sleep(0.005)


@asynccontextmanager
async def listening(port):
    async with await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", port):
        yield


@pytest.fixture
def me(free_port):
    return Instance(host="127.0.0.1", port=free_port, id="me")


@pytest.fixture
def free_port():
    from real.server import free_ports  # noqa: PLC0415

    return free_ports(1)[0]


@pytest.mark.parametrize("app", [plain, without], ids=["with a lifespan", "without"])
@pytest.mark.parametrize("check", [None, Check.parse("tcp")], ids=["unchecked", "checked"])
def test_it_is_listed_once_the_socket_accepts_and_withdrawn_at_the_end(app, check, me):
    async def main():
        registry = FakePolledRegistry()
        server = Server(Registered(app, registry, "orders", me, drain_s=60, check=check))
        server.begin()
        assert await server.say("lifespan.startup") == "lifespan.startup.complete"
        await asyncio.sleep(0.1)  # it has tried to connect by then, or has not: both are well
        assert await listed(registry) == []
        async with listening(me.port):
            await until(lambda: _is(registry, ["me"]))
            assert (await registry.fetch("orders")).instances[0].status == "passing"
        # The server has stopped: there is nobody to wait for.
        assert await server.say("lifespan.shutdown") == "lifespan.shutdown.complete"
        assert await listed(registry) == []
        await server.end()

    asyncio.run(main())


async def _is(registry, ids):
    return await listed(registry) == ids


def test_requests_go_to_the_application(me):
    async def main():
        said = []

        async def send(message):
            said.append(message["type"])

        app = Registered(without, FakePolledRegistry(), "orders", me)
        await app({"type": "http"}, None, send)
        assert said == ["http.response.start"]

    asyncio.run(main())


def test_an_application_that_does_not_start_is_never_listed(me):
    async def main():
        registry = FakePolledRegistry()
        server = Server(Registered(failing, registry, "orders", me))
        async with listening(me.port):
            server.begin()
            assert await server.say("lifespan.startup") == "lifespan.startup.failed"
            await server.end()
        assert registry.calls["register"] == 0

    asyncio.run(main())


def test_an_application_that_breaks_in_its_lifespan_is_withdrawn_and_its_error_raised(me):
    async def breaking(scope, receive, send):
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        raise KeyError("a bug")

    async def main():
        registry = FakePolledRegistry()
        server = Server(Registered(breaking, registry, "orders", me))
        async with listening(me.port):
            server.begin()
            await server.say("lifespan.startup")
            await until(lambda: _is(registry, ["me"]))
            await server._to_app.put({"type": "lifespan.shutdown"})
            with pytest.raises(KeyError):
                await server.end()
        assert await listed(registry) == []

    asyncio.run(main())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("hurried", [False, True], ids=["waited for", "told twice"])
def test_a_signal_withdraws_before_the_server_is_told(number, hurried, me):
    async def main():
        registry, told = FakePolledRegistry(), []

        def handler(number, _):
            told.append(number)

        before = signal.signal(number, handler)
        drain_s = 60 if hurried else 0.05
        server = Server(Registered(plain, registry, "orders", me, drain_s=drain_s))
        try:
            async with listening(me.port):
                server.begin()
                await server.say("lifespan.startup")
                await until(lambda: _is(registry, ["me"]))
                signal.raise_signal(number)
                assert told == []
                await until(lambda: _is(registry, []))
                if hurried:
                    assert told == []
                    signal.raise_signal(number)
                await until(lambda: _true(told))
            await server.say("lifespan.shutdown")
            await server.end()
            assert signal.getsignal(number) is handler, "given back"
            assert told == [number]
        finally:
            signal.signal(number, before)

    asyncio.run(main())


async def _true(value):
    return bool(value)


def test_in_another_thread_signals_are_left_alone(me):
    before = signal.getsignal(signal.SIGTERM)

    async def main():
        server = Server(Registered(plain, FakePolledRegistry(), "orders", me))
        server.begin()
        await server.say("lifespan.startup")
        assert signal.getsignal(signal.SIGTERM) is before
        await server.say("lifespan.shutdown")
        await server.end()
        done.append(True)

    done = []
    thread = threading.Thread(target=lambda: asyncio.run(main()))
    thread.start()
    thread.join(LIMIT_S)
    assert done


def test_a_wrong_argument_is_told_when_made(me):
    for make in (
        lambda **wrong: Registered(plain, FakePolledRegistry(), "orders", me, **wrong),
        lambda **wrong: GunicornHooks(FakePolledRegistry(), "orders", me, **wrong),
    ):
        with pytest.raises(ConfigurationError, match="drain_s is -1"):
            make(drain_s=-1)
    with pytest.raises(ConfigurationError, match="cannot be written to"):
        Registered(plain, "static://h:1", "orders", me)


@pytest.fixture
def signals():
    before = {each: signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT)}
    yield
    for each, handler in before.items():
        signal.signal(each, handler)


def arbiter(**state):
    return SimpleNamespace(**{"reexec_pid": 0, "master_pid": 0} | state)


# Newer Pythons warn of forks in programs with threads, as gunicorn's master is one.
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
@pytest.mark.parametrize(
    ("state", "left"),
    [({}, []), ({"reexec_pid": 7}, ["me"]), ({"master_pid": 7}, ["me"])],
    ids=["alone", "another took over", "another goes on"],
)
def test_a_master_registers_with_the_first_worker_and_withdraws(
    state, left, me, signals, wait_until
):
    registry, master = FakePolledRegistry(), arbiter()
    hooks = GunicornHooks(registry, "orders", me, drain_s=60)
    hooks.when_ready(master)
    assert asyncio.run(listed(registry)) == []
    child = os.fork()
    if child == 0:  # pragma: no cover - measured in no process that reports
        hooks.post_worker_init(None)
        os._exit(0)
    os.waitpid(child, 0)
    wait_until(lambda: asyncio.run(listed(registry)) == ["me"])
    vars(master).update(state)
    # The file was read again meanwhile, and its new hooks are asked.
    GunicornHooks(registry, "orders", me).on_exit(master)
    assert asyncio.run(listed(registry)) == left


def test_hooks_of_a_master_that_never_was_ready_do_nothing(me):
    registry = FakePolledRegistry()
    hooks = GunicornHooks(registry, "orders", me)
    hooks.post_worker_init(None)
    hooks.on_exit(arbiter())
    assert registry.calls["deregister"] == 0
