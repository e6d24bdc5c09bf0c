"""What the tests of the transports share: one way to write a test for every kind of client.

A test is written once, as an async function, and runs over six flavours: httpx and httpx2, each
sync, on asyncio and on trio. The sync flavours never suspend, so they need no loop at all.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
import time
from collections import defaultdict
from itertools import count
from random import Random

import anyio
import httpx
import httpx2
import pytest
import trio
import uvicorn
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse, RedirectResponse, StreamingResponse
from starlette.responses import Response as Answer
from starlette.routing import Route

from trimtab import BalancedTransport, DiscoverySettings, Instance
from trimtab.testing import FakeRegistry

DEADLINE_S = 30.0
PAUSE_S = 0.005
_keys = count(1)


def unique(prefix="k"):
    """A name that no other test uses."""
    return f"{prefix}{next(_keys)}"


# -- flavours ------------------------------------------------------------------------------------


class Flavour:
    """A family and a way to run."""

    def __init__(self, family, library):
        self.family, self.library = family, library
        self.is_async = library != "sync"

    def __repr__(self):
        return f"{self.family.__name__}-{self.library}"

    def run(self, scenario, *args):
        """Run an async function as this flavour's programs run."""
        if self.library == "asyncio":
            return asyncio.run(scenario(self, *args))
        if self.library == "trio":
            return trio.run(scenario, self, *args)
        return _drive(scenario(self, *args))

    def transport(self, registry, **options):
        """A balanced transport without waits and with repeatable picks."""
        options.setdefault("discovery", DiscoverySettings(grace_s=0, startup_timeout_s=DEADLINE_S))
        return BalancedTransport(registry, **{"rng": Random(5), "trust_env": False, **options})

    def client(self, transport=None, **options):
        """A client whose methods are async, whatever the flavour."""
        options = {"transport": transport, "trust_env": False, **options}
        if self.is_async:
            return self.family.AsyncClient(**options)
        return _AsyncLooking(self.family.Client(**options))

    def chunks(self, response):
        return response.aiter_raw() if self.is_async else _aiter(response.iter_raw())

    async def read(self, response):
        return await response.aread() if self.is_async else response.read()

    async def close(self, response):
        return await response.aclose() if self.is_async else response.close()

    def body(self, *chunks):
        """A request body that can be sent once."""
        return _aiter(chunks) if self.is_async else (chunk for chunk in chunks)

    def hook(self, function):
        async def awaited(each):
            function(each)

        return awaited if self.is_async else function

    async def until(self, condition, deadline_s=DEADLINE_S):
        """Wait for a condition."""
        end = time.monotonic() + deadline_s
        while not (result := condition()):
            assert time.monotonic() < end, "the condition did not come about in time"
            await self.pause()
        return result

    async def pause(self):
        if self.is_async:
            await anyio.sleep(PAUSE_S)
        else:
            threading.Event().wait(PAUSE_S)

    async def cancelled(self, function, *args, when):
        """Run an async function, and cancel it once a condition holds."""
        over = []

        async def run():
            try:
                await function(*args)
            finally:
                over.append(True)

        async with anyio.create_task_group() as group:
            group.start_soon(run)
            await self.until(lambda: when() or over)
            assert not over, "it ended before it could be cancelled"
            group.cancel_scope.cancel()

    async def together(self, *functions):
        """Run several async functions at a time."""
        if self.is_async:
            async with anyio.create_task_group() as group:
                for function in functions:
                    group.start_soon(function)
            return
        failures = []

        def work(function):
            try:
                _drive(function())
            except BaseException as error:  # noqa: BLE001 - raised again below
                failures.append(error)

        threads = [threading.Thread(target=work, args=(each,)) for each in functions]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(DEADLINE_S)
        if failures:
            raise failures[0]


FLAVOURS = [
    Flavour(family, library)
    for family in (httpx, httpx2)
    for library in ("sync", "asyncio", "trio")
]
ASYNC_FLAVOURS = [flavour for flavour in FLAVOURS if flavour.is_async]


