"""The sessions of one registry on one event loop, and who is told when a node changes.

A session's timeout is the lease of what is registered by it: so there is one for each TTL in
use, and one to read with, which serves a TTL equal to its own too. Nearly always that is one.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections import defaultdict
from contextlib import contextmanager
from typing import TYPE_CHECKING

from trimtab.errors import ClosedError
from trimtab.registries.zookeeper.client import ClientSettings, make_client
from trimtab.registries.zookeeper.paths import parent_of
from trimtab.registries.zookeeper.session import Session

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Alarm", "Sessions", "SessionsPerLoop"]


class Sessions:
    """Open sessions when they are first wanted, and new ones for those that are over."""

    def __init__(self, settings: ClientSettings) -> None:
        self._settings = settings
        self._pid = os.getpid()
        self._open: dict[float, Session] = {}
        self._alarms: defaultdict[str, set[Alarm]] = defaultdict(set)
        self._ending: set[asyncio.Task[None]] = set()

    def of(self, session_s: float) -> Session:
        """Give the session with that timeout; it need not be connected."""
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
        """Have changes of a node and of its children told, for as long as the block lasts."""
        alarm = Alarm()
        self._alarms[path].add(alarm)
        try:
            yield alarm
        finally:
            self._alarms[path].discard(alarm)
            if not self._alarms[path]:
                del self._alarms[path]

    async def aclose(self) -> None:
        """End the sessions and wake who waits; nothing of theirs runs afterwards."""
        sessions = tuple(self._open.values())
        self._open.clear()
        self._ring(None)
        await asyncio.gather(*(session.aclose() for session in sessions), *self._ending)

    def abandon(self) -> None:
        """End the sessions of a loop that has ended without closing them; does not wait."""
        if self._pid != os.getpid():
            return  # They are the parent's, which uses them on.
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
        """Tell that a node has changed, or with None that everything may have."""
        if path is None:
            self._paths = None
        elif self._paths is not None:
            self._paths.add(path)
        self._rang.set()

    async def wait(self, at_most_s: float) -> frozenset[str] | None:
        """Wait for changes; give the nodes, or None for everything, as when none came in time."""
        try:
            async with asyncio.timeout(at_most_s):
                await self._rang.wait()
        except TimeoutError:
            return None
        paths, self._paths = self._paths, set()
        self._rang.clear()
        return None if paths is None else frozenset(paths)


class SessionsPerLoop:
    """Keep apart the sessions of each event loop: kazoo calls back to the one that asked.

    A forked child has its own loop, and so its own sessions; the parent's are not touched.
    """

    def __init__(self, place: str, settings: ClientSettings) -> None:
        self._place = place
        self._settings = settings
        self._of: dict[asyncio.AbstractEventLoop, Sessions] = {}
        self._is_closed = False

    def here(self) -> Sessions:
        """Give those of the running loop.

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
        """End the sessions of this loop, and those that ended loops have left."""
        self._is_closed = True
        loop = asyncio.get_running_loop()
        for ended in [other for other in self._of if other.is_closed()]:
            self._of.pop(ended).abandon()
        if loop in self._of:
            await self._of.pop(loop).aclose()
