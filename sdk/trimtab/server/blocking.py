"""Blocking queries: requests that wait for a change, and the answers that they then share.

A change wakes every request that waits for it: two hundred clients of a service with thousands
of instances want the same megabytes, so the JSON is written once.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec
from cachetools import LRUCache

from trimtab.server.decoding import Refusal

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Hashable, Iterable

    from starlette.types import Receive

    from trimtab.server.catalog import Catalog

__all__ = ["DEFAULT_WAIT_S", "MAX_WAIT_S", "Bodies", "Waiters", "wait_with_jitter_s"]

DEFAULT_WAIT_S = 300.0
MAX_WAIT_S = 600.0
_JITTER_RATIO = 1 / 16
_KEPT_BYTES = 32 << 20


def wait_with_jitter_s(wait_s: float, rng: random.Random) -> float:
    """Bound a wait as Consul does, and add up to a sixteenth, so that clients spread out."""
    bounded_s = min(wait_s, MAX_WAIT_S) if wait_s > 0 else DEFAULT_WAIT_S
    return bounded_s * (1 + rng.uniform(0, _JITTER_RATIO))


class Waiters:
    """Waiting requests, by the topics that may wake them.

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
        """Wait until `changed()` is true or the time is over; it is called when a topic changes.

        Returns:
            whether the client is still connected.

        Raises:
            Refusal: 429, too many requests wait already.
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
        disconnected = asyncio.ensure_future(_disconnect(receive))
        self._add(topics, future, changed)
        try:
            await asyncio.wait(
                (future, disconnected), timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            self._remove(topics, future)
            future.cancel()
            disconnected.cancel()
        return not disconnected.done()

    def wake(self, topics: Iterable[str]) -> None:
        """Wake the requests on these topics whose `changed()` is true."""
        for topic in topics:
            for future, changed in self._by_topic.get(topic, {}).items():
                if not future.done() and changed():
                    future.set_result(None)

    def close(self) -> None:
        """Answer all waiting requests, and never wait again: the server stops."""
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


class Bodies:
    """The newest JSON bodies; each is valid until the catalog's next write."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._kept: LRUCache[Hashable, tuple[int, bytes]] = LRUCache(
            _KEPT_BYTES, getsizeof=lambda kept: len(kept[1])
        )

    def get(self, question: Hashable, make: Callable[[], Any]) -> bytes:
        """Return the body for a question; `make` returns the value if it must be written anew."""
        generation, body = self._kept.get(question, (-1, b""))
        if generation != self._catalog.generation:
            body = msgspec.json.encode(make())
            if len(body) <= _KEPT_BYTES:
                self._kept[question] = (self._catalog.generation, body)
        return body