def every(flavours):
    """Parametrise an async test over flavours, and run it."""

    def decorate(test):
        def run(flavour, kit):
            flavour.run(test, kit)

        run.__name__ = test.__name__
        return pytest.mark.parametrize("flavour", flavours, ids=repr)(run)

    return decorate


class _AsyncLooking:
    """A sync client whose methods can be awaited."""

    def __init__(self, client):
        self.sync = client

    def build_request(self, *args, **options):
        return self.sync.build_request(*args, **options)

    async def get(self, *args, **options):
        return self.sync.get(*args, **options)

    async def post(self, *args, **options):
        return self.sync.post(*args, **options)

    async def put(self, *args, **options):
        return self.sync.put(*args, **options)

    async def request(self, *args, **options):
        return self.sync.request(*args, **options)

    async def send(self, *args, **options):
        return self.sync.send(*args, **options)

    @property
    def cookies(self):
        return self.sync.cookies

    async def aclose(self):
        self.sync.close()

    async def __aenter__(self):
        self.sync.__enter__()
        return self

    async def __aexit__(self, *_):
        self.sync.__exit__(None, None, None)


async def _aiter(chunks):
    for chunk in chunks:
        yield chunk


def _drive(coroutine):
    try:
        coroutine.send(None)
    except StopIteration as done:
        return done.value
    raise AssertionError("a sync scenario was suspended")


# -- servers -------------------------------------------------------------------------------------


class HttpServer:
    """A real HTTP server on a thread, whose answers a test can hold back.

    Attributes:
        seen: requests so far, as `(method, path, headers)`.
        connections: how many connections are open now.
        ails: what `/who` answers instead: a status and headers; or "mute" until that is opened.
    """

    def __init__(self, name, *, host="127.0.0.1", **config):
        self.name, self.host = name, host
        self.seen = []
        self.ails = None
        self._gates = defaultdict(asyncio.Event)
        kind = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._socket = socket.socket(kind)
        self._socket.bind((host, 0))
        self.port = self._socket.getsockname()[1]
        self._server = uvicorn.Server(
            uvicorn.Config(
                self._app(),
                log_config=None,
                lifespan="off",
                ws="none",
                timeout_keep_alive=75,
                timeout_graceful_shutdown=1,
                **config,
            )
        )
        self._loop = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def instance(self, **fields):
        return Instance(**{"host": self.host, "port": self.port, "id": self.name, **fields})

    @property
    def url(self):
        return f"http://{self.instance().address}"

    @property
    def connections(self):
        return len(self._server.server_state.connections)

    def open(self, key):
        """Let the held response of this key go on."""
        self._loop.call_soon_threadsafe(self._open, key)

    def _open(self, key):
        self._gates[key].set()

    def requests(self, path):
        return [request for request in self.seen if request[1].startswith(path)]

    def __enter__(self):
        self._thread.start()
        _wait(lambda: self._server.started)
        return self

    def __exit__(self, *_):
        self._loop.call_soon_threadsafe(lambda: [gate.set() for gate in self._gates.values()])
        self._server.should_exit = True
        self._thread.join(DEADLINE_S)
        self._socket.close()

    def _run(self):
        async def serve():
            self._loop = asyncio.get_running_loop()
            await self._server.serve(sockets=[self._socket])

        asyncio.run(serve())

    def _app(self):
        methods = ["GET", "HEAD", "POST", "PUT"]
        routes = {
            "/who": self._who,
            "/echo": self._echo,
            "/held/{key}": self._held,
            "/silent/{key}": self._silent,
            "/status/{code:int}": self._status,
            "/cookie/set": self._set_cookie,
            "/redirect": self._redirect,
            "/basic": self._basic,
            "/digest": self._digest,
        }
        return Starlette(
            routes=[Route(p, self._noted(e), methods=methods) for p, e in routes.items()]
        )

    def _noted(self, endpoint):
        async def noted(request):
            self.seen.append((request.method, request.url.path, dict(request.headers)))
            return await endpoint(request)

        return noted

    async def _who(self, request):
        if self.ails == "mute":
            await self._gates["mute"].wait()
        elif self.ails:
            status, headers = self.ails
            return PlainTextResponse("ailing", status_code=status, headers=headers)
        return PlainTextResponse(self.name)

    async def _echo(self, request):
        return _Echo()

    async def _held(self, request):
        gate = self._gates[request.path_params["key"]]

        async def body():
            yield b"first "
            await gate.wait()
            yield b"last"

        return StreamingResponse(body())

    async def _silent(self, request):
        await self._gates[request.path_params["key"]].wait()
        return PlainTextResponse("at last")

    async def _status(self, request):
        return PlainTextResponse(self.name, status_code=request.path_params["code"])

    async def _set_cookie(self, request):
        answer = PlainTextResponse("set")
        answer.set_cookie("flavour", "oat")
        return answer

    async def _redirect(self, request):
        return RedirectResponse(request.query_params["to"].replace("SELF", str(request.base_url)))

    async def _basic(self, request):
        if request.headers.get("authorization") == "Basic dXNlcjpzZWNyZXQ=":
            return PlainTextResponse("welcome")
        return Answer(status_code=401, headers={"www-authenticate": "Basic realm=x"})

    async def _digest(self, request):
        said = request.headers.get("authorization", "")
        if 'uri="/digest"' in said and 'username="user"' in said:
            return PlainTextResponse("welcome")
        challenge = 'Digest realm="x", nonce="n1", qop="auth", algorithm=MD5'
        return Answer(status_code=401, headers={"www-authenticate": challenge})


