"""httpx clients enough for many long questions at a time.

httpcore looks at every connection of a pool again and again for each question, so that a thousand
watches in one pool take minutes to begin. Here no pool serves more than a few.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import httpx

from trimtab.registries.handshakes import close_cancelled_handshakes

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Clients"]

_BUSY = 16
"""How many questions one client has under way at most; the measured cost is flat up to there."""


class Clients:
    """Clients of one event loop, made when needed; they all have the same settings.

    Args:
        settings: those of `httpx.AsyncClient`. With a transport of the user's own there is one
            client, since clients close their transports.
    """

    def __init__(self, **settings: Any) -> None:
        if settings.get("transport") is None and isinstance(settings.get("verify"), bool):
            # Made once: it costs more than all the rest of a client.
            verify = httpx.create_ssl_context(verify=settings["verify"], trust_env=False)
            settings = {**settings, "verify": verify}
        self._settings = settings
        self._at_most = _BUSY if settings.get("transport") is None else float("inf")
        self._all: list[_Client] = []

    def __len__(self) -> int:
        return len(self._all)

    @contextmanager
    def one(self) -> Iterator[httpx.AsyncClient]:
        """Lend a client for one question: the first that is not busy, to keep connections warm."""
        found = next((each for each in self._all if each.busy < self._at_most), None)
        if found is None:
            found = _Client(self._settings)
            self._all.append(found)
        found.busy += 1
        try:
            yield found.client
        finally:
            found.busy -= 1

    async def aclose(self) -> None:
        """Close all connections."""
        while self._all:
            await self._all.pop().client.aclose()


class _Client:
    """A client, and how many questions it has under way."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self.busy = 0
        limits = httpx.Limits(max_connections=None)
        self.client = httpx.AsyncClient(**settings, trust_env=False, limits=limits)
        close_cancelled_handshakes(self.client)
