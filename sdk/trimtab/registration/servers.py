"""Registrations by the rules of servers: listed once they accept, withdrawn before they stop.

An ASGI lifespan begins before the server's socket is bound and ends after it is closed, and with
several workers each has one. So neither is the place for `register()`. `Registered` is for a server
of one process, such as uvicorn; `GunicornHooks` registers once for all workers of gunicorn.

Both take SIGTERM and SIGINT before the server does: the instance is withdrawn, clients get
`drain_s` to notice, and only then the server is told. A second signal is told at once. Source:
Kubernetes' `preStop` delay.
"""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from trimtab.background import background
from trimtab.probing import NetworkCarrier, probe
from trimtab.registration.registration import register

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, MutableMapping

    from trimtab.background import Background
    from trimtab.check import Check
    from trimtab.instance import Instance
    from trimtab.registration.registration import Registration
    from trimtab.registries import Registry

    Message = MutableMapping[str, Any]
    Receive = Callable[[], Awaitable[Message]]
    Send = Callable[[Message], Awaitable[None]]

__all__ = ["GunicornHooks", "Registered", "accepting", "passing"]

_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_TRY_EVERY_S = 0.05


class Registered:
    """An ASGI application that is registered while its server accepts requests.

        app = Registered(app, "consul://127.0.0.1:8500", "orders", Instance(host=..., port=8001))

    For servers of one process that take signals by `signal.signal`, as uvicorn does. A server that
    leaves them to asyncio, as Hypercorn does, stops while the instance is withdrawn. For these, and
    for several workers, use `trimtab register ... -- COMMAND`; for gunicorn, `GunicornHooks`.

    A registry that does not answer does not stop the server: registering is tried until it does.

    Args:
        app: the application. Its lifespan works as without this.
        registry, service, instance: as in `register`.
        drain_s: seconds from the withdrawal until the server is told to stop, 0 or more.
        options: the others of `register`.

    Raises:
        ConfigurationError: an argument is wrong.
    """

    def __init__(
        self,
        app: Any,
        registry: str | Registry,
        service: str,
        instance: Instance,
        *,
        drain_s: float = 5.0,
        **options: Any,
    ) -> None:
        self.app = app
        self._instance = instance
        self._make = partial(register, registry, service, instance, drain_s=drain_s, **options)
        self._make()  # A wrong argument is told now.

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        """Serve a request, or the whole life of the server."""
        if scope["type"] != "lifespan":
            await self.app(scope, receive, send)
            return
        served = _Served(self._make(), self._instance)
        try:
            await _Lifespan(self.app, receive, send, served).run(scope)
        finally:
            await served.end()


class _Lifespan:
    """The conversation between the server and the application about start and end."""

    def __init__(self, app: Any, receive: Receive, send: Send, served: _Served) -> None:
        self._app = app
        self._server_says = receive
        self._tell_server = send
        self._served = served
        self._is_begun = False

    async def run(self, scope: Any) -> None:
        try:
            await self._app(scope, self._receive, self._send)
        except Exception:
            if self._is_begun:
                raise
            # By this, applications say that they have no lifespan.
            await self._alone()

    async def _receive(self) -> Message:
        self._is_begun = True
        message = await self._server_says()
        if message["type"] == "lifespan.shutdown":
            await self._served.end()
        return message

    async def _send(self, message: Message) -> None:
        await self._tell_server(message)
        if message["type"] == "lifespan.startup.complete":
            self._served.begin()

    async def _alone(self) -> None:
        await self._receive()
        await self._send({"type": "lifespan.startup.complete"})
        await self._receive()
        await self._send({"type": "lifespan.shutdown.complete"})


