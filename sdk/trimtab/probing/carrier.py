"""Carry out probes: one within its time (`probe`), or one after another (`repeat`).

`NetworkCarrier` carries out every kind of check over the network; `repeat` follows a schedule of
`trimtab.health.probing`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from functools import partial
from typing import TYPE_CHECKING, NoReturn

from trimtab.health.probing import ProbeResult
from trimtab.instance import Status
from trimtab.probing.http import HttpTransports, http_request, probe_http
from trimtab.probing.script import probe_script

if TYPE_CHECKING:
    import ssl
    from collections.abc import Awaitable, Callable
    from contextlib import AbstractAsyncContextManager

    from trimtab.check import Check
    from trimtab.health.probing import ProbeCarrier, ProbeState
    from trimtab.instance import Instance

__all__ = ["NetworkCarrier", "bounded", "probe", "probe_tcp", "repeat"]

logger = logging.getLogger("trimtab.probing")


async def bounded(
    carry_out: Callable[[], Awaitable[ProbeResult]], *, what: str, timeout_s: float
) -> ProbeResult:
    """Wait for a probe; an error or a time-out makes the instance critical. Never raises.

    `what` names the kind of probe in the text.
    """
    try:
        async with asyncio.timeout(timeout_s):
            return await carry_out()
    except TimeoutError:
        return ProbeResult(Status.CRITICAL, f"{what} check timed out after {timeout_s:g} s")
    except Exception as error:  # noqa: BLE001 - see above
        return ProbeResult(Status.CRITICAL, f"{type(error).__name__}: {error}")


async def probe_tcp(
    host: str, port: int, *, refusal_of: Callable[[str], str | None] | None = None
) -> ProbeResult:
    """Open a connection and close it; passing if that works.

    Args:
        host: a name or an address.
        port: the port.
        refusal_of: says why an address may not be probed; None if it may, or is a name. What a
            name resolves to is judged, too.

    Raises:
        OSError: the connection cannot be opened.
        PermissionError: the address may not be probed.
    """
    _check_allowed(host, refusal_of)
    _, writer = await asyncio.open_connection(host, port)
    writer.close()
    peer = writer.get_extra_info("peername")
    _check_allowed(str(peer[0]) if peer else "", refusal_of)
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    in_brackets = f"[{host}]" if ":" in host else host
    return ProbeResult(Status.PASSING, f"TCP connect {in_brackets}:{port}: Success")


def _check_allowed(address: str, refusal_of: Callable[[str], str | None] | None) -> None:
    reason = refusal_of(address) if refusal_of else None
    if reason:
        raise PermissionError(f"it is not probed: {reason}")


async def probe(check: Check, instance: Instance, carrier: ProbeCarrier) -> ProbeResult:
    """Probe the instance once, within the check's `timeout_s`. Never raises."""
    carry_out = partial(carrier, check, instance)
    return await bounded(carry_out, what=check.kind, timeout_s=check.timeout_s)


class NetworkCarrier:
    """Carries out checks over the network, and scripts on this machine. Belongs to one event loop.

    Args:
        context: the TLS context of HTTPS checks; None: the system's authorities.
        refusal_of: says why an address may not be probed; None if it may, or is a name.
    """

    def __init__(
        self,
        context: ssl.SSLContext | None = None,
        *,
        refusal_of: Callable[[str], str | None] | None = None,
    ) -> None:
        self._refusal_of = refusal_of
        self._transports = HttpTransports(context, refusal_of=refusal_of)

    async def __call__(self, check: Check, instance: Instance) -> ProbeResult:
        """Carry out a check on an instance once.

        Raises:
            Exception: any failure; the instance is critical then.
        """
        host, port = check.address(instance)
        if check.kind == "tcp":
            return await probe_tcp(host, port, refusal_of=self._refusal_of)
        if check.kind == "script":
            environment = {
                "TRIMTAB_INSTANCE_ID": instance.id,
                "TRIMTAB_HOST": host,
                "TRIMTAB_PORT": str(port),
            }
            return await probe_script(check.command, environment=environment)
        url = check.url(instance)
        # Loading the certificates of all authorities is slow, and plain HTTP needs none.
        transport = self._transports.get(verify=check.verify and url.startswith("https:"))
        return await probe_http(http_request("GET", url), transport, expects=check.expects)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._transports.aclose()


async def repeat(
    state: ProbeState,
    carry_out: Callable[[], Awaitable[ProbeResult]],
    report: Callable[[ProbeResult, bool | None], None],
    *,
    at_once: AbstractAsyncContextManager[object],
) -> NoReturn:
    """Probe at the times of a schedule, until cancelled.

    Args:
        state: the schedule; it gets each result.
        carry_out: carries out one probe; must not raise.
        report: called with each result and the verdict after it (None: no verdict yet); what it
            raises is logged.
        at_once: entered for each probe, such as a semaphore that limits how many run at the same
            time. A probe that waits for it starts late, and its next interval counts from then.
    """
    time = asyncio.get_running_loop().time
    while True:
        await asyncio.sleep(max(0.0, state.next_at - time()))
        async with at_once:
            state.begin(time())
            result = await carry_out()
        verdict = state.result(time(), ok=result.ok)
        try:
            report(result, verdict)
        except Exception:
            logger.exception("a callback for probe results failed")
