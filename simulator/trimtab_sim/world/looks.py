"""How a client's own probes see the servers: for the SDK, one more way to look at an instance."""

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

__all__ = ["look_from"]

_FIRST_PROBE = 10**12
"""The luck of messages is keyed by request; probes have numbers that no request reaches."""


def look_from(world: World, place: Place) -> Callable[[Check, Instance], Awaitable[Finding]]:
    """Make the SDK's `Look` for a client at a place.

    A probe takes the way there and back, and no time at the server. A hole swallows it, a server
    that hangs still takes connections, one that answers errors answers HTTP probes with them.
    """
    numbers = count(_FIRST_PROBE)

    async def look(check: Check, instance: Instance) -> Finding:
        server, number = world.route(instance), next(numbers)
        await _travel(world.network.delay(place, server.place, number, 0))
        finding = _seen(server, check)
        if finding is None:
            await _travel(None)
        await _travel(world.network.delay(server.place, place, number, 1))
        assert finding is not None
        return finding

    return look


def _seen(server: Server, check: Check) -> Finding | None:
    """Say how a server answers a probe; None: not at all."""
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
        # Until the probe's time is up.
        await asyncio.get_running_loop().create_future()
    elif delay_s:
        await asyncio.sleep(delay_s)
