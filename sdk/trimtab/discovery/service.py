"""One service as one user calls it: its list, its pool and its retries, for any thread."""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING

from trimtab.errors import PickError
from trimtab.retry import RetryBudget

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from trimtab.discovery.hub import Lease
    from trimtab.discovery.state import DiscoveryState
    from trimtab.instance import Instance, Snapshot
    from trimtab.member import Member
    from trimtab.pool import Outcome, Pick, Pool, PoolStatistics
    from trimtab.retry import Failure, RetryPolicy

__all__ = ["Service"]


class Service:
    """A pool that its supervisor keeps up to date, under a lock.

    Attributes:
        name: the service's name.
        used_at: when it was last used, on the pool's clock.
    """

    def __init__(
        self,
        name: str,
        *,
        pool: Pool,
        lease: Lease,
        retry: RetryPolicy,
        clock: Callable[[], float],
        on_removed: Callable[[list[Member]], None],
    ) -> None:
        self.name = name
        self.used_at = clock()
        self.lease = lease
        self._pool = pool
        self._retry = retry
        self._budget = RetryBudget(ratio=retry.budget_ratio, min_per_s=retry.budget_min_per_s)
        self._clock = clock
        self._on_removed = on_removed
        self._lock = threading.Lock()
        # A deque can be added to without a lock.
        self._dropped: deque[Pick] = deque()
        lease.subscribe(self._update)

    @property
    def is_ready(self) -> bool:
        """Whether a first list is known; from then on no request waits for the registry."""
        return self.lease.snapshot is not None

    def pick(self, *, key: str | None = None, exclude: Collection[str] = ()) -> Pick:
        """Pick an instance; see `Pool.pick`.

        Raises:
            NoInstancesError, NoEligibleInstanceError: with the state of discovery in the message.
        """
        now = self._clock()
        try:
            with self._lock:
                if self._dropped:
                    self._settle(now)
                if not exclude:
                    self._budget.request(now)
                return self._pool.pick(now, key=key, exclude=exclude)
        except PickError as error:
            error.args = (f"{error}; {self._advice()}",)
            raise

    def answered(self, pick: Pick, *, ok: bool) -> None:
        """Note a response's head; see `Pick.answered`."""
        with self._lock:
            pick.answered(self._clock(), ok=ok)

    def done(self, pick: Pick, outcome: Outcome) -> bool:
        """Give a pick back, unless that has happened; say whether it was done here and now."""
        with self._lock:
            return self._give_back(pick, self._clock(), outcome)

    def may_retry(
        self, failure: Failure, tried: Collection[str], *, method: str, replayable: bool
    ) -> bool:
        """Say whether to try another instance after `tried` ones; charges the budget if so."""
        policy = self._retry
        if not policy.allows(failure, len(tried), method=method, replayable=replayable):
            return False
        with self._lock:
            if not self._pool.has_other(tried):
                return False
            return not policy.is_charged(failure) or self._budget.take(self._clock())

    def state(self) -> DiscoveryState:
        """Return how fresh the list is."""
        return self.lease.state()

    def statistics(self) -> PoolStatistics:
        """Return the pool's figures."""
        now = self._clock()
        with self._lock:
            self._settle(now)
            return self._pool.statistics(now)

    def eligible(self) -> list[str]:
        """Return the ids of the instances that may be picked now."""
        with self._lock:
            return [member.id for member in self._pool.eligible]

    def drop(self, pick: Pick) -> None:
        """Give a pick back from a finalizer, where no lock may be waited for."""
        self._dropped.append(pick)

    def empty(self) -> None:
        """Remove every member: the service is let go."""
        self._replace(())

    def _update(self, snapshot: Snapshot) -> None:
        self._replace(snapshot.instances)

    def _replace(self, instances: tuple[Instance, ...]) -> None:
        with self._lock:
            removed = self._pool.update(instances, self._clock())
        if removed:
            self._on_removed(removed)

    def _settle(self, now: float) -> None:
        while self._dropped:
            self._give_back(self._dropped.popleft(), now, "cancelled")

    def _give_back(self, pick: Pick, now: float, outcome: Outcome) -> bool:
        if pick.is_done:
            return False
        pick.done(now, outcome)
        return True

    def _advice(self) -> str:
        state = self.state()
        advice = f"the list from {state.registry} is {state.age_s or 0:.1f} s old"
        if state.last_error:
            return f"{advice}, and it does not answer now: {state.last_error}"
        return f"{advice}; check that instances are registered and pass their checks"
