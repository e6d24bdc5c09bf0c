"""One ZooKeeper session on one event loop: kazoo's client, and the bridge to its threads.

kazoo calls back on its threads, and its blocking calls wait for ever where there is no quorum.
So nothing here blocks: a question is sent by kazoo's `..._async`, and its answer is carried over
to the loop. The caller bounds the wait (`asyncio.timeout`).

A session is *connected*; or *suspended*, which cannot be told from a short interruption until a
member answers again (kazoo never guesses that a session is lost); then connected again, or *lost*:
kazoo begins a new session at once, and the nodes of the old one are gone. All watches are gone at
every loss of the connection.

Deviations from kazoo's defaults, and why:

- A silent member is left after 2 s and not after a whole session: one behind a firewall, or one
  that hangs, whose kernel still accepts connections, must not keep us from the others.
- TLS uses our own context (kazoo's would not check host names), and bytes that TLS has decrypted
  already count as readable: `select` does not see them, and an answer would wait there until the
  next one came.
- Reconnecting is tried at least about once a second; kazoo's own backoff grows to an hour.
- kazoo warns at each attempt, in each of its clients. The last warning is kept for our one
  message, and logged at the level DEBUG.
- kazoo logs whole requests at that level, those with the password too; these are left out.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import socket
import threading
from typing import TYPE_CHECKING, Any

from kazoo.client import KazooClient, KazooState
from kazoo.exceptions import ConnectionLoss
from kazoo.handlers.threading import SequentialThreadingHandler
from kazoo.protocol.serialization import SASL, Auth, Connect
from kazoo.protocol.states import KeeperState

from trimtab.errors import RegistryDeniedError

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from trimtab.registries.zookeeper.settings import ZooKeeperSettings

__all__ = ["THREAD_NAME", "Quiet", "Session", "make_client"]

THREAD_NAME = "trimtab-zookeeper"
"""The name of kazoo's threads; each client has three."""
_SILENCE_S = 2.0
_RECONNECT = {"max_tries": -1, "delay": 0.1, "max_delay": 1.0}
_NOT_A_REASON = "Transition to CONNECTING"
_SECRETS = (Auth, Connect, SASL)

# Each question puts a byte into the pipe that wakes kazoo, and a full pipe would block the loop;
# it holds some 270.
_MAX_IN_FLIGHT = 100
_GOODBYE_S = 2.0
_CUT_EVERY_S = 0.1

_log = logging.getLogger("trimtab.registries.zookeeper")


def make_client(settings: ZooKeeperSettings, session_s: float) -> Any:
    """Make a client, not started yet, that asks for sessions of `session_s`."""
    user, password = settings.user or ("", "")
    login = {"mechanism": "DIGEST-MD5", "username": user, "password": password}
    return KazooClient(
        hosts=settings.hosts,
        timeout=session_s,
        handler=_Threads(settings.context()),
        default_acl=settings.acls(),
        auth_data=[("digest", f"{user}:{password}")] if user and not settings.sasl else [],
        sasl_options=login if settings.sasl else None,
        connection_retry=_RECONNECT,
        logger=Quiet(_log),
    )


class Quiet(logging.LoggerAdapter[logging.Logger]):
    """Logs kazoo's warnings as details, and keeps the last.

    Attributes:
        last: kazoo's last warning; "" before the first.
    """

    last = ""

    def log(self, level: int, msg: object, *args: object, **kwargs: Any) -> None:
        """Log for kazoo; its errors stay errors, its finest level is dropped."""
        if level < logging.DEBUG or any(isinstance(arg, _SECRETS) for arg in args):
            return
        if level == logging.WARNING and msg != _NOT_A_REASON:
            self.last = str(msg) % args
        if level in {logging.INFO, logging.WARNING}:
            level = logging.DEBUG
        super().log(level, msg, *args, **kwargs)


class _Threads(SequentialThreadingHandler):  # type: ignore[misc]  # kazoo has no types
    """kazoo's threads and sockets; kazoo asks its handler for both.

    Attributes:
        latest: the thread started last, which in kazoo's order is that of the connection.
    """

    def __init__(self, tls: ssl.SSLContext | None) -> None:
        super().__init__()
        self.latest = threading.current_thread()
        self._tls = tls
        self._socket: socket.socket | None = None

    def spawn(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> threading.Thread:
        thread = threading.Thread(
            target=function, args=args, kwargs=kwargs, name=THREAD_NAME, daemon=True
        )
        thread.start()
        self.latest = thread
        return thread

    def cut(self) -> None:
        """Break the present connection, so that kazoo's thread waits on it no longer."""
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)

    def create_connection(
        self, address: tuple[str, int], *, timeout: float, hostname: str, **_: Any
    ) -> socket.socket:
        try:
            self._socket = socket.create_connection(address, min(timeout, _SILENCE_S))
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._tls is not None:
                self._socket = self._encrypted(self._tls, self._socket, hostname)
        except TimeoutError:
            # kazoo shows `strerror`, which a plain time-out does not have.
            raise OSError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT)) from None
        return self._socket

    @staticmethod
    def _encrypted(tls: ssl.SSLContext, plain: socket.socket, hostname: str) -> socket.socket:
        try:
            return tls.wrap_socket(plain, server_hostname=hostname)
        except BaseException:
            plain.close()
            raise

    def select(
        self, readers: list[Any], writers: list[Any], rest: list[Any], timeout: float | None = None
    ) -> Any:
        if self._tls is not None:
            decrypted = [each for each in readers if hasattr(each, "pending") and each.pending()]
            if decrypted:
                return decrypted, [], []
        if timeout is not None and len(readers) == 1:
            # kazoo waits for an answer, to the handshake for example; otherwise it listens to
            # its own pipe as well.
            timeout = min(timeout, _SILENCE_S)
        return super().select(readers, writers, rest, timeout)


