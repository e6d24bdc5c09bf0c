"""httpx clients enough for many long questions at a time.

httpcore looks at every connection of a pool again and again for each question, so that a thousand
watches in one pool take minutes to begin. Here no pool serves more than a few.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import httpx

from trimtab.http import AsyncInnerTransport, Family, SharedContext

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Clients"]

_BUSY = 16
"""How many questions one client has under way at most; the measured cost is flat up to there."""


class Clients:
    """Clients of one event loop, made when needed; they all have the same settings.

    Args:
        verify: an SSL context, or whether to check certificates.
        transport: the user's own. Then there is one client, since clients close their transports.
        settings: the others of `httpx.AsyncClient`.
    """

    def __init__(self, *, verify: Any = True, transport: Any = None, **settings: Any) -> None:
        self._tls = SharedContext(verify, trust_env=False)
        self._transport = transport
        self._settings = settings
        self._at_most = _BUSY if transport is None else float("inf")
        self._all: list[_Client] = []

    def __len__(self) -> int:
        return len(self._all)

    @contextmanager
    def one(self) -> Iterator[httpx.AsyncClient]:
        """Lend a client for one question: the first that is not busy, to keep connections warm."""
        found = next((each for each in self._all if each.busy < self._at_most), None)
        if found is None:
            found = _Client(self._make())
            self._all.append(found)
        found.busy += 1
        try:
            yield found.client
        finally:
            found.busy -= 1

    def _make(self) -> httpx.AsyncClient:
        transport = self._transport
        if transport is None:
            limits = httpx.Limits(max_connections=None)
            transport = AsyncInnerTransport(Family(httpx), limits=limits, tls=self._tls)
        return httpx.AsyncClient(transport=transport, trust_env=False, **self._settings)

    async def aclose(self) -> None:
        """Close all connections."""
        while self._all:
            await self._all.pop().client.aclose()


class _Client:
    """A client, and how many questions it has under way."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self.busy = 0
        self.client = client
