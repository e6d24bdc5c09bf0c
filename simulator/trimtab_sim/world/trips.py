"""One attempt on its way: from a client to a server and back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from trimtab_sim.events import Step, call_at

if TYPE_CHECKING:
    import simpy

    from trimtab_sim.world.network import Network
    from trimtab_sim.world.places import Place
    from trimtab_sim.world.servers import Server

__all__ = ["Fate", "Trip", "send"]

Fate: TypeAlias = Literal["answered", "refused", "broken"]
"""How the world ends an attempt; silence is for the client's timeout to end."""


class Trip(Step):
    """An attempt as the world sees it; who sends it gives `arrived` a meaning.

    It is the event of its own completion at the server, to spare one for each.

    Attributes:
        life: the server's life in which it was begun; a crash ends a life.
        request: the id of the request, which keys its luck.
        attempt: which attempt of it, counted from 0.
        is_over: nobody waits for it any more.
        is_connected: it came over a connection that had been made before.
    """

    is_connected = False
    __slots__ = ("attempt", "client", "is_over", "life", "request", "server")

    def __init__(self, client: Place, server: Server, request: int, attempt: int) -> None:
        self.client = client
        self.server = server
        self.request = request
        self.attempt = attempt
        self.is_over = False
        self.life = 0

    def arrived(self, fate: Fate, status: int) -> None:
        """Take the outcome, at the client, in time. `status` is 0 unless answered."""
        raise NotImplementedError


def send(env: simpy.Environment, network: Network, trip: Trip) -> None:
    """Put an attempt on its way to its server."""
    server = trip.server
    if network.is_ideal:
        server.receive(trip)
        return
    delay = network.delay(trip.client, server.place, trip.request, 2 * trip.attempt)
    if delay is not None:
        call_at(env, env.now + delay, _at_server, trip)


def reply(env: simpy.Environment, network: Network, trip: Trip, fate: Fate, status: int) -> None:
    """Put the outcome on its way back to the client."""
    if network.is_ideal:
        if not trip.is_over:
            trip.arrived(fate, status)
        return
    delay = network.delay(trip.server.place, trip.client, trip.request, 2 * trip.attempt + 1)
    if delay is not None:
        call_at(env, env.now + delay, _at_client, (trip, fate, status))


def _at_server(step: Any) -> None:
    trip = step.payload
    trip.server.receive(trip)


def _at_client(step: Any) -> None:
    trip, fate, status = step.payload
    if not trip.is_over:
        trip.arrived(fate, status)
