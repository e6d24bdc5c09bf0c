"""One service as one user calls it: its list, its pool and its retries, for any thread."""

from __future__ import annotations

import logging
import threading
from collections import deque
from math import inf
from random import Random
from typing import TYPE_CHECKING

from trimtab.discovery.telling import list_events
from trimtab.discovery.waiting import Turn, Waiting
from trimtab.errors import PickError, SaturatedError
from trimtab.pool import Pool
from trimtab.retry import Backoff, LatencyQuantile, RetryBudget

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from trimtab.discovery.hub import Lease
    from trimtab.discovery.policies import Policies
    from trimtab.discovery.state import DiscoveryState
    from trimtab.events import Event
    from trimtab.instance import Instance, Snapshot
    from trimtab.member import Member
    from trimtab.pool import Outcome, Pick, PoolStatistics
    from trimtab.retry import Failure, RetryPolicy
    from trimtab.strategies import LoadReport

__all__ = ["Service"]

logger = logging.getLogger("trimtab.discovery")


class Service:
    """A pool that its supervisor keeps up to date, under a lock.

    Attributes:
        name: the service's name.
        policies: how calls to it are balanced.
        clock: the clock that everything here goes by.
        used_at: when it was last used, on that clock.
    """

    def __init__(
        self,
        name: str,
        *,
        policies: Policies,
        lease: Lease,
        rng: Random,
        clock: Callable[[], float],
        on_removed: Callable[[list[Member]], None],
    ) -> None:
        self.name = name
        self.policies = policies
        self.clock = clock
        self.used_at = clock()
        self.lease = lease
        # A deque can be added to without a lock.
        self._dropped: deque[Pick] = deque()
        self._events: deque[Event] = deque()
        self._pool = Pool(
            strategy=policies.strategy,
            rng=Random(rng.getrandbits(64)),
            service=name,
            health=policies.health,
            concurrency=policies.concurrency,
            subset=policies.subset,
            listener=self._events.append if policies.listener is not None else None,
        )
        self._rng = rng
        retry, hedge = policies.retry, policies.hedge
        self._budget = RetryBudget(ratio=retry.budget_ratio, min_per_s=retry.budget_min_per_s)
        self._latencies: LatencyQuantile | None = None
        if hedge is not None and hedge.quantile is not None:
            self._latencies = LatencyQuantile(hedge.quantile, min_samples=hedge.min_samples)
        self._waiting = Waiting(policies.concurrency.max_pending)
        self._on_removed = on_removed
        self._lock = threading.Lock()
        lease.subscribe(self._update)

    @property
    def is_ready(self) -> bool:
        """Whether a first list is known; from then on no request waits for the registry."""
        return self.lease.snapshot is not None

    def pick(
        self,
        *,
        key: str | None = None,
        exclude: Collection[str] = (),
        turn: Turn | None = None,
        is_first: bool = True,
    ) -> Pick:
        """Pick an instance; see `Pool.pick`.

        Args:
            key: as of the pool.
            exclude: as of the pool.
            turn: the place in the queue of a request that waited for room.
            is_first: whether this is a request's first attempt, which earns budget.

        Raises:
            NoInstancesError, NoEligibleInstanceError: with the state of discovery in the message.
            SaturatedError: there is no room, or others wait for it; see `join`.
        """
        now = self.clock()
        try:
            with self._lock:
                if self._dropped:
                    self._settle(now)
                if is_first:
                    self._budget.request(now)
                if turn is None and not self._waiting.count:
                    return self._pool.pick(now, key=key, exclude=exclude)
                return self._pick_in_turn(turn, now, key, exclude)
        except SaturatedError:
            raise
        except PickError as error:
            error.args = (f"{error}; {self._advice()}",)
            raise
        finally:
            if self._events:
                self._tell()

    def join(self, wake: Callable[[], object]) -> Turn | None:
        """Wait for room: `wake` is called when it is worth another try; None: too many do."""
        turn = Turn(wake, self.clock())
        with self._lock:
            return turn if self._waiting.join(turn) else None

    def leave(self, turn: Turn) -> None:
        """Wait no longer; whoever was let in and did not go lets the next one in."""
        with self._lock:
            if self._waiting.leave(turn) and self._pool.has_room:
                self._waiting.call()

    def answered(
        self, pick: Pick, *, ok: bool, status: int = 0, retry_after_s: float | None = None
    ) -> None:
        """Note a response's head; see `Pick.answered`."""
        with self._lock:
            now = self.clock()
            pick.answered(now, ok=ok, status=status)
            if retry_after_s is not None:
                self._pool.pause(pick.member.id, retry_after_s, now)

    def done(self, pick: Pick, outcome: Outcome) -> bool:
        """Give a pick back, unless that has happened; say whether it was done here and now."""
        with self._lock:
            return self._give_back(pick, self.clock(), outcome)

    def retry_wait_s(
        self,
        policy: RetryPolicy,
        cause: Failure | int,
        tried: Collection[str],
        *,
        backoff: Backoff,
        retry_after_s: float | None = None,
        time_left_s: float = inf,
    ) -> float | None:
        """Say how long to wait before the attempt after `tried` ones; None: there is none.

        The policy has allowed it; the budget is charged here. Nothing is sent again to an
        instance that refused the connection, and a wait beyond the deadline is not begun.
        """
        is_charged = policy.is_charged(cause)
        now = self.clock()
        with self._lock:
            has_other = self._pool.has_other(tried)
            if not has_other and not is_charged:
                return None
            wait_s = backoff.next_s() if is_charged else 0.0
            if retry_after_s is not None and not (has_other and policy.retry_after == "instance"):
                wait_s = retry_after_s
                if wait_s > policy.max_retry_after_s:
                    return None
            if wait_s >= time_left_s:
                return None
            if is_charged and not self._budget.take(now):
                return None
        return wait_s

    def may_hedge(self, tried: Collection[str]) -> bool:
        """Say whether to send a hedge beside the attempts at `tried`; charges the budget if so."""
        now = self.clock()
        with self._lock:
            # Nor does a hedge jump the queue.
            if self._waiting.count or not self._pool.has_room_beside(tried):
                return False
            return self._budget.take(now)

    def hedge_delay_s(self) -> float | None:
        """Return how late an answer must be for a hedge; None while that is not known."""
        hedge = self.policies.hedge
        if hedge is None:
            return None
        with self._lock:
            return hedge.delay_s(self._latencies.value_s() if self._latencies else None)

    def took(self, latency_s: float) -> None:
        """Note how long a request's first attempt took, or would have taken at least."""
        if self._latencies is not None:
            now = self.clock()
            with self._lock:
                self._latencies.add(latency_s, now)

    @property
    def takes_reports(self) -> bool:
        """Whether the strategy wants what instances say of their load."""
        return self._pool.takes_reports

    def report(self, pick: Pick, report: LoadReport) -> None:
        """Take what an instance said of its load."""
        with self._lock:
            self._pool.report(pick.member.id, report, self.clock())

    def backoff(self, policy: RetryPolicy) -> Backoff:
        """Make the waits of one request."""
        return Backoff(self._rng, first_s=policy.backoff_first_s, max_s=policy.backoff_max_s)

    def probed(self, id_: str, *, is_well: bool, why: str = "") -> None:
        """Take the turn of an active probe; see `Pool.probed`."""
        now = self.clock()
        with self._lock:
            self._pool.probed(id_, now, is_well=is_well, why=why)
            self._call_idle()
        self._tell()

    def instances(self) -> tuple[Instance, ...]:
        """Return the present list."""
        snapshot = self.lease.snapshot
        return snapshot.instances if snapshot is not None else ()

    def suspects(self) -> list[Instance]:
        """Return the instances that this client itself holds something against."""
        now = self.clock()
        with self._lock:
            suspects = self._pool.suspects(now)
        self._tell()
        return suspects

    def state(self) -> DiscoveryState:
        """Return how fresh the list is."""
        return self.lease.state()

    def statistics(self) -> PoolStatistics:
        """Return the pool's figures."""
        now = self.clock()
        with self._lock:
            self._settle(now)
            figures = self._pool.statistics(now)
        self._tell()
        return figures

    def eligible(self) -> list[str]:
        """Return the ids of the instances that may be picked now."""
        now = self.clock()
        with self._lock:
            self._pool.review(now)
            eligible = [member.id for member in self._pool.eligible]
        self._tell()
        return eligible

    def drop(self, pick: Pick) -> None:
        """Give a pick back from a finalizer, where no lock may be waited for."""
        self._dropped.append(pick)

    def empty(self) -> None:
        """Remove every member: the service is let go."""
        self._replace(())

    def _update(self, snapshot: Snapshot) -> None:
        if self.policies.listener is not None:
            before = [member.instance for member in self._pool.members.values()]
            at = self.clock()
            self._events.extend(list_events(self.name, before, snapshot.instances, at=at))
        self._replace(snapshot.instances)

    def _replace(self, instances: tuple[Instance, ...]) -> None:
        with self._lock:
            removed = self._pool.update(instances, self.clock())
            self._call_idle()
        self._tell()
        if removed:
            self._on_removed(removed)

    def _tell(self) -> None:
        """Tell the listener what happened, outside of the lock: it may ask for figures."""
        listener = self.policies.listener
        while self._events and listener is not None:
            try:
                event = self._events.popleft()
            except IndexError:  # Another thread has taken the last one.
                return
            try:
                listener(event)
            except Exception:
                logger.exception("service %r: a listener to events failed", self.name)

    def _settle(self, now: float) -> None:
        while self._dropped:
            self._give_back(self._dropped.popleft(), now, "cancelled")

    def _give_back(self, pick: Pick, now: float, outcome: Outcome) -> bool:
        if pick.is_done:
            return False
        pick.done(now, outcome)
        if self._waiting.count and self._pool.has_room:
            self._waiting.call()
        return True

    def _pick_in_turn(
        self, turn: Turn | None, now: float, key: str | None, exclude: Collection[str]
    ) -> Pick:
        if turn is None:
            self._pool.review(now)
            self._call_idle()
            raise self._queued()
        try:
            pick = self._pool.pick(now, key=key, exclude=exclude)
        except SaturatedError:
            self._waiting.back(turn)
            raise
        self._waiting.leave(turn)
        if self._pool.has_room:
            self._waiting.call()
        return pick

    def _call_idle(self) -> None:
        """Let the first one try where room came without a request's end: by a list, or in time.

        Requests that come later wait behind it. If all of them gave up in vain, with nothing in
        flight that could end, there would be no way out.
        """
        if self._waiting.count and not self._waiting.is_called and self._pool.has_room:
            self._waiting.call()

    def _queued(self) -> SaturatedError:
        return SaturatedError(
            f"service {self.name!r}: {self._waiting.count} requests wait for room on its instances "
            "already; see ConcurrencyLimits",
            service=self.name,
        )

    def _advice(self) -> str:
        state = self.state()
        advice = f"the list from {state.registry} is {state.age_s or 0:.1f} s old"
        if state.last_error:
            return f"{advice}, and it does not answer now: {state.last_error}"
        return f"{advice}; check that instances are registered and pass their checks"
