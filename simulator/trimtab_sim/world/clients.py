"""When a client sends, at every depth."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trimtab_sim.events import Step, call_at, push
from trimtab_sim.scenario.arrivals import Closed
from trimtab_sim.streams import stream
from trimtab_sim.world.arrivals import source

if TYPE_CHECKING:
    from trimtab.balancing import Service
    from trimtab_sim.scenario.content import Clients as Group
    from trimtab_sim.world.places import Place
    from trimtab_sim.world.world import World

__all__ = ["FIRST_BAD_STATUS", "Client"]

FIRST_BAD_STATUS = 400
"""From which status on a request has failed, for its caller."""
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
