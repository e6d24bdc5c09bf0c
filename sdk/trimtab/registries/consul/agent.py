"""One Consul agent: asked over HTTP, with its refusals in our words."""

from __future__ import annotations

import asyncio
from contextlib import nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import httpx

from trimtab.errors import RegistryUnavailableError
from trimtab.registries.asking import Answer, Asker
from trimtab.registries.consul.headers import is_mistaken, read_refusal

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Agent"]

# A thousand services begin at once, and Consul permits 200 connections per client address.
_AT_A_TIME = 16
_CUT = (httpx.RemoteProtocolError, httpx.ReadError)


class Agent:
    """One agent or server of a Consul cluster.

    Args:
        base: the beginning of its HTTP URLs.
        url: how messages name it.
        settings: of its `Asker`.
    """

    def __init__(self, base: str, url: str, **settings: Any) -> None:
        self.url = url
        self._base = base
        # Two, since httpcore looks at every connection of a pool at every question: where many
        # questions are held, those beyond the first few are held apart.
        self._few, self._many = Asker(url, **settings), Asker(url, **settings)
        self._open = 0
        self._turns: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore] = (
            WeakKeyDictionary()
        )

    async def read(
        self,
        path: str,
        params: Sequence[tuple[str, str]],
        *,
        timeout_s: float,
        is_stale: bool = False,
        is_held: bool = False,
    ) -> Answer:
        """Ask, and give an answer of 200 only: those of errors carry index 1, which means nothing.

        Args:
            path: of the URL, quoted.
            params: of the URL.
            timeout_s: the bound on each try.
            is_stale: ask a second time at once after a 500: the agent may still hold a connection
                to a dead server, and the next try takes another.
            is_held: Consul may hold it back; the others take turns, a few at a time.

        Raises:
            RegistryError: see `trimtab.registries.protocol`.
        """
        asker = self._many if is_held and self._open >= _AT_A_TIME else self._few
        ask = partial(self._ask, asker, "GET", path, params=list(params), timeout_s=timeout_s)
        async with nullcontext() if is_held else self.turn():
            answer = await ask()
            if is_stale and _is_trouble(answer):
                answer = await ask()
        if answer.status == httpx.codes.OK:
            return answer
        raise read_refusal(self.url, answer)

    async def ask(self, method: str, path: str, *, timeout_s: float, **options: Any) -> Answer:
        """Ask once, and give the answer whatever its status.

        Raises:
            RegistryUnavailableError: none came; see `Asker.ask`, also for the rest.
        """
        return await self._ask(self._few, method, path, timeout_s=timeout_s, **options)

    async def _ask(self, asker: Asker, method: str, path: str, **options: Any) -> Answer:
        self._open += 1
        try:
            return await asker.ask(method, self._base + path, **options)
        except RegistryUnavailableError as error:
            if self._open > 1 and isinstance(error.__cause__, _CUT):
                raise RegistryUnavailableError(
                    f"{error} (if the agent runs: it cuts connections beyond "
                    "http_max_conns_per_client, 200 per address by default; this registry has "
                    f"{self._open} questions open; raise that limit, or lower watches=)"
                ) from error.__cause__
            raise
        finally:
            self._open -= 1

    async def aclose(self) -> None:
        """Close the connections."""
        await self._few.aclose()
        await self._many.aclose()

    def turn(self) -> asyncio.Semaphore:
        """Give what a question that Consul answers at once is asked under: a few at a time."""
        return self._turns.setdefault(asyncio.get_running_loop(), asyncio.Semaphore(_AT_A_TIME))


def _is_trouble(answer: Answer) -> bool:
    return answer.status == httpx.codes.INTERNAL_SERVER_ERROR and not is_mistaken(answer)
