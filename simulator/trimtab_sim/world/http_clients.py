"""Clients at the depths `client` and `wire`: real HTTP clients with the shipping transport."""

from __future__ import annotations

import asyncio
from functools import cache
from importlib import import_module
from itertools import count
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from trimtab import BalancedTransport
from trimtab.errors import DiscoveryError, PickError
from trimtab.http.families import Family
from trimtab_sim.recorder import Outcome
from trimtab_sim.world.clients import FIRST_BAD_STATUS, Client
from trimtab_sim.world.deadlines import Deadlines

if TYPE_CHECKING:
    from collections.abc import Callable

    from trimtab.balancing import Service
    from trimtab.calls import Failure
    from trimtab_sim.scenario.content import Clients as Group
    from trimtab_sim.world.places import Place
    from trimtab_sim.world.servers import Server
    from trimtab_sim.world.world import World

__all__ = ["RECORD", "FamilyName", "HttpClient", "RequestRecord", "load"]

FamilyName: TypeAlias = Literal["httpx", "httpx2"]
"""Which HTTP client is simulated."""
RECORD = "trimtab_sim"
"""The request extension that holds a `RequestRecord`."""

_CORES = {"httpx": "httpcore", "httpx2": "httpcore2"}
_OUTCOMES: dict[Failure, Outcome] = {
    "refused": Outcome.REFUSED,
    "connect_timeout": Outcome.TIMEOUT,
    "timeout": Outcome.TIMEOUT,
    "no_response": Outcome.BROKEN,
}


@cache
def load(family: FamilyName) -> tuple[Any, Any]:
    """Import a family and its core. Importing reads the machine, so it precedes the fences."""
    return import_module(family), import_module(_CORES[family])


class RequestRecord:
    """What a request carries through the HTTP client, for the models of the network.

    Attributes:
        request: its id, which keys its random draws.
        cost: what it asks of a server.
        attempts: how many attempts were sent so far.
        server: the index of the last server tried, or -1.
    """

    __slots__ = ("attempts", "cost", "request", "server")

    def __init__(self, request: int, cost: float = 1.0) -> None:
        self.request = request
        self.cost = cost
        self.attempts = 0
        self.server = -1


class HttpClient(Client):
    """Sends its requests by a real `AsyncClient`, each in a task of its own.

    Args:
        inner: makes the model of the network to one instance: `(client, instance) -> transport`.
        family: httpx or httpx2.
        balancer: further arguments of the transport: `registry`, `strategy`, `rng` and so on.

    Attributes:
        module, core: the family's module, and that of its core.
        deadlines: ends this client's waits.
        handshakes: counts its connections.
    """

    def __init__(
        self,
        world: World,
        place: Place,
        group: Group,
        *,
        seed: int | str,
        inner: Callable[[HttpClient, Any], Any],
        family: FamilyName,
        balancer: dict[str, Any],
    ) -> None:
        super().__init__(world, place, group, seed=seed)
        self.module, self.core = load(family)
        self.deadlines = Deadlines(world.env)
        self.handshakes = count()
        self._family = Family(self.module)
        self._method = group.method
        self._running: dict[int, asyncio.Task[None]] = {}
        self._url = self.module.URL(f"http://{world.service_name}/")
        self._transport = BalancedTransport(
            inner=lambda instance: inner(self, instance), **balancer
        )
        # The machine's environment must not change a run.
        self._http = self.module.AsyncClient(
            transport=self._transport, timeout=float(group.timeout), trust_env=False
        )

    async def open(self) -> Service:
        """Open the service, and wait for its first list."""
        # A program that must be ready before its first request does the same.
        side = self._transport._async_side(self._family)  # noqa: SLF001 - no other user needs it
        return await side.services.open(self.world.service_name)

    def begin(self, request: int, now: float) -> None:
        """Send a new request."""
        self._recorder.begin(now)
        task = asyncio.get_running_loop().create_task(self._request(request, now))
        # Keyed by number: a set hashes each task twice, and a callback costs a turn of the loop.
        self._running[request] = task

    async def aclose(self) -> None:
        """Cancel the requests under way; then close the HTTP client and its transport."""
        while self._running:
            task = next(iter(self._running.values()))
            task.cancel()
            await asyncio.wait([task])
        await self._http.aclose()

    def note_sent(self, record: RequestRecord, server: Server) -> int:
        """Note that an attempt is sent; return its number."""
        number = record.attempts
        record.attempts += 1
        record.server = server.place.index
        self._recorder.send(server, number, self._env.now)
        return number

    async def _request(self, request: int, started: float) -> None:
        record = RequestRecord(request, self.cost_of(request))
        try:
            outcome = await self._send(record)
        except Exception as error:  # noqa: BLE001 - it fails the run
            self.world.failures.append(error)
            return
        finally:
            del self._running[request]
        self._recorder.end(request, started, self._env.now, outcome, record.server)
        if self._closed is not None:
            self.over(started)

    async def _send(self, record: RequestRecord) -> Outcome:
        extensions: dict[str, Any] = {RECORD: record}
        if self.tells_cost:
            extensions["trimtab"] = {"cost": record.cost}
        try:
            response = await self._http.request(self._method, self._url, extensions=extensions)
        except PickError:
            return Outcome.NO_INSTANCE
        except DiscoveryError:
            return Outcome.NO_LIST
        except self.module.TransportError as error:
            failure = self._family.failure(error)
            if failure not in _OUTCOMES:
                raise
            return _OUTCOMES[failure]
        return Outcome.OK if response.status_code < FIRST_BAD_STATUS else Outcome.STATUS
