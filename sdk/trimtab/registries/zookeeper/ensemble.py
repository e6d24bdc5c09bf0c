"""Ask an ensemble: bounded questions over the sessions of the running loop, and alarms.

The election of a leader cuts all clients off for half a second or so, those of the followers
too. That passes unnoticed: a question waits, within its bound, until the session is connected, and
is then asked again. A longer interruption is an error.

A session's timeout is the lease of the registrations made by it. So there is one session for each
TTL in use, and one to read with, which serves an equal TTL too. Nearly always that is one session.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import struct
import threading
from collections import defaultdict
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, TypeVar, cast

from kazoo.exceptions import (
    AuthFailedError,
    ConnectionLoss,
    InvalidACLError,
    KazooException,
    NoAuthError,
    OperationTimeoutError,
    QuotaExceededError,
    RequestTimeoutError,
    SessionClosedRequireSaslError,
    SessionExpiredError,
    SessionMovedError,
    ThrottledOpError,
)

from trimtab.errors import (
    ClosedError,
    RegistryAnswerError,
    RegistryDeniedError,
    RegistryError,
    RegistryRequestError,
    RegistryUnavailableError,
)
from trimtab.registries.zookeeper.layouts import parent_of
from trimtab.registries.zookeeper.session import Session, make_client

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
    from contextlib import AbstractContextManager

    from trimtab.registries.zookeeper.settings import ZooKeeperSettings

__all__ = ["Alarm", "Ensemble", "Sessions", "SessionsPerLoop", "in_our_words", "while_answered"]

T = TypeVar("T")

# kazoo raises these on an answer that it cannot read.
_UNREADABLE = (UnicodeDecodeError, struct.error, IndexError)
# The connection broke under a question; the question may be asked again over the next one.
_INTERRUPTIONS = (ConnectionLoss, SessionExpiredError)
_DENIED = (AuthFailedError, InvalidACLError, NoAuthError, SessionClosedRequireSaslError)
_LATER = (
    *_INTERRUPTIONS,
    OperationTimeoutError,
    QuotaExceededError,
    RequestTimeoutError,
    SessionMovedError,
    ThrottledOpError,
)
_EARLIER_S = 0.001


class Ensemble:
    """Asks questions over the sessions of the running loop.

    Args:
        settings: see `ZooKeeperSettings`.
    """

    def __init__(self, settings: ZooKeeperSettings) -> None:
        self._place = settings.url
        self._sessions = SessionsPerLoop(settings)
        self._session_s, self._timeout_s = settings.session_s, settings.timeout_s

    async def ask(
        self,
        what: str,
        question: Callable[[Session], Awaitable[T]],
        *,
        session_s: float | None = None,
    ) -> T:
        """Ask a connected session: the one to read with, or that of a lease.

        The question may be asked more than once.

        Raises:
            RegistryError: see `trimtab.registries.protocol`; the message begins with `what`.
            ClosedError: after `aclose`.
        """
        place, session = f"{self._place}: {what}", cast("Session | None", None)
        try:
            async with while_answered(
                self._timeout_s, lambda: session.answered_at if session else 0.0
            ):
                while True:
                    session = self._sessions.here().of(session_s or self._session_s)
                    with contextlib.suppress(*_INTERRUPTIONS):
                        await session.ready()
                        return await question(session)
        except TimeoutError:
            trouble = session.trouble if session else ""
            raise RegistryUnavailableError(
                f"{place}: no answer within {self._timeout_s:g} s"
                + (f" (not connected: {trouble})" if trouble else "")
            ) from None
        except (KazooException, RegistryError, *_UNREADABLE) as error:
            raise in_our_words(place, error) from error

    def alarm(self, path: str) -> AbstractContextManager[Alarm]:
        """Collect changes of a node and its children; see `Sessions.alarm`."""
        return self._sessions.here().alarm(path)

    async def aclose(self) -> None:
        """End the sessions of this loop."""
        await self._sessions.aclose()


class Sessions:
    """Opens sessions at their first question, and replaces those that are over."""

    def __init__(self, settings: ZooKeeperSettings) -> None:
        self._settings = settings
        self._pid = os.getpid()
        self._open: dict[float, Session] = {}
        self._alarms: defaultdict[str, set[Alarm]] = defaultdict(set)
        self._ending: set[asyncio.Task[None]] = set()

    def of(self, session_s: float) -> Session:
        """Return the session with that timeout; it need not be connected."""
        session = self._open.get(session_s)
        if session is not None and session.is_over(session_s):
            task = asyncio.get_running_loop().create_task(session.aclose())
            self._ending.add(task)
            task.add_done_callback(self._ending.discard)
            session = None
        if session is None:
            client = make_client(self._settings, session_s)
            session = self._open[session_s] = Session(client, self._ring)
        return session

    @contextmanager
    def alarm(self, path: str) -> Iterator[Alarm]:
        """Collect changes of a node and of its children for as long as the block lasts."""
        alarm = Alarm()
        self._alarms[path].add(alarm)
        try:
            yield alarm
        finally:
            self._alarms[path].discard(alarm)
            if not self._alarms[path]:
                del self._alarms[path]

    async def aclose(self) -> None:
        """End the sessions and wake the waiting tasks; no thread of theirs runs afterwards."""
        sessions = tuple(self._open.values())
        self._open.clear()
        self._ring(None)
        await asyncio.gather(*(session.aclose() for session in sessions), *self._ending)

    def abandon(self) -> None:
        """End the sessions of a loop that has ended without closing them; does not wait."""
        if self._pid != os.getpid():
            return  # They belong to the parent, which goes on using them.
        for session in self._open.values():
            threading.Thread(target=session.stop, daemon=True).start()

    def _ring(self, path: str | None) -> None:
        paths = tuple(self._alarms) if path is None else (path, parent_of(path))
        for each in paths:
            for alarm in self._alarms.get(each, ()):
                alarm.ring(path)


class Alarm:
    """Collects the nodes that have changed until they are asked for."""

    def __init__(self) -> None:
        self._paths: set[str] | None = set()
        self._rang = asyncio.Event()

    def ring(self, path: str | None) -> None:
        """Note that a node has changed, or with None that everything may have."""
        if path is None:
            self._paths = None
        elif self._paths is not None:
            self._paths.add(path)
        self._rang.set()

    async def wait(self, at_most_s: float) -> frozenset[str] | None:
        """Wait for changes; return the nodes, or None for everything, also after `at_most_s`."""
        try:
            async with asyncio.timeout(at_most_s):
                await self._rang.wait()
        except TimeoutError:
            return None
        paths, self._paths = self._paths, set()
        self._rang.clear()
        return None if paths is None else frozenset(paths)


class SessionsPerLoop:
    """Keeps the sessions of each event loop apart: kazoo calls back to the loop that asked.

    A forked child has its own loop, and so its own sessions; the parent's are not touched.
    """

    def __init__(self, settings: ZooKeeperSettings) -> None:
        self._place = settings.url
        self._settings = settings
        self._of: dict[asyncio.AbstractEventLoop, Sessions] = {}
        self._is_closed = False

    def here(self) -> Sessions:
        """Return those of the running loop.

        Raises:
            ClosedError: after `aclose`.
        """
        if self._is_closed:
            raise ClosedError(f"{self._place}: this registry is closed")
        loop = asyncio.get_running_loop()
        if loop not in self._of:
            for ended in [other for other in self._of if other.is_closed()]:
                self._of.pop(ended).abandon()
            self._of[loop] = Sessions(self._settings)
        return self._of[loop]

    async def aclose(self) -> None:
        """End the sessions of this loop, and those left by loops that have ended."""
        self._is_closed = True
        loop = asyncio.get_running_loop()
        for ended in [other for other in self._of if other.is_closed()]:
            self._of.pop(ended).abandon()
        if loop in self._of:
            await self._of.pop(loop).aclose()


@asynccontextmanager
async def while_answered(timeout_s: float, answered_at: Callable[[], float]) -> AsyncIterator[None]:
    """Bound a block by `timeout_s` from its start, or from the last answer to any question.

    The bound is on silence, not on work. One connection answers all questions in their order.
    After its loss, thousands of nodes are read anew; the last question must not fail because it
    waits behind the others.

    Args:
        timeout_s: how long ZooKeeper may be silent.
        answered_at: the time of the last answer, by the loop's clock.

    Raises:
        TimeoutError: no answer came for so long.
    """
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(timeout_s) as limit:
        until = loop.time() + timeout_s
        timer: asyncio.TimerHandle | None = None

        def look() -> None:
            nonlocal until, timer
            if answered_at() + timeout_s > until:
                until = answered_at() + timeout_s
                limit.reschedule(until)
                timer = loop.call_at(until - _EARLIER_S, look)

        timer = loop.call_at(until - _EARLIER_S, look)
        try:
            yield
        finally:
            timer.cancel()


def in_our_words(place: str, error: Exception) -> RegistryError:
    """Translate an error of kazoo into ours; one of ours gets the place before its message."""
    if isinstance(error, RegistryError):
        return type(error)(f"{place}: {error}")
    name = type(error).__name__
    if isinstance(error, _DENIED):
        return RegistryDeniedError(
            f"{place}: {name}: check the user, the password, and the ACLs of the nodes"
        )
    if isinstance(error, _LATER):
        return RegistryUnavailableError(f"{place}: {name}")
    if isinstance(error, KazooException):
        return RegistryRequestError(f"{place}: {name}" + (f": {error}" if str(error) else ""))
    return RegistryAnswerError(f"{place}: the answer cannot be read: {name}: {error}")
