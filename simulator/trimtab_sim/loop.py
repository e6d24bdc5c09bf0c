"""Run asyncio code on SimPy's clock: without a selector, and an hour takes milliseconds.

    async def main():
        await asyncio.sleep(3600)
        return asyncio.get_running_loop().time()

    run(main())  # 3600.0, at once

`SimulatedLoop` is an asyncio event loop whose clock and timers are those of a SimPy
environment, so that tasks and SimPy processes live in one time. The rules:

- Ready callbacks run first. Only when there are none, SimPy takes a step.
- Within one instant, events run in the order in which they were scheduled.
- Timers are set at *absolute* times. (SimPy's relative ones can miss by an ulp, which is enough to
  make two long traces differ.)
- Tasks and futures hash by a serial number of their loop, so that a set of them has the same
  order in each run; `asyncio.wait` and a TaskGroup's abort iterate over such sets, which are
  ordered by memory address otherwise.
- If no event is left while a task waits, that is a DeadlockError, at once, which names the waiting
  tasks. Too many steps within one instant are a LivelockError.
- Threads, sockets and processes are blocked (`trimtab_sim.fences`).

Limits: objects that are not tasks or futures of this loop still hash by address (anyio's cancel
scopes among them), and code that reads `time.monotonic()` itself sees the machine's clock. Works
on Python 3.11 and later.
"""

from __future__ import annotations

import asyncio
import heapq
import math
import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar, TypeVarTuple, Unpack

import simpy

from trimtab_sim.errors import DeadlockError, LivelockError, SimulationError
from trimtab_sim.events import Step
from trimtab_sim.fences import Fenced, fences
from trimtab_sim.futures import Bridge, OrderedWeakSet, SimulatedFuture, SimulatedTask

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator
    from contextvars import Context

__all__ = ["SimulatedLoop", "run", "schedule_at"]

T = TypeVar("T")
Args = TypeVarTuple("Args")

_NORMAL = simpy.events.NORMAL
_FEW_TIMERS = 1000
_SHOWN_WAITERS = 20


def schedule_at(env: simpy.Environment, event: Any, when: float) -> None:
    """Schedule a triggered SimPy event at an absolute time, exactly.

    `env.schedule(event, delay=when - env.now)` rounds twice and can miss `when` by an ulp. A past
    time means now.
    """
    # SimPy has no public way to name an absolute time; these two are its heap and its counter.
    heapq.heappush(env._queue, (max(when, env.now), _NORMAL, next(env._eid), event))  # noqa: SLF001


class _Timer(asyncio.TimerHandle):
    """A timer that is also an event in SimPy's heap: `step` needs only these two attributes."""

    __slots__ = ("callbacks",)
    callbacks: Any
    _ok = True


