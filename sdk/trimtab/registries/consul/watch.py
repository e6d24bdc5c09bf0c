"""Follow Consul's lists by blocking queries, and the rules of the index that they hang on."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from trimtab.errors import RegistryAnswerError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from trimtab.registries.consul.agent import Agent
    from trimtab.registries.consul.reader import Agents, ConsulReader, Reading
    from trimtab.registries.consul.settings import ConsulSettings
    from trimtab.registries.protocol import Listing

__all__ = ["ConsulWatch"]

_UNCHANGED_PAUSE_S = 0.2
_POLL_S = 5.0
_POLLS_PER_S = 100.0

_log = logging.getLogger("trimtab.registries")


class ConsulWatch:
    """Asks questions that Consul holds until the list changes.

    Each held question takes one connection, and Consul cuts connections beyond 200 per client
    address by default. Of more services than `max_watches` the rest is asked about every 5 s, and
    all of the rest together no more than 100 times a second; a warning says so once.

    Args:
        settings: see `ConsulSettings`.
        agents: the agents to ask.
        reader: asks for one list.
    """

    def __init__(self, settings: ConsulSettings, agents: Agents, reader: ConsulReader) -> None:
        self.url, self._agents, self._reader = settings.url, agents, reader
        self._wait_s, self._max_watches = settings.wait_s, settings.max_watches
        self._held_count, self._polled_count, self._has_warned = 0, 0, False

    async def watch(self, service: str) -> AsyncIterator[Listing]:
        """Yield the list at once, and after every answer to a blocking query.

        All questions of a watch go to one agent. The rules of the index: after an index that went
        back the next question starts over with 0; an index of 0 would not block, so 1 is asked
        for; and only the index of an answer of 200 means something (`Agent.read` refuses
        others). That an index went back is also told by `Listing.reset`, which the reader sets.

        Raises:
            RegistryError: see `trimtab.registries.protocol`.
        """
        loop = asyncio.get_running_loop()
        index, version = 0, ""
        with self._agents.asked() as agent:
            while True:
                asked_at = loop.time()
                reading = await self._next(agent, service, index)
                index = _following(agent, index, reading.index)
                yield reading.listing
                if (
                    reading.listing.version == version
                    and loop.time() - asked_at < _UNCHANGED_PAUSE_S
                ):
                    # The answer came at once with nothing new: other services changed, or the agent
                    # ignores the index. A change during the pause is not lost, thanks to the index.
                    await asyncio.sleep(_UNCHANGED_PAUSE_S)
                version = reading.listing.version

    async def _next(self, agent: Agent, service: str, index: int) -> Reading:
        """Wait for a change by a question that Consul holds; for a while if too many are held."""
        if not index:
            return await self._reader.health(agent, service)
        if self._held_count >= self._max_watches:
            await self._wait_to_poll()
            return await self._reader.health(agent, service)
        self._held_count += 1
        try:
            return await self._reader.health(agent, service, index, self._wait_s)
        finally:
            self._held_count -= 1

    async def _wait_to_poll(self) -> None:
        """Wait between two polls; the more services are polled, the longer."""
        self._warn()
        self._polled_count += 1
        try:
            await asyncio.sleep(max(_POLL_S, self._polled_count / _POLLS_PER_S))
        finally:
            self._polled_count -= 1

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


def _following(agent: Agent, known: int, answered: int | None) -> int:
    """Return the index to ask for next, after an answer; `known` is the last index."""
    if answered is None:
        raise RegistryAnswerError(
            f"{agent.url}: no X-Consul-Index in the answer, so it cannot be watched; "
            "add ?poll=1 if this is a proxy that drops it"
        )
    return 0 if answered < known else max(answered, 1)
