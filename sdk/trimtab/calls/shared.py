"""What all requests to one service share: the pool, the budget, the queue for room."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from trimtab.calls.budget import LatencyQuantile, RetryBudget
from trimtab.errors import ClosedError, SaturatedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from random import Random

    from trimtab.calls.policies import HedgePolicy, RetryPolicy
    from trimtab.calls.request import Request
    from trimtab.pool import ConcurrencyLimits, Outcome, Pick, Pool

__all__ = ["Calls", "RoomQueue"]


class RoomQueue:
    """The requests that wait for room on an instance: first come, first served. O(1) per call.

    Args:
        max_pending: how many may wait.

    Attributes:
        count: how many wait, those whose turn has come included. While this is above 0, no other
            request may be sent first.
    """

    def __init__(self, max_pending: int) -> None:
        self._max_pending = max_pending
        self._waiting: OrderedDict[Request, None] = OrderedDict()
        # In the order of their turns.
        self._called: dict[Request, None] = {}
        self.count = 0

    def join(self, request: Request) -> bool:
        """Add a request at the end, and return whether there was a place."""
        if self.count >= self._max_pending:
            return False
        self._waiting[request] = None
        self.count += 1
        return True

    @property
    def has_called(self) -> bool:
        """Whether it is some request's turn that has not tried yet."""
        return bool(self._called)

    def is_called(self, request: Request) -> bool:
        """Return whether it is this request's turn."""
        return request in self._called

    def is_first(self, request: Request) -> bool:
        """Return whether no other waits before this request."""
        return next(iter(self._waiting), None) is request

    def call(self) -> None:
        """Give the first one its turn."""
        if self._waiting:
            request, _ = self._waiting.popitem(last=False)
            self._called[request] = None
            if request.wake is not None:
                request.wake()

    def back(self) -> None:
        """Put all whose turn it is back to the front: one of them has found no room."""
        for request in reversed(self._called):
            self._waiting[request] = None
            self._waiting.move_to_end(request, last=False)
        self._called.clear()

    def wake_all(self) -> None:
        """Wake all that wait, out of turn."""
        _wake((*self._called, *self._waiting))

    def leave(self, request: Request) -> bool:
        """Remove a request; return whether it was its turn."""
        was_called = request in self._called
        if was_called or request in self._waiting:
            self.count -= 1
        self._called.pop(request, None)
        self._waiting.pop(request, None)
        return was_called


