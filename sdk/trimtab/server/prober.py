"""Active health checks: one task per check, each at its own interval.

After a restart, the status of a check is what it was before, and the instance may be dead by now.
So `set(..., restored=True)` checks at once, and again without waiting for the interval, until
enough results agree. `settled` waits for these.
"""

from __future__ import annotations

import asyncio
from base64 import b64encode
from functools import partial
from typing import TYPE_CHECKING

import httpx

from trimtab.health.probing import ProbeState
from trimtab.instance import Status
from trimtab.probing import (
    HttpTransports,
    ProbeResult,
    bounded,
    http_request,
    probe_http,
    probe_script,
    probe_tcp,
    repeat,
)
from trimtab.server.lanes import Lanes, Place

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from trimtab.server.definitions import CheckDefinition

__all__ = ["Prober"]

_MIN_INTERVAL_S = 0.05
_AGAIN_S = 0.05
_TIMEOUT_S = 10.0
_SCRIPT_TIMEOUT_S = 30.0


class Prober:
    """Runs the HTTP, TCP and script checks, and reports their results.

    Args:
        report: called on the loop with the check's id and a result that enough results in a row
            have confirmed.
        rng: spreads the first probes over the interval, so that checks registered together do
            not run at the same time ever after.
    """

    def __init__(self, report: Callable[[str, ProbeResult], None], rng: random.Random) -> None:
        self._report = report
        self._rng = rng
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._unsettled: set[asyncio.Future[None]] = set()
        self._transports = HttpTransports()
        self._lanes = Lanes()

    def set(
        self, check_id: str, definition: CheckDefinition | None, *, restored: bool = False
    ) -> None:
        """Replace the check of this id; None or a TTL check runs nothing.

        With `restored`, its status is from before a restart, and is checked at once.
        """
        if check_id in self._tasks:
            self._tasks.pop(check_id).cancel()
        if definition is None or definition.type == "ttl":
            return
        run = _Run(definition, self._transports, self._lanes)
        settled = asyncio.get_running_loop().create_future() if restored else None
        self._tasks[check_id] = task = asyncio.create_task(self._repeat(check_id, run, settled))
        if settled:
            self._unsettled.add(settled)
            task.add_done_callback(lambda _: settled.cancel())

    async def settled(self, *, timeout_s: float) -> None:
        """Wait until every restored check has a confirmed result, at most `timeout_s`."""
        if self._unsettled:
            await asyncio.wait(self._unsettled, timeout=timeout_s)
        self._unsettled.clear()

    async def aclose(self) -> None:
        """Stop all checks, also those under way."""
        tasks = list(self._tasks.values())
        self._tasks.clear()
        self._lanes.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._transports.aclose()

    async def _repeat(self, check_id: str, run: _Run, settled: asyncio.Future[None] | None) -> None:
        state, time = run.schedule(self._rng), asyncio.get_running_loop().time
        while settled and not settled.done():
            async with run.place:
                result = await run.carry_out()
            if state.result(time(), ok=result.ok) is None:
                await asyncio.sleep(_AGAIN_S)
                continue
            self._report(check_id, result)
            settled.set_result(None)

        def report(result: ProbeResult, verdict: bool | None) -> None:  # noqa: FBT001 - as repeat has it
            if verdict is not None:
                self._report(check_id, result)

        await repeat(state, run.carry_out, report, at_once=run.place)


class _Run:
    """The runs of one check: their schedule, their place in the lanes, and how to do one."""

    def __init__(
        self, definition: CheckDefinition, transports: HttpTransports, lanes: Lanes
    ) -> None:
        self._definition = definition
        self._transports = transports
        self._default_s = _SCRIPT_TIMEOUT_S if definition.type == "script" else _TIMEOUT_S
        self._limit: asyncio.Timeout | None = None
        self.place = Place(lanes, self._default_s, self._end)

    def schedule(self, rng: random.Random) -> ProbeState:
        """Make the schedule, from now on."""
        return ProbeState(
            rng,
            asyncio.get_running_loop().time(),
            interval_s=max(self._definition.interval_s, _MIN_INTERVAL_S),
            rise=max(self._definition.success_before_passing, 1),
            fall=max(self._definition.failures_before_critical, 1),
        )

    async def carry_out(self) -> ProbeResult:
        """Check once, within the check's timeout (default 10 s, a script 30 s). Never raises."""
        kind, timeout_s = self._definition.type, self._definition.timeout_s or self._default_s
        check = partial(_check, self._definition, self._transports)
        try:
            async with asyncio.timeout(None) as self._limit:
                return await bounded(check, what=kind, timeout_s=timeout_s)
        except TimeoutError:
            return ProbeResult(
                Status.CRITICAL,
                f"{kind} check ended after {self._default_s:g} s or more, since other checks "
                f"wait; its time-out of {timeout_s:g} s is too long for this registry",
            )
        finally:
            self._limit = None

    def _end(self) -> None:
        if self._limit:
            self._limit.reschedule(asyncio.get_running_loop().time())


async def _check(definition: CheckDefinition, transports: HttpTransports) -> ProbeResult:
    if definition.type == "http":
        return await _check_by_http(definition, transports)
    if definition.type == "tcp":
        host, _, port = definition.tcp.rpartition(":")
        return await probe_tcp(host.strip("[]"), int(port))
    return await probe_script(definition.args, max_bytes=definition.output_max_size)


async def _check_by_http(definition: CheckDefinition, transports: HttpTransports) -> ProbeResult:
    """Request the URL: 2xx is passing, all else critical (also 429; Consul calls it warning)."""
    headers = [(name, value) for name, values in definition.header.items() for value in values]
    headers += _credentials(definition.http)
    request = http_request(
        definition.method or "GET",
        definition.http,
        headers=headers,
        content=definition.body or None,
    )
    return await probe_http(
        request,
        transports.get(verify=not definition.tls_skip_verify),
        expects=lambda status: 200 <= status <= 299,  # noqa: PLR2004 - the range of success
        max_bytes=definition.output_max_size,
    )


def _credentials(url: str) -> list[tuple[str, str]]:
    """Read `http://user:password@host/` as Go's HTTP client does."""
    parts = httpx.URL(url)
    if not parts.userinfo:
        return []
    given = f"{parts.username}:{parts.password}".encode()
    return [("Authorization", f"Basic {b64encode(given).decode()}")]