class SimulatedLoop(Bridge, Fenced, asyncio.BaseEventLoop):
    """An asyncio event loop that a SimPy environment drives.

    Args:
        env: the environment to use; a new one, at time 0, by default. While the loop runs, other
            code must not run the environment.
        max_steps_per_instant: callbacks and SimPy steps allowed without the clock moving.
    """

    _ready: Any  # asyncio's own deque of handles
    _stopping: bool

    def __init__(
        self, env: simpy.Environment | None = None, *, max_steps_per_instant: int = 1_000_000
    ) -> None:
        self._serials = 0
        self._tasks_made = 0
        super().__init__()
        self.env = simpy.Environment(0.0) if env is None else env
        self._queue: list[Any] = self.env._queue  # noqa: SLF001 - see `schedule_at`
        self._limit = max_steps_per_instant
        self._steps = 0
        self._instant = self.env.now
        self._cancelled_timers = 0
        self._asyncgens = OrderedWeakSet()

    # The clock and its timers

    def time(self) -> float:
        """Return the virtual time in seconds."""
        return self.env._now  # noqa: SLF001 - the property costs a call, here on every request

    def call_at(
        self,
        when: float,
        callback: Callable[[Unpack[Args]], object],
        *args: *Args,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        """Call back at a virtual time; a past time means now, infinity means never."""
        self._check_closed()  # type: ignore[attr-defined]
        if math.isnan(when):
            raise ValueError("cannot schedule a call at the time nan")
        timer = _Timer(when, callback, args, self, context)
        timer.callbacks = (self._fire,)
        if when != math.inf:
            timer._scheduled = True  # type: ignore[attr-defined]  # noqa: SLF001 - as asyncio does
            schedule_at(self.env, timer, when)
        return timer

    def _fire(self, timer: Any) -> None:
        timer._scheduled = False  # noqa: SLF001
        self._ready.append(timer)

    def _timer_handle_cancelled(self, handle: Any) -> None:
        if handle._scheduled:  # noqa: SLF001
            self._cancelled_timers += 1

    def _drop_cancelled_timers(self) -> None:
        # In place and rarely. The order of the remaining entries stays the same.
        self._queue[:] = [entry for entry in self._queue if not _is_cancelled_timer(entry[3])]
        heapq.heapify(self._queue)
        self._cancelled_timers = 0

    async def run_blocking(self, call: Callable[[], T]) -> T:
        """Run a call to the disk at once: here are no threads, and it takes no virtual time."""
        return call()

    # One turn

    def _run_once(self) -> None:
        ready = self._ready
        if not ready:
            self._advance()
        turn = len(ready)
        self._count_steps(turn)
        for _ in range(turn):
            handle = ready.popleft()
            if not handle._cancelled:  # noqa: SLF001
                handle._run()  # noqa: SLF001

    def _advance(self) -> None:
        """Run SimPy steps until a callback is ready."""
        if self._cancelled_timers > max(_FEW_TIMERS, len(self._queue) // 2):
            self._drop_cancelled_timers()
        env, ready, queue, pop = self.env, self._ready, self._queue, heapq.heappop
        instant = self._instant
        while not ready and not self._stopping:
            if not queue:
                raise DeadlockError(self._describe_deadlock())
            event = queue[0][3]
            if isinstance(event, Step):
                # What `env.step()` does with an event of one callback, at a third of its cost.
                env._now = now = pop(queue)[0]  # noqa: SLF001
                event.callbacks[0](event)
            elif _is_cancelled_timer(event):
                pop(queue)
                self._cancelled_timers -= 1
                continue
            else:
                env.step()
                now = env._now  # noqa: SLF001
            if now != instant:
                self._instant = instant = now
                self._steps = 0
            else:
                self._count_steps(1)

    def _count_steps(self, steps: int) -> None:
        now = self.env.now
        if now != self._instant:
            self._instant = now
            self._steps = 0
        self._steps += steps
        if self._steps > self._limit:
            self._steps = 0  # the tasks that are cancelled now need some steps
            raise LivelockError(
                f"more than {self._limit} steps at t = {now:g} s and the clock stands still; "
                "look for a loop whose awaits take no time (asyncio.sleep(0), a retry "
                "without a pause), or raise max_steps_per_instant"
            )

    def _describe_deadlock(self) -> str:
        tasks = sorted(asyncio.all_tasks(self), key=hash)
        waiters = [f"  {_describe_task(task)}" for task in tasks[:_SHOWN_WAITERS]]
        if len(tasks) > _SHOWN_WAITERS:
            waiters.append(f"  and {len(tasks) - _SHOWN_WAITERS} more")
        count = "a task waits" if len(tasks) == 1 else f"{len(tasks)} tasks wait"
        head = f"nothing is left to happen at t = {self.env.now:g} s, and {count}:"
        return "\n".join([head, *waiters])

    # Tasks and futures with a stable hash

    def next_serial(self) -> int:
        """Return the next serial number of this loop, for a hash."""
        self._serials += 1
        return self._serials

    def create_future(self) -> asyncio.Future[Any]:
        """Make a future with a stable hash."""
        return SimulatedFuture(loop=self)

    def create_task(  # type: ignore[override]
        self,
        coro: Coroutine[Any, Any, T],
        *,
        name: str | None = None,
        context: Context | None = None,
        **kwargs: Any,
    ) -> asyncio.Task[T]:
        """Make a task with a stable hash, and a name that counts within this loop."""
        if self.get_task_factory() is not None:
            return super().create_task(coro, name=name, context=context, **kwargs)
        self._check_closed()  # type: ignore[attr-defined]
        if name is None:
            self._tasks_made += 1
            name = f"Task-{self._tasks_made}"
        return SimulatedTask(coro, loop=self, name=name, context=context, **kwargs)

    def set_task_factory(self, factory: Any) -> None:
        """Set the task factory; asyncio's eager one is replaced by one with stable hashes."""
        if sys.version_info >= (3, 12) and factory is asyncio.eager_task_factory:
            factory = asyncio.create_eager_task_factory(SimulatedTask)  # type: ignore[arg-type]
        super().set_task_factory(factory)

    # Start and end of the loop

    def run_forever(self) -> None:
        """Run until `stop`, with real I/O blocked."""
        with fences():
            super().run_forever()

    def call_soon_threadsafe(
        self,
        callback: Callable[[Unpack[Args]], object],
        *args: *Args,
        context: Context | None = None,
    ) -> asyncio.Handle:
        """Do as `call_soon`; refuse calls of other threads, which have no virtual time."""
        thread_id = self._thread_id  # type: ignore[attr-defined]
        if thread_id is not None and thread_id != threading.get_ident():
            raise SimulationError(
                "another thread called into a running simulation: it has no virtual time; "
                "use a SimPy event or a timer inside the simulation"
            )
        return self.call_soon(callback, *args, context=context)

    def close(self) -> None:
        """Close the loop and remove its timers from the environment."""
        if not self.is_closed():
            super().close()
            self._queue[:] = [entry for entry in self._queue if not isinstance(entry[3], _Timer)]
            heapq.heapify(self._queue)

    def _process_events(self, event_list: Any) -> None:
        """Do nothing: there is no selector."""

    def _write_to_self(self) -> None:
        """Do nothing: there is no selector to wake."""


def _is_cancelled_timer(event: Any) -> bool:
    return event.__class__ is _Timer and event._cancelled  # noqa: SLF001


def _describe_task(task: asyncio.Task[Any]) -> str:
    coroutine = task.get_coro()
    name = getattr(coroutine, "__qualname__", repr(coroutine))
    stack = task.get_stack(limit=1)
    where = f" at {stack[-1].f_code.co_filename}:{stack[-1].f_lineno}" if stack else ""
    return f"{task.get_name()} ({name}){where}"


def run(
    main: Coroutine[Any, Any, T],
    *,
    until: float | None = None,
    env: simpy.Environment | None = None,
) -> T | None:
    """Run a coroutine in virtual time and return its result, as `asyncio.run` does in real time.

    Args:
        main: the coroutine; tasks that it leaves behind are cancelled at its end.
        until: the virtual second at which to cancel it; the result is then None.
        env: the SimPy environment to run in, with its processes.

    Raises:
        DeadlockError: it waits, and no event is left.
        LivelockError: it takes steps without end while no time passes.
        SimulationError: it tried to use a thread, socket or process.
    """
    with _without_outer_loop(), asyncio.Runner(loop_factory=lambda: SimulatedLoop(env)) as runner:
        return runner.run(main if until is None else _with_time_limit(main, until))


@contextmanager
def _without_outer_loop() -> Iterator[None]:
    """Hide a loop that is running in this thread: a notebook's cells run in one.

    It makes no progress meanwhile, as during any other computation in a cell.
    """
    outer = asyncio._get_running_loop()  # noqa: SLF001 - asyncio has no public way
    asyncio._set_running_loop(None)  # noqa: SLF001
    try:
        yield
    finally:
        asyncio._set_running_loop(outer)  # noqa: SLF001


async def _with_time_limit(main: Coroutine[Any, Any, T], until: float) -> T | None:
    try:
        async with asyncio.timeout_at(until) as limit:
            return await main
    except TimeoutError:
        if not limit.expired():
            raise
        return None