class Calls:
    """The shared state of the requests to one service. Callers hold the service's lock.

    Args:
        service: its name, for messages.
        pool: the instances.
        retry, hedge: the service's policies.
        limits: bounds of the queue for room.
        rng: the source of chance for backoff.
        startup_timeout_s: how long a request waits for the first list.

    Attributes:
        is_listed: whether there was a first list.
        refusal: why there is none, if waiting cannot change that.
        is_closed: whether the service was closed: no request is sent any more.
        under_way: how many requests have begun and have neither an answer nor an error.
        on_idle: called when `under_way` has come to 0; None: not wanted.
        on_broken: called with the id of an instance that failed to answer a request, or broke off
            its answer; None: not wanted.
    """

    def __init__(
        self,
        service: str,
        pool: Pool,
        *,
        retry: RetryPolicy,
        hedge: HedgePolicy | None,
        limits: ConcurrencyLimits,
        rng: Random,
        startup_timeout_s: float,
    ) -> None:
        self.service = service
        self.pool = pool
        self.retry = retry
        self.hedge = hedge
        self.rng = rng
        self.startup_timeout_s = startup_timeout_s
        self.max_wait_s = limits.max_wait_s
        self.budget = RetryBudget(ratio=retry.budget_ratio, min_per_s=retry.budget_min_per_s)
        self.queue = RoomQueue(limits.max_pending)
        self.is_listed = self.is_closed = False
        self.refusal: Exception | None = None
        self.under_way = 0
        self.on_idle: Callable[[], None] | None = None
        self.on_broken: Callable[[str], None] | None = None
        self._latencies: LatencyQuantile | None = None
        if hedge is not None and hedge.quantile is not None:
            self._latencies = LatencyQuantile(hedge.quantile, min_samples=hedge.min_samples)
        # In the order of their coming.
        self._unlisted: dict[Request, None] = {}
        self._paused: dict[Request, None] = {}

    # -- the first list ----------------------------------------------------------------------

    @property
    def awaits_list(self) -> bool:
        """Whether a request waits for the first list."""
        return bool(self._unlisted)

    def await_list(self, request: Request) -> None:
        """Have a request woken when there is a list, or when there will be none."""
        self.refusal = None
        self._unlisted[request] = None

    def listed(self) -> None:
        """Take note of the first list."""
        self.is_listed, self.refusal = True, None
        _wake(self._unlisted)

    def refused(self, error: Exception) -> None:
        """Take note that there will be no list: those that wait for it get the error."""
        self.refusal = error
        _wake(self._unlisted)

    def close(self) -> None:
        """Let no further attempt be sent; wake all requests that wait."""
        self.is_closed = True
        _wake(self._unlisted)
        _wake(self._paused)
        self.queue.wake_all()

    def closed_error(self) -> ClosedError:
        """Return the error of a request that was cut off by closing."""
        return ClosedError(f"service {self.service!r}: closed while the request was under way")

    # -- pauses before another attempt -------------------------------------------------------

    def pause(self, request: Request) -> None:
        """Have a request woken when the service is closed, until it leaves."""
        self._paused[request] = None

    # -- room --------------------------------------------------------------------------------

    def must_queue(self, now: float) -> SaturatedError:
        """Return the error of a request that may not overtake those that wait for room."""
        self.look_for_room(now)
        return SaturatedError(
            f"service {self.service!r}: {self.queue.count} requests wait for room on its instances "
            "already; see ConcurrencyLimits",
            service=self.service,
        )

    def no_room(self) -> SaturatedError:
        """Return the error of a request that has waited for room in vain."""
        return SaturatedError(
            f"service {self.service!r}: no room on any instance within {self.max_wait_s:g} s; see "
            "ConcurrencyLimits",
            service=self.service,
        )

    def look_for_room(self, now: float) -> None:
        """Give the first one its turn if room has come by time alone, as an ejection's end."""
        self.pool.review(now)
        self.call_idle()

    def call_idle(self) -> None:
        """Give the first one its turn if room came without a request's end: by a list, or in time.

        Later requests wait behind it. If nothing is in flight that could end, nothing else would
        call it.
        """
        if self.queue.count and not self.queue.has_called and self.pool.has_room:
            self.queue.call()

    def give_back(self, pick: Pick, now: float, outcome: Outcome) -> bool:
        """Give a pick back, unless that has happened; return whether it was done here."""
        if pick.is_done:
            return False
        pick.done(now, outcome)
        if self.queue.count and self.pool.has_room:
            self.queue.call()
        return True

    def broke(self, pick: Pick) -> None:
        """Have it found out whether the instance of a pick can still be reached."""
        if self.on_broken is not None and not pick.member.is_removed:
            self.on_broken(pick.member.id)

    def leave(self, request: Request) -> None:
        """Wait no longer; if it held back those behind it, the next one gets its turn."""
        self._unlisted.pop(request, None)
        self._paused.pop(request, None)
        if not self.queue.count:
            return
        had_turn = self.queue.leave(request)
        if (had_turn or not self.queue.has_called) and self.pool.has_room:
            self.queue.call()

    # -- latencies ---------------------------------------------------------------------------

    def took(self, latency_s: float, now: float) -> None:
        """Note how long a request's first attempt took, or would have taken at least."""
        if self._latencies is not None:
            self._latencies.add(latency_s, now)

    def hedge_delay_s(self) -> float | None:
        """Return how late an answer must be for a hedge; None while that is not known."""
        assert self.hedge is not None
        return self.hedge.delay_s(self._latencies.value_s() if self._latencies else None)


def _wake(requests: Iterable[Request]) -> None:
    for request in tuple(requests):
        if request.wake is not None:
            request.wake()
