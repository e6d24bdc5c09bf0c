"""Active health checks: one task per check, each at its own interval."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from functools import partial
from typing import TYPE_CHECKING

import httpx

from trimtab.health.probing import ProbeState
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

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from trimtab.server.definitions import CheckDefinition

__all__ = ["Prober"]

_MIN_INTERVAL_S = 0.05
_MAX_AT_ONCE = 64
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
        self._transports = HttpTransports()
        self._at_once = asyncio.Semaphore(_MAX_AT_ONCE)

    def set(self, check_id: str, definition: CheckDefinition | None) -> None:
        """Replace the check of this id; None or a TTL check runs nothing."""
        if check_id in self._tasks:
            self._tasks.pop(check_id).cancel()
        if definition is not None and definition.type != "ttl":
            self._tasks[check_id] = asyncio.create_task(self._repeat(check_id, definition))

    async def aclose(self) -> None:
        """Stop all checks, also those under way."""
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

        def report(result: ProbeResult, verdict: bool | None) -> None:  # noqa: FBT001 - as repeat has it
            if verdict is not None:
                self._report(check_id, result)

        await repeat(
            state,
            partial(_check_in_time, definition, self._transports),
            report,
            at_once=self._at_once,
        )


async def _check_in_time(definition: CheckDefinition, transports: HttpTransports) -> ProbeResult:
    """Check once, within the check's timeout (default 10 s, a script 30 s). Never raises."""
    timeout_s = definition.timeout_s or (
        _SCRIPT_TIMEOUT_S if definition.type == "script" else _TIMEOUT_S
    )
    carry_out = partial(_check, definition, transports)
    return await bounded(carry_out, what=definition.type, timeout_s=timeout_s)


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
