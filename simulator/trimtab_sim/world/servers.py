"""A server: workers with a queue, and all faults that it can have."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from trimtab.reporting import LoadMeter
from trimtab_sim.events import call_at, push
from trimtab_sim.streams import KeyedUniforms
from trimtab_sim.world.attempts import reply
from trimtab_sim.world.places import Overlaid, Place

if TYPE_CHECKING:
    import simpy

    from trimtab import Instance
    from trimtab_sim.laws import Sampler
    from trimtab_sim.scenario.actions import Gray
    from trimtab_sim.scenario.content import Service
    from trimtab_sim.world.attempts import Attempt
    from trimtab_sim.world.network import Network

__all__ = ["Draws", "Server"]

_OK = 200
_NO_CONTENT, _NOT_FOUND = 204, 404
_FIRST_ERROR = 500
_OVERLOADED = 503


class Draws:
    """The random draws of all servers, keyed by request: the same on whatever server."""

    def __init__(self, seed: int | str) -> None:
        self.service = KeyedUniforms(seed, "servers", "service")
        self.fault = KeyedUniforms(seed, "servers", "fault")


class Server(Overlaid):
    """The process of one instance: a FIFO queue and `concurrency` workers.

    A change of speed applies to requests that are begun after it. When a client gives up, the
    server still does the work, as most real servers do.

    Attributes:
        instance: as it registers itself.
        place: its end of the network.
        factor: multiplies every service time.
        waits: it waits in the time that `factor` adds, and does not work.
        is_running: the process is up, reachable or not.
        is_dark: off the network: it neither receives nor sends messages.
        is_refusing: new connections are refused.
        is_hung: it accepts requests and does not answer.
        error: the share of requests answered at once with a status, and that status.
        gray: the fault of a share of the requests, or None.
        is_alive: the process runs and is reachable. A hung server is alive. A dark one is not,
            unless its registration lives on.
        ended_at: since when it is not alive; infinity while it is.
        last_sent_at: the last attempt that was sent to it while it was not alive.
        past_ends: both of these, for each time that it came back.
        life: counts its processes from 0; a crash ends one, with all its connections.
        received, served: counts of attempts.
        asked: how often it was asked for its load alone.
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
        draws: Draws,
        is_warm: bool = False,
    ) -> None:
        self.instance = instance
        self.place = Place("server", index, zone=instance.zone)
        self.factor = 1.0
        self.is_dark = self.is_refusing = self.is_hung = self.waits = False
        self.error: tuple[float, int] | None = None
        self.gray: Gray | None = None
        self.is_running = self.is_alive = True
        self.ended_at = float("inf")
        self.last_sent_at: float | None = None
        self.past_ends: list[tuple[float, float | None]] = []
        self.received = self.served = self.asked = 0
        self._env = env
        self._network = network
        self._sampler = sampler
        self._concurrency = concurrency
        self._limit = float("inf") if service.queue_limit is None else service.queue_limit
        self._rejects = service.overflow == "reject"
        self._loses = service.on_crash == "lose"
        self._cold = service.cold_start
        self._draws = draws
        self._uniform = draws.service.at
        self._queue: deque[Attempt] = deque()
        # A dict, in order of their start; a set has no order.
        self._inside: dict[Attempt, None] = {}
        self._held: list[Attempt] = []
        self._born_at = float("-inf") if is_warm else env.now
        self.life = 0
        # Black holes in force, by whether the registration lives on.
        self._holes = {False: 0, True: 0}
        self._plain = self._steady = True
        self._finishing = (self._finish,)
        self._worked_s = 0.0
        self._meter = self._new_meter() if service.reports_load else None
        self.attribute_changed()

    @property
    def waiting(self) -> int:
        """Requests in the queue."""
        return len(self._queue)

    @property
    def busy(self) -> int:
        """Requests in service, or held by a hang."""
        return len(self._inside)

    def attribute_changed(self) -> None:
        """Compute whether any fault is in force."""
        self._plain = not (
            self.is_dark or self.is_refusing or not self.is_alive or self.error or self.gray
        )
        self._steady = self.gray is None and self._cold is None
        if self._held and not self.is_hung:
            self._answer_held()

    # -- requests ----------------------------------------------------------------------------

    def receive(self, attempt: Attempt) -> None:
        """Accept an attempt that has arrived."""
        if attempt.is_question:
            self._take_question(attempt)
            return
        self.received += 1
        if not self._plain and self._fails(attempt):
            return
        if len(self._inside) < self._concurrency:
            self._begin(attempt)
        elif len(self._queue) < self._limit:
            self._queue.append(attempt)
        elif self._rejects:
            self._answer(attempt, _OVERLOADED)

    def _fails(self, attempt: Attempt) -> bool:
        if self.is_dark:
            return True
        if not self.is_alive or (self.is_refusing and not attempt.is_connected):
            # In a step of its own: a retry that is refused again must not nest inside this call.
            call_at(self._env, self._env.now, self._reply_refused, attempt)
            return True
        if self.error is not None and self._fault_draw(attempt, 0) < self.error[0]:
            self._answer(attempt, self.error[1])
            return True
        gray = self.gray
        if gray is None or gray.effect == "slow" or self._fault_draw(attempt, 1) >= gray.share:
            return False
        if gray.effect == "error":
            self._answer(attempt, gray.status)
        return True

    def _fault_draw(self, attempt: Attempt, kind: int) -> float:
        return self._draws.fault.draw(attempt.request, 2 * attempt.number + kind)

    def _begin(self, attempt: Attempt) -> None:
        self._inside[attempt] = None
        env = self._env
        now = env._now  # noqa: SLF001 - see `events`
        attempt.life = self.life
        attempt.callbacks = self._finishing
        if self._steady and not attempt.number:
            # The same as `_time_of` without faults and retries, but faster.
            time = self._sampler(self._uniform(attempt.request)) * self.factor * attempt.cost
        else:
            time = self._time_of(attempt, now)
        self._worked_s += time / self.factor if self.waits else time
        push(env, now + time, attempt)

    def _time_of(self, attempt: Attempt, now: float) -> float:
        number, request = attempt.number, attempt.request
        u = self._draws.service.draw(request, number) if number else self._uniform(request)
        time = self._sampler(u) * self.factor * attempt.cost
        gray = self.gray
        if gray is not None and gray.effect == "slow" and self._fault_draw(attempt, 1) < gray.share:
            time *= gray.factor
        cold = self._cold
        if cold is not None and now < self._born_at + cold.duration:
            left = 1.0 - (now - self._born_at) / cold.duration
            time *= 1.0 + (cold.factor - 1.0) * left
        return time

    def _finish(self, attempt: Any) -> None:
        if attempt.life != self.life:
            return
        if self.is_hung:
            self._held.append(attempt)
            return
        del self._inside[attempt]
        self.served += 1
        if self._queue:
            self._begin(self._queue.popleft())
        if self._plain and self._network.is_ideal:
            if not attempt.is_over:
                if attempt.wants_load:
                    self._report(attempt)
                attempt.arrived("answered", _OK)
        elif not self.is_dark:
            self._answer(attempt, _OK)

    def _answer(self, attempt: Attempt, status: int) -> None:
        """Put an answer on its way, with a report of the load if the attempt wants one."""
        if self._meter is not None and status >= _FIRST_ERROR:
            self._meter.errors += 1
        if attempt.wants_load:
            self._report(attempt)
        reply(self._env, self._network, attempt, "answered", status)

    # -- load ----------------------------------------------------------------------------------

    def _new_meter(self) -> LoadMeter:
        """Return what the SDK's middleware counts by; busy workers stand for the CPU."""
        return LoadMeter(
            clock=lambda: float(self._env.now),
            cpu_clock=lambda: self._worked_s / self._concurrency,
        )

    def _report(self, attempt: Attempt) -> None:
        """Have an answer take a report along, if one is due."""
        if self._meter is not None and self._meter.is_due():
            attempt.load = self._load()

    def _load(self) -> str:
        """Return the header that the SDK's middleware would send; "" without it."""
        meter = self._meter
        if meter is None:
            return ""
        meter.begun, meter.in_flight = self.received, self.busy + self.waiting
        return meter.report()

    def _take_question(self, attempt: Attempt) -> None:
        """Answer a question for the load at once, whatever the queue."""
        if self.is_hung or (not self._plain and self._fails(attempt)):
            return
        self.asked += 1
        attempt.load = self._load()
        status = _NO_CONTENT if self._meter is not None else _NOT_FOUND
        reply(self._env, self._network, attempt, "answered", status)

    # -- faults --------------------------------------------------------------------------------

    def crash(self) -> None:
        """End the process: new connections are refused; requests inside are lost or finished."""
        self._end()
        if self._loses:
            self._break_off()

    def stop(self) -> None:
        """End after the drain: requests that are still inside are broken off."""
        self._end()
        self._break_off()

    def start(self) -> None:
        """Start a new, cold process; requests that a crash allowed to finish go on."""
        self.is_running = True
        self._born_at = self._env.now
        self._update_state()

    def vanish(self, *, stays_registered: bool = False) -> None:
        """Leave the network silently; with `stays_registered` it still counts as alive."""
        self._holes[stays_registered] += 1
        self._update_state()

    def reappear(self, *, stays_registered: bool = False) -> None:
        """Undo one `vanish`; once reachable, it still has the requests that were inside."""
        self._holes[stays_registered] -= 1
        self._update_state()

    def _end(self) -> None:
        self.is_running = False
        self._update_state()

    def _update_state(self) -> None:
        """Compute whether it is dark and alive, and note when that changes."""
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
        for attempt in held:
            attempt.callbacks = self._finishing
            push(self._env, self._env.now, attempt)

    def _break_off(self) -> None:
        self.life += 1
        lost = [*self._inside, *self._queue]
        self._inside.clear()
        self._queue.clear()
        self._held.clear()
        if not self.is_dark:
            for attempt in lost:
                # Each in a step of its own: a retry must not run while others are still crashing.
                call_at(self._env, self._env.now, self._reply_broken, attempt)

    def _reply_refused(self, step: Any) -> None:
        reply(self._env, self._network, step.payload, "refused", 0)

    def _reply_broken(self, step: Any) -> None:
        reply(self._env, self._network, step.payload, "broken", 0)
