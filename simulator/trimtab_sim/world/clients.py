"""Clients at the depth `core`: a handful of events per request around the SDK's own call."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from trimtab.discovery import Call
from trimtab.errors import DiscoveryError, PickError
from trimtab_sim.events import Step, call_at, push
from trimtab_sim.recorder import Outcome
from trimtab_sim.scenario.arrivals import Closed
from trimtab_sim.streams import stream
from trimtab_sim.world.arrivals import source
from trimtab_sim.world.deadlines import Deadlines
from trimtab_sim.world.trips import Trip, send

if TYPE_CHECKING:
    from trimtab.discovery import Balancer, Service
    from trimtab.pool import Pick
    from trimtab.retry import Failure
    from trimtab_sim.scenario.content import Clients as Group
    from trimtab_sim.world.places import Place
    from trimtab_sim.world.trips import Fate
    from trimtab_sim.world.world import World

__all__ = ["Client", "CoreClient"]

_FAILURES: dict[str, tuple[Failure, Outcome]] = {
    "refused": ("refused", Outcome.REFUSED),
    "broken": ("no_response", Outcome.BROKEN),
    "silent": ("timeout", Outcome.TIMEOUT),
}
_FIRST_BAD_STATUS = 400
_BREATH_S = 0.001
"""How long a user without thought takes after a request that took no time at all."""


class Client:
    """When a client sends; subclasses say how.

    Attributes:
        place: where it is.
        source: the moments of an open loop.
    """

    def __init__(self, world: World, place: Place, group: Group, *, seed: int | str) -> None:
        self.world = world
        self._env = world.env
        self._recorder = world.recorder
        self.place = place
        self.group = group
        rng = stream(seed, f"client {place.index}", "arrivals")
        self.source = source(group.arrivals, rng, group.start)
        self._closed = group.arrivals if isinstance(group.arrivals, Closed) else None
        self._think = self._closed.think.sampler() if self._closed else None
        self._rng = rng
        self._next = Step(self._arrive, None)

    async def open(self) -> Service:
        """Open the service, and wait for its first list.

        Raises:
            DiscoveryError: none came in time.
        """
        raise NotImplementedError

    def begin(self, request: int, now: float) -> None:
        """Send a new request; call `over` when it has ended."""
        raise NotImplementedError

    async def aclose(self) -> None:
        """Let go of everything."""
        raise NotImplementedError

    def start(self) -> None:
        """Schedule the first requests."""
        env = self.world.env
        if self._closed is None:
            moment = self.source.after(max(env.now, self.group.start))
            if moment < self.world.end:
                push(env, moment, self._next)
        else:
            for _ in range(self._closed.concurrency):
                call_at(env, self.group.start + self._thinking(), self._arrive_again)

    def over(self, started: float) -> None:
        """Note that a request has ended: a closed loop thinks, and sends another."""
        if self._closed is not None:
            now = self.world.env.now
            pause_s = self._thinking()
            if now == started and not pause_s:
                # Nobody fails infinitely often in an instant.
                pause_s = _BREATH_S
            call_at(self.world.env, now + pause_s, self._arrive_again)

    def _thinking(self) -> float:
        assert self._think is not None
        u = self._rng.random()
        return self._think(u if u > 0.0 else 0.5)

    def _arrive(self, _step: Step) -> None:
        now: float = self._env._now  # noqa: SLF001 - see `events`
        moment = self.source.after(now)
        if moment < self.world.end:
            push(self._env, moment, self._next)
        self.begin(self.world.next_request(), now)

    def _arrive_again(self, _step: Step) -> None:
        now = self.world.env.now
        if now < self.world.end:
            self.begin(self.world.next_request(), now)


class CoreClient(Client):
    """Calls the SDK's service directly; timeouts by one timer for all."""

    def __init__(
        self, world: World, place: Place, group: Group, balancer: Balancer, *, seed: int | str
    ) -> None:
        super().__init__(world, place, group, seed=seed)
        self._balancer = balancer
        self._service: Service | None = None
        self._timeout = float(group.timeout)
        self._method = group.method
        self._deadlines = Deadlines(world.env)
        self._sure_s = world.scenario.discovery_settings.idle_s / 10
        self._openings: set[asyncio.Task[None]] = set()

    async def open(self) -> Service:
        """Open the service, and wait for its first list."""
        self._service = await self._balancer.open(self.world.service_name)
        return self._service

    def begin(self, request: int, now: float) -> None:
        """Send a new request."""
        self._recorder.begin(now)
        service = self._service
        if service is None or now - service.used_at > self._sure_s:
            # As the transport does at each request: what is in use is not let go.
            service = self._service = self._balancer.find(self.world.service_name)
        if service is None:
            opening = asyncio.get_running_loop().create_task(self._begin_later(request, now))
            self._openings.add(opening)
            opening.add_done_callback(self._openings.discard)
            return
        self._attempt(Call(service, method=self._method), request, 0, now)

    async def aclose(self) -> None:
        """Let the service go."""
        await self._balancer.aclose()

    async def _begin_later(self, request: int, started: float) -> None:
        try:
            service = await self.open()
        except DiscoveryError:
            self.end(request, started, Outcome.NO_LIST, -1)
        else:
            self._attempt(Call(service, method=self._method), request, 0, started)

    def _attempt(
        self, call: Call, request: int, number: int, started: float, *, last: int = -1
    ) -> None:
        try:
            pick = call.pick()
        except PickError:
            self.end(request, started, Outcome.NO_INSTANCE, last)
            return
        world = self.world
        now: float = self._env._now  # noqa: SLF001
        server = world.by_address[pick.instance.address]
        trip = _Attempt(self, call, pick, server, request, number, started, now + self._timeout)
        self._recorder.send(server, number, now)
        self._deadlines.add(trip)
        send(world.env, world.network, trip)

    def failed(self, trip: _Attempt, fate: str) -> None:
        """Take a failure: the SDK says whether to try again."""
        failure, outcome = _FAILURES[fate]
        last = trip.server.place.index
        if trip.call.failed(trip.pick, failure):
            self._attempt(trip.call, trip.request, trip.attempt + 1, trip.started, last=last)
        else:
            self.end(trip.request, trip.started, outcome, last)

    def end(self, request: int, started: float, outcome: Outcome, server: int) -> None:
        """Note that a request has ended."""
        self._recorder.end(request, started, self._env._now, outcome, server)  # noqa: SLF001
        if self._closed is not None:
            self.over(started)


class _Attempt(Trip):
    """A trip that belongs to a call of the SDK."""

    __slots__ = ("call", "deadline", "owner", "pick", "started")

    def __init__(  # noqa: PLR0917 - made once per attempt: by position it costs less
        self,
        owner: CoreClient,
        call: Call,
        pick: Pick,
        server: Any,
        request: int,
        attempt: int,
        started: float,
        deadline: float,
    ) -> None:
        self.client = owner.place
        self.server = server
        self.request = request
        self.attempt = attempt
        self.is_over = False
        self.life = 0
        self.owner = owner
        self.call = call
        self.pick = pick
        self.started = started
        self.deadline = deadline

    def arrived(self, fate: Fate, status: int) -> None:
        """Hand the outcome to the client."""
        self.is_over = True
        if fate != "answered":
            self.owner.failed(self, fate)
            return
        # Its body ends with its head here.
        self.call.completed(self.pick, status)
        outcome = Outcome.OK if status < _FIRST_BAD_STATUS else Outcome.STATUS
        self.owner.end(self.request, self.started, outcome, self.server.place.index)

    def expired(self) -> None:
        """Hand the client's timeout to the client."""
        self.owner.failed(self, "silent")
