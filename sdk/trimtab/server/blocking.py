"""Blocking queries: requests that wait for a change of what they ask about."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from trimtab.server.refusals import Refusal

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterable

    from starlette.types import Receive

__all__ = ["DEFAULT_WAIT_S", "MAX_WAIT_S", "Waiters", "wait_with_jitter_s"]

DEFAULT_WAIT_S = 300.0
MAX_WAIT_S = 600.0
_JITTER_RATIO = 1 / 16


def wait_with_jitter_s(wait_s: float, rng: random.Random) -> float:
    """Bound a wait as Consul does, and add up to a sixteenth, so that clients spread out."""
    bounded_s = min(wait_s, MAX_WAIT_S) if wait_s > 0 else DEFAULT_WAIT_S
    return bounded_s * (1 + rng.uniform(0, _JITTER_RATIO))


class Waiters:
    """Requests waiting, by the topics that may wake them.

    Args:
        limit: how many may wait at once; one more is refused with 429.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._by_topic: dict[str, dict[asyncio.Future[None], Callable[[], bool]]] = {}
        self._closed = False
        self.count = 0

    async def wait(
        self,
        topics: Iterable[str],
        changed: Callable[[], bool],
        *,
        timeout_s: float,
        receive: Receive,
    ) -> bool:
        """Wait until `changed()`, which is asked when a topic moves, or the time is over.

        Returns:
            whether anybody still waits for the answer; False when the client has gone away.

        Raises:
            Refusal: 429, too many wait already.
        """
        if self._closed or changed():
            return True
        if self.count >= self._limit:
            raise Refusal(
                429,
                f"Too many blocking queries: {self._limit} are waiting; ask again later",
                {"Retry-After": "1"},
            )
        future = asyncio.get_running_loop().create_future()
        gone = asyncio.ensure_future(_disconnect(receive))
        self._add(topics, future, changed)
        try:
            await asyncio.wait(
                (future, gone), timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            self._remove(topics, future)
            future.cancel()
            gone.cancel()
        return not gone.done()

    def wake(self, topics: Iterable[str]) -> None:
        """Ask everybody who waits for one of these topics whether that is the change."""
        for topic in topics:
            for future, changed in self._by_topic.get(topic, {}).items():
                if not future.done() and changed():
                    future.set_result(None)

    def close(self) -> None:
        """Let everybody go with what there is, now and from now on: the server stops."""
        self._closed = True
        for waiting in self._by_topic.values():
            for future in waiting:
                if not future.done():
                    future.set_result(None)

    def _add(
        self, topics: Iterable[str], future: asyncio.Future[None], changed: Callable[[], bool]
    ) -> None:
        self.count += 1
        for topic in topics:
            self._by_topic.setdefault(topic, {})[future] = changed

    def _remove(self, topics: Iterable[str], future: asyncio.Future[None]) -> None:
        self.count -= 1
        for topic in topics:
            waiting = self._by_topic[topic]
            del waiting[future]
            if not waiting:
                del self._by_topic[topic]


async def _disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
