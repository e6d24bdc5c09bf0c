"""Clients at the depth `core`: a handful of events per request around the SDK's own call."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from trimtab.discovery import Call
from trimtab.errors import DiscoveryError, PickError, SaturatedError
from trimtab_sim.events import call_at
from trimtab_sim.recorder import Outcome
from trimtab_sim.world.clients import FIRST_BAD_STATUS, Client
from trimtab_sim.world.deadlines import Deadlines
from trimtab_sim.world.trips import Trip, send

if TYPE_CHECKING:
    from trimtab.discovery import Balancer, Service, Turn
    from trimtab.pool import Pick
    from trimtab.calls import Failure
    from trimtab_sim.scenario.content import Clients as Group
    from trimtab_sim.world.places import Place
    from trimtab_sim.world.servers import Server
    from trimtab_sim.world.trips import Fate
    from trimtab_sim.world.world import World

__all__ = ["CoreClient"]

_FAILURES: dict[str, tuple[Failure, Outcome]] = {
    "refused": ("refused", Outcome.REFUSED),
    "broken": ("no_response", Outcome.BROKEN),
    "silent": ("timeout", Outcome.TIMEOUT),
}


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
        self.send(_Course(self, service, self._method, request, now))

    async def aclose(self) -> None:
        """Let the service go."""
        await self._balancer.aclose()

    async def _begin_later(self, request: int, started: float) -> None:
        try:
            service = await self.open()
        except DiscoveryError:
            self._recorder.end(request, started, self._env.now, Outcome.NO_LIST, -1)
            self.over(started)
        else:
            self.send(_Course(self, service, self._method, request, started))

    def send(self, course: _Course, turn: Turn | None = None) -> bool:
        """Make an attempt; say whether that is settled: False while there is no room."""
        try:
            pick = course.pick(turn)
        except PickError as error:
            if course.trips:
                # A hedge, and nobody else to ask after all: the first one goes on alone.
                return True
            if isinstance(error, SaturatedError):
                if turn is None:
                    course.wait_for_room()
                return False
            if turn is not None:
                course.service.leave(turn)
            course.end(Outcome.NO_INSTANCE)
            return True
        world = self.world
        now: float = self._env._now  # noqa: SLF001 - see `events`
        server = world.by_address[pick.instance.address]
        trip = _Attempt(course, pick, server, min(now + self._timeout, course.deadline_at))
        if course.trips is not None:
            course.race(trip)
        self._recorder.send(server, trip.attempt, now)
        self._deadlines.add(trip)
        send(world.env, world.network, trip)
        return True

    def end(self, course: _Course, outcome: Outcome) -> None:
        """Note that a request has ended."""
        now: float = self._env._now  # noqa: SLF001
        self._recorder.end(course.request, course.started, now, outcome, course.last)
        if self._closed is not None:
            self.over(course.started)


class _Course(Call):
    """A request: the SDK's call, and what the model has to know besides.

    Attributes:
        request: its id, which keys its luck.
        started: when it began.
        sent: how many attempts were made.
        last: the index of the server of the last attempt that ended, or -1.
        trips: the attempts under way, where they may run side by side.
    """

    __slots__ = ("client", "last", "request", "sent", "started", "trips")

    def __init__(
        self, client: CoreClient, service: Service, method: str, request: int, started: float
    ) -> None:
        policies = service.policies
        super().__init__(service, method=method, deadline_s=policies.deadline_s)
        self.client = client
        self.request = request
        self.started = started
        self.sent = 0
        self.last = -1
        self.trips: list[_Attempt] | None = None
        if policies.hedge is not None:
            self.trips = []

    def answered_whole(self, trip: _Attempt, status: int) -> None:
        """Take an answer: the SDK says whether it is the last word. Its body ends with its head."""
        self._leave(trip)
        if self.retries(status):
            wait_s = self.rejected(trip.pick, status)
            if wait_s is not None:
                if not self.trips:
                    self._again(wait_s)
                return
        self.completed(trip.pick, status)
        if self.trips:
            for rival in self.trips:
                rival.is_over = True
                self.lost(rival.pick)
        self.end(Outcome.OK if status < FIRST_BAD_STATUS else Outcome.STATUS)

    def broke(self, trip: _Attempt, fate: str) -> None:
        """Take a failure: the SDK says whether to try again."""
        failure, outcome = _FAILURES[fate]
        self._leave(trip)
        if failure == "timeout" and self.is_out_of_time():
            for late in (trip, *(self.trips or ())):
                late.is_over = True
                self.ran_out(late.pick)
            self.end(outcome)
            return
        wait_s = self.failed(trip.pick, failure)
        if wait_s is not None:
            self._again(wait_s)
        elif not self.trips:
            self.end(outcome)

    def end(self, outcome: Outcome) -> None:
        """Hand the outcome to the client."""
        self.client.end(self, outcome)

    def wait_for_room(self) -> None:
        """Wait in the SDK's queue for room on an instance, as the transport does."""
        env, service = self.client.world.env, self.service
        turn: Turn | None = None

        def room(_step: Any) -> None:
            nonlocal turn
            if turn is not None and self.client.send(self, turn):
                turn = None

        def give_up(_step: Any) -> None:
            nonlocal turn
            if turn is not None:
                service.leave(turn)
                turn = None
                self.end(Outcome.NO_INSTANCE)

        turn = service.join(lambda: call_at(env, env.now, room))
        if turn is None:
            self.end(Outcome.NO_INSTANCE)
            return
        patience_s = min(service.policies.concurrency.max_wait_s, self.time_left_s())
        call_at(env, env.now + patience_s, give_up)

    def race(self, trip: _Attempt) -> None:
        """Note an attempt; have another one sent beside it if it is alone, and late."""
        assert self.trips is not None
        self.trips.append(trip)
        delay_s = self.hedge_delay_s() if len(self.trips) == 1 else None
        if delay_s is not None:
            env = self.client.world.env
            call_at(env, env.now + delay_s, self._hedge, self.sent)

    def _hedge(self, step: Any) -> None:
        # Only beside the very attempt that this was meant for.
        if self.trips and self.sent == step.payload and self.may_hedge():
            self.client.send(self)

    def _again(self, wait_s: float) -> None:
        if wait_s:
            env = self.client.world.env
            call_at(env, env.now + wait_s, self._send)
        else:
            self._send(None)

    def _send(self, _step: Any) -> None:
        self.client.send(self)

    def _leave(self, trip: _Attempt) -> None:
        self.last = trip.server.place.index
        if self.trips is not None:
            self.trips.remove(trip)


class _Attempt(Trip):
    """A trip that belongs to a course."""

    __slots__ = ("course", "deadline", "pick")

    def __init__(self, course: _Course, pick: Pick, server: Server, deadline: float) -> None:
        # Its base's constructor would cost another call at each attempt.
        self.client = course.client.place
        self.server = server
        self.request = course.request
        self.attempt = course.sent
        self.is_over = False
        self.life = 0
        self.course = course
        self.pick = pick
        self.deadline = deadline
        course.sent += 1

    def arrived(self, fate: Fate, status: int) -> None:
        """Hand the outcome to the request."""
        self.is_over = True
        if fate == "answered":
            self.course.answered_whole(self, status)
        else:
            self.course.broke(self, fate)

    def expired(self) -> None:
        """Hand the client's timeout to the request."""
        self.course.broke(self, "silent")
