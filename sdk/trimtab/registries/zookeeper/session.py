"""One ZooKeeper session, used from one event loop: the bridge to kazoo's threads.

kazoo calls back on its threads, and its blocking calls wait for ever where there is no quorum.
So nothing here blocks: a question is sent by kazoo's `..._async`, and its answer carried over to
the loop. How long to wait is the caller's business (`asyncio.timeout`).

What a session goes through: *connected*; *suspended*, which nobody can tell from a short blip
until a member answers again (kazoo never guesses that a session is lost); then connected again,
or *lost*: kazoo begins a new session at once, and the nodes that lived by the old one are gone.
At every loss of the connection all watches are gone.
"""

from __future__ import annotations

import asyncio
import os
import threading
from typing import TYPE_CHECKING, Any

from kazoo.client import KazooState
from kazoo.exceptions import ConnectionLoss
from kazoo.protocol.states import KeeperState

from trimtab.errors import RegistryDeniedError
from trimtab.registries.zookeeper.client import THREAD_NAME

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Session"]

# Each question puts a byte into the pipe that wakes kazoo, and a full pipe would block the loop;
# it holds some 270.
_MAX_IN_FLIGHT = 100
_GOODBYE_S = 2.0
_CUT_EVERY_S = 0.1


class Session:
    """Ask ZooKeeper, and hear what it tells, on the loop that made this.

    Args:
        client: a kazoo client, not started.
        heard: called on the loop with the path of a node that has changed, or with None when
            everything may have.

    Attributes:
        answered_at: when ZooKeeper has answered something last, by the loop's clock.
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
        """What kazoo last complained of, if it is not connected now."""
        return "" if self.client.connected else self.client.logger.last

    def is_over(self, after_s: float) -> bool:
        """Tell whether to begin anew: kazoo has given up, or was suspended for too long.

        Members that have lost their memory refuse, for ever, a client that has seen more than
        they have; only a new one gets in.
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
            KazooException: what the answer says; ConnectionLoss at once while not connected.
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
        cutter.start()
        try:
            self.client.stop()
            self.client.close()
        except Exception as error:  # noqa: BLE001 - kazoo raises bare ones when a member hangs
            self.client.logger.debug("session not ended: %s", error)
        ended.set()
        cutter.join()
        self._soon(self._wake)

    def _cut(self, ended: threading.Event) -> None:
        """Break connections for as long as kazoo hangs on them, where there is nobody to tell.

        By itself kazoo waits a whole session for an answer before it sees that it was stopped.
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
            # The loop has ended, and nobody waits any more.
            return
