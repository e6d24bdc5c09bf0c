"""One attempt on its way: from a client to a server and back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from trimtab_sim.events import Step, call_at

if TYPE_CHECKING:
    import simpy

    from trimtab_sim.world.network import Network
    from trimtab_sim.world.places import Place
    from trimtab_sim.world.servers import Server

__all__ = ["Attempt", "Ending", "send"]

Ending: TypeAlias = Literal["answered", "refused", "broken"]
"""How the world ends an attempt. An attempt without an answer ends by the client's timeout."""


class Attempt(Step):
    """An attempt as the world sees it; subclasses define what `arrived` does.

    It is also the event that the server has finished it, which saves one event for each attempt.

    Attributes:
        life: which process of the server began it; a crash ends a process with its attempts.
        request: the id of the request, which keys its random draws.
        number: counts the attempts of the request from 0.
        cost: multiplies the time that a server takes for it.
        is_over: the client does not wait for it any more.
        is_connected: it came over a connection that was open before.
        is_question: it asks for the server's load, and nothing else.
        wants_load: it asks for a report of the server's load with the answer.
        load: that report, as in the header `endpoint-load-metrics`; "" without one.
    """

    is_connected = False
    is_question = False
    __slots__ = (
        "client",
        "cost",
        "is_over",
        "life",
        "load",
        "number",
        "request",
        "server",
        "wants_load",
    )

    def __init__(self, client: Place, server: Server, request: int, number: int) -> None:
        self.client = client
        self.server = server
        self.request = request
        self.number = number
        self.cost = 1.0
        self.is_over = False
        self.life = 0
        self.wants_load = False
        self.load = ""

    def arrived(self, ending: Ending, status: int) -> None:
        """Take the outcome at the client, at its time. `status` is 0 unless it was answered."""
        raise NotImplementedError


def send(env: simpy.Environment, network: Network, attempt: Attempt) -> None:
    """Put an attempt on its way to its server."""
    server = attempt.server
    if network.is_ideal:
        server.receive(attempt)
        return
    delay = network.delay(attempt.client, server.place, attempt.request, 2 * attempt.number)
    if delay is not None:
        call_at(env, env.now + delay, _at_server, attempt)


def reply(
    env: simpy.Environment, network: Network, attempt: Attempt, ending: Ending, status: int
) -> None:
    """Put the outcome on its way back to the client."""
    if network.is_ideal:
        if not attempt.is_over:
            attempt.arrived(ending, status)
        return
    delay = network.delay(
        attempt.server.place, attempt.client, attempt.request, 2 * attempt.number + 1
    )
    if delay is not None:
        call_at(env, env.now + delay, _at_client, (attempt, ending, status))


def _at_server(step: Any) -> None:
    attempt = step.payload
    attempt.server.receive(attempt)


def _at_client(step: Any) -> None:
    attempt, ending, status = step.payload
    if not attempt.is_over:
        attempt.arrived(ending, status)