class _Echo:
    """An answer that sends each chunk of the request's body back as it comes.

    Not a StreamingResponse: that one reads from the same channel to notice a disconnect.
    """

    async def __call__(self, scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        more = True
        while more:
            message = await receive()
            more = message.get("more_body", False)
            body = message.get("body", b"")
            await send({"type": "http.response.body", "body": body, "more_body": more})


class RawServer:
    """A TCP server on a thread that misbehaves in one way.

    `hang_up` closes after a request's head, `reset` breaks the connection there, `silent` never
    answers, `half` breaks off in the middle of a body.
    """

    def __init__(self, behaviour, name=""):
        self.name = name or behaviour
        self._behave = getattr(self, f"_{behaviour}")
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self.requests = 0
        self._held = []
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def instance(self, **fields):
        return Instance(**{"host": "127.0.0.1", "port": self.port, "id": self.name, **fields})

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join(DEADLINE_S)
        for held in self._held:
            held.close()

    def _serve(self):
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            received = b""
            while b"\r\n\r\n" not in received:
                chunk = connection.recv(65536)
                if not chunk:
                    break
                received += chunk
            else:
                self.requests += 1
                self._behave(connection)
                continue
            connection.close()

    def _hang_up(self, connection):
        connection.shutdown(socket.SHUT_WR)
        self._held.append(connection)

    def _reset(self, connection):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()

    def _silent(self, connection):
        self._held.append(connection)

    def _half(self, connection):
        connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf")
        connection.shutdown(socket.SHUT_WR)
        self._held.append(connection)


@contextlib.contextmanager
def refusing_instance(**fields):
    """An instance whose port nobody listens on."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        port = bound.getsockname()[1]
        yield Instance(**{"host": "127.0.0.1", "port": port, "id": "refusing", **fields})


@contextlib.contextmanager
def unreachable_instance(**fields):
    """An instance whose port answers no SYN: its accept queue is full."""
    with contextlib.ExitStack() as stack:
        listening = stack.enter_context(socket.socket())
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        for _ in range(3):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listening.getsockname())
        port = listening.getsockname()[1]
        yield Instance(**{"host": "127.0.0.1", "port": port, "id": "unreachable", **fields})


def listing(*instances, service="orders"):
    """A registry that lists these."""
    registry = FakeRegistry(unique("test"))
    registry.set(service, instances)
    return registry


def figures(transport, service="orders"):
    """The statistics of a service."""
    return transport.statistics()[service]


def _wait(condition):
    end = time.monotonic() + DEADLINE_S
    pause = threading.Event()
    while not condition():
        assert time.monotonic() < end
        pause.wait(PAUSE_S)
