"""The client's own probes of simulated servers, as the SDK's `Look`."""

from __future__ import annotations

import asyncio
from itertools import count
from typing import TYPE_CHECKING

from trimtab.instance import Status
from trimtab.probing import Finding

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from trimtab import Instance
    from trimtab.check import Check
    from trimtab_sim.world.places import Place
    from trimtab_sim.world.servers import Server
    from trimtab_sim.world.world import World

__all__ = ["probe_from"]

_FIRST_PROBE = 10**12
"""Random draws of messages are keyed by request; probes have numbers that no request reaches."""


def probe_from(world: World, place: Place) -> Callable[[Check, Instance], Awaitable[Finding]]:
    """Make the SDK's `Look` for a client at a place.

    A probe takes the network's time there and back, and no time at the server. A black hole does
    not answer. A server that hangs still accepts connections. One that answers errors answers HTTP
    probes with them.
    """
    numbers = count(_FIRST_PROBE)

    async def probe(check: Check, instance: Instance) -> Finding:
        server, number = world.route(instance), next(numbers)
        await _travel(world.network.delay(place, server.place, number, 0))
        finding = _answer(server, check)
        if finding is None:
            await _travel(None)
        await _travel(world.network.delay(server.place, place, number, 1))
        assert finding is not None
        return finding

    return probe


def _answer(server: Server, check: Check) -> Finding | None:
    """Return a server's answer to a probe; None if it does not answer."""
    if server.is_dark:
        return None
    if not server.is_alive or server.is_refusing:
        return Finding(Status.CRITICAL, "connection refused")
    if check.kind == "tcp":
        return Finding(Status.PASSING, "connected")
    if server.is_hung:
        return None
    if server.error is not None and not check.expects(server.error[1]):
        return Finding(Status.CRITICAL, f"HTTP {server.error[1]}")
    return Finding(Status.PASSING, "HTTP 200")


async def _travel(delay_s: float | None) -> None:
    if delay_s is None:
        # Until the probe's timeout.
        await asyncio.get_running_loop().create_future()
    elif delay_s:
        await asyncio.sleep(delay_s)
