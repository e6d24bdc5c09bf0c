"""When to look: one task per active check, each at its own interval."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from trimtab.server.probes import Finding, HttpClients, look

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from trimtab.server.definitions import CheckDefinition

__all__ = ["Prober"]

_MIN_INTERVAL_S = 0.05
_MAX_AT_ONCE = 64


class Prober:
    """Runs the HTTP, TCP and script checks, and reports what each look finds.

    Args:
        report: called with the check's id and the finding, in the loop's thread.
        rng: spreads the first looks over the interval, so that checks registered together
            do not run together for ever.
    """

    def __init__(self, report: Callable[[str, Finding], None], rng: random.Random) -> None:
        self._report = report
        self._rng = rng
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._clients = HttpClients()
        self._at_once = asyncio.Semaphore(_MAX_AT_ONCE)

    def set(self, check_id: str, definition: CheckDefinition | None) -> None:
        """Start looking by this definition, or stop looking when it is None or a TTL."""
        if check_id in self._tasks:
            self._tasks.pop(check_id).cancel()
        if definition is not None and definition.type != "ttl":
            self._tasks[check_id] = asyncio.create_task(self._repeat(check_id, definition))

    async def aclose(self) -> None:
        """Stop all looks, also those under way."""
        tasks = list(self._tasks.values())
        self._tasks.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._clients.aclose()

    async def _repeat(self, check_id: str, definition: CheckDefinition) -> None:
        interval_s = max(definition.interval_s, _MIN_INTERVAL_S)
        await asyncio.sleep(self._rng.uniform(0, interval_s))
        while True:
            async with self._at_once:
                finding = await look(definition, self._clients)
            self._report(check_id, finding)
            await asyncio.sleep(interval_s)