class _Served:
    """A registration from the moment at which the server accepts connections, on one event loop."""

    def __init__(self, registration: Registration, instance: Instance) -> None:
        self._registration = registration
        self._instance = instance
        self._loop = asyncio.get_running_loop()
        self._task: asyncio.Task[None] | None = None
        self._signals = _Signals(self._stop_before)

    def begin(self) -> None:
        """Register as soon as the server accepts."""
        self._task = self._loop.create_task(self._register(), name="trimtab registration")
        self._signals.take()

    async def end(self) -> None:
        """Withdraw if that was not done before; the server has stopped accepting."""
        self._signals.give_back()
        await self._end_registering()
        await self._registration.withdraw()

    async def _end_registering(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _register(self) -> None:
        await accepting(self._instance)
        await self._registration.start_persistently()

    def _stop_before(self, stop: Callable[[], None]) -> None:
        def begin() -> None:
            self._leaving = self._loop.create_task(self._leave())
            self._leaving.add_done_callback(lambda _: stop())

        self._loop.call_soon_threadsafe(begin)

    async def _leave(self) -> None:
        await self._end_registering()
        await self._registration.stop()


class GunicornHooks:
    """Hooks for gunicorn's configuration file that register once for all of its workers.

        hooks = GunicornHooks("consul://127.0.0.1:8500", "orders", Instance(host=..., port=8001))
        when_ready, post_worker_init = hooks.when_ready, hooks.post_worker_init
        on_exit = hooks.on_exit

    The instance is registered by the master, once a first worker has loaded the application. It
    stays registered while workers come and go (`max_requests`, SIGHUP, a worker's SIGTERM), and
    while a new master takes over (SIGUSR2). It is withdrawn before the master stops its workers.

    Args:
        registry, service, instance: as in `register`.
        drain_s: seconds from the withdrawal until the master is told to stop, 0 or more.
        options: the others of `register`.

    Raises:
        ConfigurationError: an argument is wrong.
    """

    def __init__(
        self,
        registry: str | Registry,
        service: str,
        instance: Instance,
        *,
        drain_s: float = 5.0,
        **options: Any,
    ) -> None:
        self._registration = register(registry, service, instance, drain_s=drain_s, **options)
        self._ready = (-1, -1)
        self._server: Any = None
        self._place: Background | None = None
        self._task: asyncio.Task[None] | None = None

    def when_ready(self, server: Any) -> None:
        """Prepare, in the master."""
        self._server, self._place = server, background()
        self._ready = os.pipe()
        # The file is read again at SIGHUP, and makes other hooks; these stay in charge.
        vars(server)["trimtab"] = self
        _Signals(self._stop_before).take()
        loop = self._place.loop
        loop.call_soon_threadsafe(loop.add_reader, self._ready[0], self._begin)

    def post_worker_init(self, worker: Any) -> None:
        """Say that this worker has loaded the application."""
        del worker
        if self._ready[1] >= 0:
            with suppress(OSError):
                os.write(self._ready[1], b".")

    def on_exit(self, server: Any) -> None:
        """Withdraw in the master, if that was not done before."""
        # They are of this class, if the file was read again.
        hooks: GunicornHooks = vars(server).get("trimtab", self)
        if hooks._place is not None:
            hooks._place.run(hooks._end(drains=False))

    def _begin(self) -> None:
        """Register in the background, since a worker is ready."""
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._ready[0])
        self._task = loop.create_task(self._registration.start_persistently())

    async def _end(self, *, drains: bool) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        if self._is_succeeded():
            self._registration.abandon()
        await (self._registration.stop() if drains else self._registration.withdraw())

    def _is_succeeded(self) -> bool:
        """Return whether another master serves on at this address, after SIGUSR2."""
        return bool(self._server.reexec_pid or self._server.master_pid)

    def _stop_before(self, stop: Callable[[], None]) -> None:
        assert self._place is not None
        future = asyncio.run_coroutine_threadsafe(self._end(drains=True), self._place.loop)
        future.add_done_callback(lambda _: stop())


class _Signals:
    """Takes the signals that ask a server to stop, and hands them on later.

    Args:
        stop_before: called with the first signal, in a signal handler; it begins what comes before
            the server's stop, and calls the function that it gets when that is done.
    """

    def __init__(self, stop_before: Callable[[Callable[[], None]], None]) -> None:
        self._stop_before = stop_before
        self._servers: dict[int, Any] = {}
        self._pid = os.getpid()
        self._is_stopping = self._is_told = False

    def take(self) -> None:
        """Take the signals from now on. Only the main thread can; in others nothing is done."""
        if threading.current_thread() is threading.main_thread():
            for each in _SIGNALS:
                self._servers[each] = signal.signal(each, self._on_signal)

    def give_back(self) -> None:
        """Let the server have them, unless somebody else has taken them meanwhile."""
        for each, handler in self._servers.items():
            if signal.getsignal(each) == self._on_signal:
                signal.signal(each, handler)
        self._servers.clear()

    def _on_signal(self, number: int, frame: Any) -> None:
        tell = partial(_tell, self._servers[number], number, frame)
        # A forked child has them until it sets its own.
        if self._is_stopping or os.getpid() != self._pid:
            self._is_told = True
            tell()
        else:
            self._is_stopping = True
            self._stop_before(lambda: None if self._is_told else tell())


def _tell(handler: Any, number: int, frame: Any) -> None:
    """Do what a signal would have done."""
    if callable(handler):
        handler(number, frame)
    elif handler is not signal.SIG_IGN:
        signal.signal(number, signal.SIG_DFL)
        signal.raise_signal(number)


async def accepting(instance: Instance) -> None:
    """Wait until connections are accepted at an instance's address, as long as it takes."""
    while not await _is_open(instance):  # noqa: ASYNC110 - nothing tells when a server listens
        await asyncio.sleep(_TRY_EVERY_S)


async def passing(check: Check, instance: Instance) -> None:
    """Wait until a check passes, as long as it takes."""
    carrier = NetworkCarrier()
    try:
        while not (await probe(check, instance, carrier)).ok:  # noqa: ASYNC110 - as above
            await asyncio.sleep(_TRY_EVERY_S)
    finally:
        await carrier.aclose()


async def _is_open(instance: Instance) -> bool:
    try:
        _, writer = await asyncio.open_connection(instance.host, instance.port)
    except OSError:
        return False
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()
    return True
