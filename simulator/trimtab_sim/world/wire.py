"""What stands for one instance's network at the depth `wire`: httpcore over simulated bytes.

The inner transport that ships, with the family's connection pool, HTTP parser and timeouts; only
its network backend is a model (`wire_network`), and at the far end of each connection an
HTTP parser of the server's hands whole requests to the modelled server (`wire_peer`).

What the other depths do not know: connections are made in a round trip, kept, and shared one
after another; those of a server that has died are noticed; a server that refuses new ones goes
on with those it has; a black hole is met while connecting (and tried again elsewhere) or, on a
kept connection, while waiting for the answer. On an ideal network without these the digest is
that of the other depths.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trimtab.http import AsyncInnerTransport, Family
from trimtab_sim.world.http_clients import RIDE
from trimtab_sim.world.wire_network import CURRENT, Backend

if TYPE_CHECKING:
    from trimtab import Instance
    from trimtab_sim.world.http_clients import HttpClient

__all__ = ["WireTransport"]


class WireTransport:
    """An inner transport of `BalancedTransport`: the one that ships, over the simulated network."""

    def __init__(self, client: HttpClient, instance: Instance) -> None:
        self._client = client
        self._instance = instance
        module = client.module
        # httpcore judges the age of idle connections by the machine's clock: they have none here.
        limits = module.Limits(
            max_connections=100, max_keepalive_connections=20, keepalive_expiry=None
        )
        self._inner = AsyncInnerTransport(
            Family(module), limits=limits, network=Backend(client, instance)
        )

    async def handle_async_request(self, request: Any) -> Any:
        """Send a request, named so that the server's luck is that of the request."""
        client = self._client
        ride = request.extensions[RIDE]
        number = client.departs(ride, client.world.route(self._instance))
        CURRENT.set((ride.request, number))
        return await self._inner.handle_async_request(request)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._inner.aclose()
