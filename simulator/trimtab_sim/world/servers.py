"""A server: workers, a queue before them, and everything that can be wrong with it."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from trimtab_sim.events import call_at, push
from trimtab_sim.streams import KeyedUniforms
from trimtab_sim.world.places import Overlaid, Place
from trimtab_sim.world.trips import reply

if TYPE_CHECKING:
    import simpy

    from trimtab import Instance
    from trimtab_sim.laws import Sampler
    from trimtab_sim.scenario.actions import Gray
    from trimtab_sim.scenario.content import Service
    from trimtab_sim.world.network import Network
    from trimtab_sim.world.trips import Trip

__all__ = ["Luck", "Server"]

_OK = 200
_OVERLOADED = 503


class Luck:
    """The chance that servers share, keyed by request: the same whoever serves it."""

    def __init__(self, seed: int | str) -> None:
        self.service = KeyedUniforms(seed, "servers", "service")
        self.fault = KeyedUniforms(seed, "servers", "fault")


class Server(Overlaid):
    """One instance's process: FIFO before `concurrency` workers.

    A change of speed concerns the requests that are begun after it. A client that gives up does
    not take its request out of the server: the work is done in vain, as with most real ones.

    Attributes:
        instance: as it registers itself.
        place: where it is.
        factor: how many times as long everything takes.
        is_running: the process is up, seen or not.
        is_dark: vanished from the network: it gets nothing and says nothing.
        is_refusing: new connections are refused.
        is_hung: it takes requests and answers none.
        error: the share answered at once with a status, and that status.
        gray: what goes wrong for a share of the requests; None when nothing does.
        is_alive: the process runs and is not lost. A hung one is alive, a dark one is not,
            unless its registration lives on.
        ended_at: since when it is not alive; infinity while it is.
        last_sent_at: the last attempt that was sent to it while it was not alive.
        past_ends: both of these, for each time that it came back.
        life: which one, counted from 0; a crash ends one, with all its connections.
        received, served: counts of attempts.
    """

    def __init__(
        self,
        env: simpy.Environment,
        network: Network,
        instance: Instance,
        *,
        index: int,
        service: Service,
        sampler: Sampler,
        concurrency: int,
        luck: Luck,
        is_warm: bool = False,
    ) -> None:
        self.instance = instance
        self.place = Place("server", index, zone=instance.zone)
        self.factor = 1.0
        self.is_dark = self.is_refusing = self.is_hung = False
        self.error: tuple[float, int] | None = None
        self.gray: Gray | None = None
        self.is_running = self.is_alive = True
        self.ended_at = float("inf")
        self.last_sent_at: float | None = None
        self.past_ends: list[tuple[float, float | None]] = []
        self.received = self.served = 0
        self._env = env
        self._network = network
        self._sampler = sampler
        self._concurrency = concurrency
        self._limit = float("inf") if service.queue_limit is None else service.queue_limit
        self._rejects = service.overflow == "reject"
        self._loses = service.on_crash == "lose"
        self._cold = service.cold_start
        self._luck = luck
        self._uniform = luck.service.at
        self._queue: deque[Trip] = deque()
        # In order of their start; a set would have none.
        self._inside: dict[Trip, None] = {}
        self._held: list[Trip] = []
        self._born_at = float("-inf") if is_warm else env.now
        self.life = 0
        # Black holes in force, by whether the registration lives on.
        self._holes = {False: 0, True: 0}
        self._plain = self._steady = True
        self._finishing = (self._finish,)
        self.attribute_changed()

    @property
    def waiting(self) -> int:
        """Requests in the queue."""
        return len(self._queue)

    @property
    def busy(self) -> int:
        """Requests being worked on, or held by a hang."""
        return len(self._inside)

    def attribute_changed(self) -> None:
        """Work out whether anything is wrong at all; call it after changing a fault."""
        self._plain = not (
            self.is_dark or self.is_refusing or not self.is_alive or self.error or self.gray
        )
        self._steady = self.gray is None and self._cold is None
        if self._held and not self.is_hung:
            self._answer_held()

    # -- requests ----------------------------------------------------------------------------

    def receive(self, trip: Trip) -> None:
        """Take an attempt that has arrived."""
        self.received += 1
        if not self._plain and self._goes_wrong(trip):
            return
        if len(self._inside) < self._concurrency:
            self._begin(trip)
        elif len(self._queue) < self._limit:
            self._queue.append(trip)
        elif self._rejects:
            reply(self._env, self._network, trip, "answered", _OVERLOADED)

    def _goes_wrong(self, trip: Trip) -> bool:
        if self.is_dark:
            return True
        if not self.is_alive or (self.is_refusing and not trip.is_connected):
            # In a step of its own: a retry that is refused again must not nest within this one.
            call_at(self._env, self._env.now, self._tell_refused, trip)
            return True
        if self.error is not None and self._unlucky(trip, 0) < self.error[0]:
            reply(self._env, self._network, trip, "answered", self.error[1])
            return True
        gray = self.gray
        if gray is None or gray.effect == "slow" or self._unlucky(trip, 1) >= gray.share:
            return False
        if gray.effect == "error":
            reply(self._env, self._network, trip, "answered", gray.status)
        return True

    def _unlucky(self, trip: Trip, number: int) -> float:
        return self._luck.fault.draw(trip.request, 2 * trip.attempt + number)

    def _begin(self, trip: Trip) -> None:
        self._inside[trip] = None
        env = self._env
        now = env._now  # noqa: SLF001 - see `events`
        trip.life = self.life
        trip.callbacks = self._finishing
        if self._steady and not trip.attempt:
            # What `_time_of` gives when nothing but chance decides.
            time = self._sampler(self._uniform(trip.request)) * self.factor
        else:
            time = self._time_of(trip, now)
        push(env, now + time, trip)

    def _time_of(self, trip: Trip, now: float) -> float:
        attempt, request = trip.attempt, trip.request
        u = self._luck.service.draw(request, attempt) if attempt else self._uniform(request)
        time = self._sampler(u) * self.factor
        gray = self.gray
        if gray is not None and gray.effect == "slow" and self._unlucky(trip, 1) < gray.share:
            time *= gray.factor
        cold = self._cold
        if cold is not None and now < self._born_at + cold.duration:
            left = 1.0 - (now - self._born_at) / cold.duration
            time *= 1.0 + (cold.factor - 1.0) * left
        return time

    def _finish(self, trip: Any) -> None:
        if trip.life != self.life:
            return
        if self.is_hung:
            self._held.append(trip)
            return
        del self._inside[trip]
        self.served += 1
        if self._queue:
            self._begin(self._queue.popleft())
        if self._plain and self._network.is_ideal:
            if not trip.is_over:
                trip.arrived("answered", _OK)
        elif not self.is_dark:
            reply(self._env, self._network, trip, "answered", _OK)

    # -- what happens to it ------------------------------------------------------------------

    def crash(self) -> None:
        """End the process: new connections are refused; what is inside is lost or finished."""
        self._end()
        if self._loses:
            self._break_off()

    def stop(self) -> None:
        """End in good order, after the drain: what is still inside is broken off."""
        self._end()
        self._break_off()

    def start(self) -> None:
        """Start the process anew, and cold; what a crash let finish goes on."""
        self.is_running = True
        self._born_at = self._env.now
        self._judge()

    def vanish(self, *, stays_registered: bool = False) -> None:
        """Leave the network without a word; `stays_registered` keeps it alive in name."""
        self._holes[stays_registered] += 1
        self._judge()

    def reappear(self, *, stays_registered: bool = False) -> None:
        """Undo one such vanishing; once reachable, it still has whatever it had inside."""
        self._holes[stays_registered] -= 1
        self._judge()

    def _end(self) -> None:
        self.is_running = False
        self._judge()

    def _judge(self) -> None:
        """Work out whether it is dark and alive, and note when that changes."""
        self.is_dark = any(self._holes.values())
        alive = self.is_running and not self._holes[False]
        if self.is_alive and not alive:
            self.ended_at, self.last_sent_at = self._env.now, None
        elif alive and not self.is_alive:
            self.past_ends.append((self.ended_at, self.last_sent_at))
            self.ended_at = float("inf")
        self.is_alive = alive
        self.attribute_changed()

    def _answer_held(self) -> None:
        held, self._held = self._held, []
        for trip in held:
            trip.callbacks = self._finishing
            push(self._env, self._env.now, trip)

    def _break_off(self) -> None:
        self.life += 1
        lost = [*self._inside, *self._queue]
        self._inside.clear()
        self._queue.clear()
        self._held.clear()
        if not self.is_dark:
            for trip in lost:
                # Each in a step of its own: nobody tries again while others are still crashing.
                call_at(self._env, self._env.now, self._tell_broken, trip)

    def _tell_refused(self, step: Any) -> None:
        reply(self._env, self._network, step.payload, "refused", 0)

    def _tell_broken(self, step: Any) -> None:
        reply(self._env, self._network, step.payload, "broken", 0)
