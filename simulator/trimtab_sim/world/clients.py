"""When a client sends its requests, the same at every depth.

Open loops draw the moments from the scenario's arrivals (`source`); in a closed loop the end of a
request decides when the next one is sent. Subclasses of `Client` say how a request is sent.
"""

from __future__ import annotations

from math import log
from typing import TYPE_CHECKING

from trimtab_sim.events import Step, call_at, push
from trimtab_sim.scenario.arrivals import Bursty, Closed, Diurnal, Poisson, Steady, Trace
from trimtab_sim.streams import stream
from trimtab_sim.world.places import Overlaid

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from trimtab.balancing import Service
    from trimtab_sim.scenario.arrivals import Arrivals
    from trimtab_sim.scenario.content import Clients as Group
    from trimtab_sim.world.places import Place
    from trimtab_sim.world.world import World

__all__ = ["FIRST_BAD_STATUS", "Client", "Source", "source"]

FIRST_BAD_STATUS = 400
"""The lowest status that counts as a failed request for the caller."""
_LEAST_PAUSE_S = 0.001
"""The pause of a user without think time after a request that took no time at all."""

_INFINITY = float("inf")


class Client:
    """A client that sends requests; subclasses define how one is sent.

    Attributes:
        place: its end of the network.
        source: the moments of an open loop.
        tells_cost: whether the balancer is told the cost of a request.
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
        self._cost = group.cost.units.sampler() if group.cost else None
        self.tells_cost = group.cost is not None and group.cost.told
        self._rng = rng
        self._next = Step(self._arrive, None)

    async def open(self) -> Service:
        """Open the service, and wait for its first list.

        Raises:
            DiscoveryError: it did not come in time.
        """
        raise NotImplementedError

    def begin(self, request: int, now: float) -> None:
        """Send a new request; call `over` when it has ended."""
        raise NotImplementedError

    async def aclose(self) -> None:
        """Close everything."""
        raise NotImplementedError

    def cost_of(self, request: int) -> float:
        """Return what a request asks of a server, as a multiple of the usual service time."""
        return 1.0 if self._cost is None else self._cost(self.world.costs.at(request))

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
                # Without it, requests that fail at once would go on without end in one instant.
                pause_s = _LEAST_PAUSE_S
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


class Source(Overlaid):
    """Moments of an open loop, one after the other.

    Attributes:
        factor: multiplies the scenario's rate; a change counts from the next request on.
    """

    def __init__(self, draw: Callable[[float, float], float]) -> None:
        self._draw = draw
        self.factor = 1.0

    def after(self, now: float) -> float:
        """Return the moment of the next request; infinity when there is none."""
        return self._draw(now, self.factor)


def source(arrivals: Arrivals, rng: Random, start: float) -> Source:
    """Make the moments of one client; a closed loop has no moments of its own."""
    match arrivals:
        case Poisson():
            return Source(_poisson(arrivals.rate, rng))
        case Steady():
            return Source(_steady(arrivals.rate, rng, start))
        case Bursty():
            return Source(_bursty(arrivals, rng, start))
        case Diurnal():
            return Source(_diurnal(arrivals, rng))
        case Trace():
            return Source(_trace(arrivals, start))
        case Closed():
            return Source(lambda _now, _factor: _INFINITY)


def _poisson(rate: float, rng: Random) -> Callable[[float, float], float]:
    random = rng.random
    return lambda now, factor: now - log(1.0 - random()) / (rate * factor)


def _steady(rate: float, rng: Random, start: float) -> Callable[[float, float], float]:
    # Clients that start together must not send together: a phase for each.
    first = start + rng.random() / rate
    return lambda now, factor: first if now < first else now + 1.0 / (rate * factor)


def _bursty(law: Bursty, rng: Random, start: float) -> Callable[[float, float], float]:
    bursting = False
    until = start - log(1.0 - rng.random()) * law.calm

    def after(now: float, factor: float) -> float:
        nonlocal bursting, until
        while True:
            rate = (law.burst_rate if bursting else law.rate) * factor
            moment = now - log(1.0 - rng.random()) / rate
            if moment < until:
                return moment
            # The exponential law has no memory, so a new draw from the change of phase is exact.
            now, bursting = until, not bursting
            until = now - log(1.0 - rng.random()) * (law.burst if bursting else law.calm)

    return after


def _diurnal(law: Diurnal, rng: Random) -> Callable[[float, float], float]:
    most = law.rate * (1.0 + law.swing)

    def after(now: float, factor: float) -> float:
        # Thinning (Lewis, Shedler 1979): draw at the highest rate, and skip some.
        while True:
            now -= log(1.0 - rng.random()) / (most * factor)
            if rng.random() * most < law.rate_at(now):
                return now

    return after


def _trace(law: Trace, start: float) -> Callable[[float, float], float]:
    moments = iter(law.times)
    return lambda _now, _factor: start + next(moments, _INFINITY)
