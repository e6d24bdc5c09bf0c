"""When to look: one task per active check, each at its own interval."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

from trimtab.health.probing import ProbeState
from trimtab.probing import HttpTransports, ProbeResult, repeat
from trimtab.server.probes import look

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from trimtab.server.definitions import CheckDefinition

__all__ = ["Prober"]

_MIN_INTERVAL_S = 0.05
_MAX_AT_ONCE = 64


class Prober:
    """Runs the HTTP, TCP and script checks, and reports what they find.

    Args:
        report: called with the check's id and a result that is to be believed, in the loop's
            thread: one that enough before it have agreed with.
        rng: spreads the first looks over the interval, so that checks registered together
            do not run together for ever.
    """

    def __init__(self, report: Callable[[str, ProbeResult], None], rng: random.Random) -> None:
        self._report = report
        self._rng = rng
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._transports = HttpTransports()
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
        await self._transports.aclose()

    async def _repeat(self, check_id: str, definition: CheckDefinition) -> None:
        state = ProbeState(
            self._rng,
            asyncio.get_running_loop().time(),
            interval_s=max(definition.interval_s, _MIN_INTERVAL_S),
            rise=max(definition.success_before_passing, 1),
            fall=max(definition.failures_before_critical, 1),
        )

        def tell(result: ProbeResult, verdict: bool | None) -> None:  # noqa: FBT001 - as repeat has it
            if verdict is not None:
                self._report(check_id, result)

        await repeat(
            state, partial(look, definition, self._transports), tell, at_once=self._at_once
        )