class Session:
    """Asks ZooKeeper, and reports its events on the loop that made this object.

    Args:
        client: a kazoo client, not started.
        heard: called on the loop with the path of a node that has changed, or with None when
            everything may have.

    Attributes:
        answered_at: the time of ZooKeeper's last answer, by the loop's clock.
    """

    def __init__(self, client: Any, heard: Callable[[str | None], None]) -> None:
        self.client = client
        self._heard = heard
        self._loop = asyncio.get_running_loop()
        self._pid = os.getpid()
        self._slots = asyncio.Semaphore(_MAX_IN_FLIGHT)
        self._in_flight: set[asyncio.Future[Any]] = set()
        self._changed = asyncio.Event()
        self._suspended_at: float | None = None
        self._is_denied = False
        self._is_closed = False
        self.answered_at = 0.0
        client.add_listener(self._on_state)
        client.start_async()

    @property
    def id(self) -> int | None:
        """ZooKeeper's number of the session; None while it is not connected."""
        identity = self.client.client_id
        return identity[0] if identity else None

    @property
    def trouble(self) -> str:
        """Kazoo's last warning, if it is not connected now."""
        return "" if self.client.connected else self.client.logger.last

    def is_over(self, after_s: float) -> bool:
        """Tell whether to begin a new session: kazoo has given up, or is suspended too long.

        Members that have lost their data refuse, for ever, a client that has seen newer data;
        only a new client gets in.
        """
        if not self.client.handler.latest.is_alive():
            return True
        since = self._suspended_at
        return since is not None and self._loop.time() - since > after_s

    async def ready(self) -> None:
        """Wait until it is connected.

        Raises:
            RegistryDeniedError: ZooKeeper has refused the user or the password.
            ConnectionLoss: the session was given up meanwhile; there may be another.
        """
        while not self.client.connected:
            if self._is_denied:
                raise RegistryDeniedError("ZooKeeper refuses the user or the password")
            if self._is_closed:
                raise ConnectionLoss
            changed = self._changed
            await changed.wait()

    async def ask(self, question: Callable[..., Any], *args: Any, **options: Any) -> Any:
        """Call one of the client's `..._async` and wait for the answer.

        Raises:
            KazooException: the error in the answer; ConnectionLoss at once while not connected.
        """
        await self._slots.acquire()
        try:
            if not self.client.connected:
                raise ConnectionLoss  # noqa: TRY301 - as kazoo would, a moment later
            result = question(*args, **options)
        except BaseException:
            self._slots.release()
            raise
        answer: asyncio.Future[Any] = self._loop.create_future()
        self._in_flight.add(answer)
        result.rawlink(lambda done: self._soon(self._answered, answer, done))
        return await answer

    def on_event(self, event: Any) -> None:
        """Take a watch's event from kazoo; the one function for all watches.

        kazoo keeps a set of functions per node, and cannot drop one: with a function per watch
        those of watches long gone would pile up.
        """
        if event.path:
            self._soon(self._heard, event.path)

    async def aclose(self) -> None:
        """End the session, and with it the nodes that live by it."""
        self._is_closed = True
        if os.getpid() == self._pid:
            await asyncio.to_thread(self.stop)

    def stop(self) -> None:
        """End the session, from any thread; blocks for up to some 2 s if the member hangs."""
        self.client.remove_listener(self._on_state)
        ended = threading.Event()
        cutter = threading.Thread(target=self._cut, args=(ended,), name=THREAD_NAME, daemon=True)
        # From Python 3.12 on, none can be started at the interpreter's end.
        with contextlib.suppress(RuntimeError):
            cutter.start()
        try:
            self.client.stop()
            self.client.close()
        except Exception as error:  # noqa: BLE001 - kazoo raises bare ones when a member hangs
            self.client.logger.debug("session not ended: %s", error)
        ended.set()
        if cutter.is_alive():
            cutter.join()
        self._soon(self._wake)

    def _cut(self, ended: threading.Event) -> None:
        """Break connections for as long as kazoo waits on them without a listener.

        kazoo alone waits a whole session for an answer before it notices that it was stopped.
        """
        patience_s = _GOODBYE_S if self.client.connected else _CUT_EVERY_S
        while not ended.wait(patience_s):
            self.client.handler.cut()
            patience_s = _CUT_EVERY_S

    def _on_state(self, state: KazooState) -> None:
        denied = self.client.client_state == KeeperState.AUTH_FAILED
        self._soon(self._note, state == KazooState.CONNECTED, denied)

    def _note(self, connected: bool, denied: bool) -> None:  # noqa: FBT001 - two facts of one call
        self._is_denied = denied
        if connected:
            self._suspended_at = None
        elif self._suspended_at is None:
            self._suspended_at = self._loop.time()
        if not connected:
            self._heard(None)
        self._wake()

    def _wake(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def _answered(self, answer: asyncio.Future[Any], done: Any) -> None:
        if answer not in self._in_flight:
            return  # kazoo may fail a question twice.
        self._in_flight.discard(answer)
        self._slots.release()
        if not isinstance(done.exception, ConnectionLoss):
            self.answered_at = self._loop.time()
        if answer.done():
            return
        if done.exception is None:
            answer.set_result(done.value)
        else:
            answer.set_exception(done.exception)

    def _soon(self, call: Callable[..., None], *args: Any) -> None:
        try:
            self._loop.call_soon_threadsafe(call, *args)
        except RuntimeError:
            # The loop has ended, and no task waits for this.
            return
