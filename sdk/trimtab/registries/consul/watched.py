"""Consul by blocking queries: a question is held until the list changes."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from trimtab.errors import ConfigurationError, RegistryAnswerError
from trimtab.registries.consul.polled import ConsulPolledRegistry

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from trimtab.registries.consul.agent import Agent
    from trimtab.registries.consul.reader import Reading
    from trimtab.registries.protocol import Listing

__all__ = ["ConsulRegistry"]

_MAX_WAIT_S = 60.0
_PAUSE_S = 0.2
_POLL_S = 5.0
_POLLS_PER_S = 100.0

_log = logging.getLogger("trimtab.registries")


class ConsulRegistry(ConsulPolledRegistry):
    """Follow Consul's lists by blocking queries, and register at its agent.

    Each question that Consul holds takes one connection, and Consul cuts connections beyond 200
    per client address by default. Of more services than `max_watches` the rest is asked about
    every 5 s, and all of the rest together no more than 100 times a second; a warning says so once.

    Args:
        url: see `ConsulReader`, also for the settings not named here or there.
        wait_s: how long Consul may hold a question while nothing changes; more than 0, at most
            60: a question that its client abandoned lives on in the server for so long.
        max_watches: how many questions may be held at a time, 1 or more; with all the processes
            of this machine together they must stay below Consul's http_max_conns_per_client.
        settings: those of `ConsulPolledRegistry` and `ConsulReader`.

    Raises:
        ConfigurationError: a setting is wrong.
    """

    def __init__(
        self, url: str, *, wait_s: float = 30.0, max_watches: int = 128, **settings: Any
    ) -> None:
        super().__init__(url, **settings)
        if not 0 < wait_s <= _MAX_WAIT_S:
            raise ConfigurationError(
                f"{self.url}: wait_s is {wait_s!r}; it must be more than 0 and at most 60"
            )
        if not max_watches >= 1:
            raise ConfigurationError(
                f"{self.url}: max_watches is {max_watches!r}; it must be 1 or more (or use poll)"
            )
        self._wait_s, self._max_watches = wait_s, max_watches
        self._held, self._polled, self._has_warned = 0, 0, False
        self.key += f" {wait_s:g} {max_watches}"

    async def watch(self, service: str) -> AsyncIterator[Listing]:
        """Yield the list at once, and after every answer to a blocking query.

        The whole of a watch is asked of one agent. The index rules: an index that goes back is
        started over from 0, 0 itself would not block, and only an answer of 200 has one that
        means something.

        Raises:
            RegistryError: see `trimtab.registries.protocol`.
        """
        loop = asyncio.get_running_loop()
        index, version = 0, ""
        with self._asked() as agent:
            while True:
                asked_at = loop.time()
                reading = await self._next(agent, service, index)
                index = _following(agent, index, reading.index)
                yield reading.listing
                if reading.listing.version == version and loop.time() - asked_at < _PAUSE_S:
                    # It answered at once with nothing new: other services changed, or it ignores
                    # the index. What changes during the pause is not lost, thanks to the index.
                    await asyncio.sleep(_PAUSE_S)
                version = reading.listing.version

    async def _next(self, agent: Agent, service: str, index: int) -> Reading:
        """Wait for news by a question that Consul holds; by the clock if too many are held."""
        if not index:
            return await self._health(agent, service)
        if self._held >= self._max_watches:
            await self._pause()
            return await self._health(agent, service)
        self._held += 1
        try:
            return await self._health(agent, service, index, self._wait_s)
        finally:
            self._held -= 1

    async def _pause(self) -> None:
        """Wait as long as is right between two polls, the more pollers the longer."""
        self._warn()
        self._polled += 1
        try:
            await asyncio.sleep(max(_POLL_S, self._polled / _POLLS_PER_S))
        finally:
            self._polled -= 1

    def _warn(self) -> None:
        if not self._has_warned:
            self._has_warned = True
            _log.warning(
                "%s: more than %d services are watched; the rest is asked about every %g s; raise "
                "watches= in the URL, below Consul's http_max_conns_per_client",
                self.url,
                self._max_watches,
                _POLL_S,
            )


def _following(agent: Agent, asked: int, answered: int | None) -> int:
    """Give the index to ask for next, after an answer to a question with `asked`."""
    if answered is None:
        raise RegistryAnswerError(
            f"{agent.url}: no X-Consul-Index in the answer, so it cannot be watched; "
            "add ?poll=1 if this is a proxy that drops it"
        )
    return 0 if answered < asked else max(answered, 1)
