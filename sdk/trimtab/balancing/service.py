"""One service in use: its list, its pool and its requests, for any thread.

The decisions are made by `trimtab.calls` and `trimtab.pool`, which know no clock and no thread.
Here are the lock under which they decide, the clock that they go by, and the list that the
registry gives them.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from functools import partial
from math import inf
from random import Random
from typing import TYPE_CHECKING, Any

from trimtab.calls import Calls, Fail, Request
from trimtab.discovery import DiscoveryState, list_events
from trimtab.errors import DiscoveryTimeoutError, PickError, SaturatedError
from trimtab.health import EnvoyOutliers
from trimtab.pool import Pool

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from trimtab.balancing.policies import Policies
    from trimtab.balancing.probes import Reconnects
    from trimtab.calls import Failure, RetryPolicy, Step
    from trimtab.discovery import DiscoverySettings, Home, Lease
    from trimtab.events import Event
    from trimtab.instance import Instance, Snapshot
    from trimtab.member import Member
    from trimtab.pool import Outcome, Pick, PoolStatistics
    from trimtab.strategies import LoadReport

__all__ = ["Service"]

logger = logging.getLogger("trimtab.balancing")

_UNREACHABLE = frozenset({"refused", "connect_timeout"})
_REFRESH_EVERY_S = 0.1
"""How often a fresh list is asked for; how often it is read is for the supervisor to bound."""


class Service:
    """The requests of one user to one service.

    Any thread may call it, except the methods that "run at home": on the event loop that keeps the
    list.

    Args:
        name: the service's name.
        policies: how its requests are balanced.
        settings: how its list is kept fresh.
        home: where its list is kept.
        take_lease: begins to keep the list; called at home.
        rng: the source of chance.
        on_removed: called at home with members that left the list.

    Attributes:
        calls, lock: what its requests share, and the lock under which they decide.
        takes_reports: whether what instances report of their load is used.
        lease: the hold on its list; None until that has begun.
        used_at: when it was last used, on `clock`.
        reconnects: connects to instances that failed to answer; None: they are not connected to.
        url: that of a recent request, for an HTTP client; None: there was none.
    """

    def __init__(
        self,
        name: str,
        *,
        policies: Policies,
        settings: DiscoverySettings,
        home: Home,
        take_lease: Callable[[], Lease],
        rng: Random,
        on_removed: Callable[[list[Member]], None],
    ) -> None:
        self.name = name
        self.policies = policies
        self.clock = home.clock
        self.used_at = self.clock()
        self.lease: Lease | None = None
        self.reconnects: Reconnects | None = None
        self.url: Any = None
        self._settings = settings
        self._home = home
        self._take_lease = take_lease
        self._asking: asyncio.Task[None] | None = None
        self._refresh_at = -inf
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
            priorities=policies.priorities,
            listener=self._events.append if policies.listener is not None else None,
        )
        self.calls = Calls(
            name,
            self._pool,
            retry=policies.retry,
            hedge=policies.hedge,
            limits=policies.concurrency,
            rng=rng,
            startup_timeout_s=settings.startup_timeout_s,
        )
        self.takes_reports = self._pool.takes_reports
        self._on_removed = on_removed
        self.lock = threading.Lock()
        # The ids of the instances that are being connected to.
        self._watched: set[str] = set()
        self._connects_newcomers = False
        self._is_let_go = False
        self._has_warned = False

    def __repr__(self) -> str:
        return f"<Service {self.name} instances={len(self._pool)}>"

    # -- requests: the events of `trimtab.calls.request` under the lock, with the time --------

    def request(
        self,
        *,
        key: str | None = None,
        cost: float = 1,
        method: str = "GET",
        replayable: bool = True,
        retry: RetryPolicy | None = None,
        may_hedge: bool = True,
        deadline_s: float | None = None,
    ) -> Request:
        """Make a request; see `Request`. The deadline counts from now."""
        return Request(
            self.calls,
            key=key,
            cost=cost,
            method=method,
            replayable=replayable,
            retry=retry,
            may_hedge=may_hedge,
            deadline_at=inf if deadline_s is None else self.clock() + deadline_s,
            deadline_s=deadline_s,
        )

    def begin(self, request: Request) -> Step:
        """Start a request; None if this service was let go: get it anew."""
        with self.lock:
            if self._is_let_go:
                return None
            now = self.clock()
            if self._dropped:
                self._settle(now)
            step = request.begin(now)
        if not self.calls.is_listed:
            self._home.do(self._ask)
        if step.__class__ is Fail:
            self._refresh(now)
        if self._events:
            self._tell()
        return step

    def completed(self, request: Request, pick: Pick, status: int) -> Step:
        """Take a response that came whole."""
        with self.lock:
            return request.completed(pick, status, self.clock())

    def failed(
        self, request: Request, pick: Pick, failure: Failure, words: str | None = None
    ) -> Step:
        """Take the failure of an attempt."""
        with self.lock:
            now = self.clock()
            step = request.failed(pick, failure, now, words)
        if failure in _UNREACHABLE and step.__class__ is Fail:
            self._refresh(now)
        if self._events:
            self._tell()
        return step

    def resumed(self, request: Request) -> Step:
        """Go on after a wait."""
        with self.lock:
            now = self.clock()
            if self._dropped:
                self._settle(now)
            step = request.resumed(now)
        if self._events:
            self._tell()
        return step

    def deadline_passed(self, request: Request) -> Step:
        """End a request whose deadline has come."""
        with self.lock:
            return request.deadline_passed(self.clock())

    def cancelled(self, request: Request) -> None:
        """End a request whose caller has given up."""
        with self.lock:
            request.cancelled(self.clock())

    def ended(self, pick: Pick, outcome: Outcome) -> bool:
        """Take the end of a body; return whether the pick was given back by this call."""
        with self.lock:
            return self.calls.give_back(pick, self.clock(), outcome)

    def drop(self, pick: Pick) -> None:
        """Give a pick back from a finalizer, where no lock may be waited for."""
        self._dropped.append(pick)
        if self.calls.queue.count:
            self._home.soon_from_anywhere(self.settle)

    def settle(self) -> None:
        """Give back what finalizers have dropped."""
        with self.lock:
            self._settle(self.clock())

    def error_of(self, request: Request, fail: Fail) -> Exception:
        """Return the error of a request that failed without an attempt's own error."""
        if fail.reason == "no_list":
            return self._no_list(request)
        assert fail.error is not None
        error = fail.error
        if isinstance(error, PickError) and not isinstance(error, SaturatedError):
            error.args = (f"{error}; {self._advice()}",)
        return error

    # -- load, probes ------------------------------------------------------------------------

    def report(self, id_: str, report: LoadReport | None) -> None:
        """Take an instance's report of its load; None: it was asked, and did not answer."""
        with self.lock:
            if report is None:
                self._pool.silent(id_, self.clock())
            else:
                self._pool.report(id_, report, self.clock())

    def probed(self, id_: str, *, is_well: bool, why: str = "") -> None:
        """Take the verdict of an active probe; see `Pool.probed`."""
        now = self.clock()
        with self.lock:
            self._pool.probed(id_, now, is_well=is_well, why=why)
            self.calls.call_idle()
        self._tell()

    def watch(self, reconnects: Reconnects, *, newcomers: bool = False) -> None:
        """Connect from now on to instances that fail to answer, or to newcomers, too."""
        self.reconnects = reconnects
        self._connects_newcomers = newcomers
        self.calls.on_broken = self._broken

    def find(self, id_: str) -> Instance | None:
        """Return a listed instance that this client may pick as far as its registration goes."""
        member = self.member(id_)
        return member.instance if member is not None else None

    def member(self, id_: str) -> Member | None:
        """Return what this client knows of a listed instance."""
        with self.lock:
            return self._pool.members.get(id_)

    def connected(self, id_: str, is_open: bool, why: str) -> None:  # noqa: FBT001 - as Reconnects has it
        """Take whether a connection to an instance opened; see `Pool.connected`."""
        now = self.clock()
        with self.lock:
            self._watched.discard(id_) if is_open else self._watched.add(id_)
            self._pool.connected(id_, now, is_open=is_open, why=why)
            self.calls.call_idle()
        self._tell()

    def _broken(self, id_: str) -> None:
        # Called with the lock held, in any thread.
        if id_ not in self._watched:
            self._watched.add(id_)
            self._home.soon_from_anywhere(partial(self._connect, id_))

    def _connect(self, id_: str) -> None:
        """Begin to connect to an instance. Runs at home."""
        if self.reconnects is not None and not self.calls.is_closed:
            self.reconnects.watch(id_)

    def heard(self, id_: str) -> None:
        """Take a probe that has passed; see `Pool.heard`."""
        with self.lock:
            self._pool.heard(id_, self.clock())

    def answers_since(self, id_: str, moment: float) -> bool:
        """Return whether an instance answers this client; see `Pool.answers_since`."""
        with self.lock:
            return self._pool.answers_since(id_, moment)

    # -- figures -----------------------------------------------------------------------------

    @property
    def is_ready(self) -> bool:
        """Whether there was a first list; from then on no request waits for the registry."""
        return self.calls.is_listed

    @property
    def under_way(self) -> int:
        """How many requests have neither an answer nor an error."""
        return self.calls.under_way

    def instances(self) -> tuple[Instance, ...]:
        """Return the present list."""
        snapshot = self.lease.snapshot if self.lease is not None else None
        return snapshot.instances if snapshot is not None else ()

    def suspects(self) -> list[Instance]:
        """Return the instances that this client itself holds something against."""
        now = self.clock()
        with self.lock:
            suspects = self._pool.suspects(now)
            self.calls.call_idle()
        self._tell()
        return suspects

    def state(self) -> DiscoveryState:
        """Return how fresh the list is."""
        if self.lease is not None:
            return self.lease.state()
        return DiscoveryState(service=self.name, registry="")

    def statistics(self) -> PoolStatistics:
        """Return the pool's figures."""
        now = self.clock()
        with self.lock:
            self._settle(now)
            figures = self._pool.statistics(now)
            self.calls.call_idle()
        self._tell()
        return figures

    def eligible(self) -> list[str]:
        """Return the ids of the instances that may be picked now."""
        now = self.clock()
        with self.lock:
            self.calls.look_for_room(now)
            eligible = [member.id for member in self._pool.eligible]
        self._tell()
        return eligible

    # -- the list ----------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to keep the list. Runs at home. A second call does nothing."""
        if self.lease is None:
            self.lease = self._take_lease()
            self.lease.subscribe(self._update)

    async def ready(self, timeout_s: float) -> None:
        """Wait for the first list. Runs at home.

        Raises:
            DiscoveryError: no first list can be had; see `Supervisor.first`.
        """
        self.start()
        assert self.lease is not None
        await self.lease.first(timeout_s)

    def _ask(self) -> None:
        """Have the requests that wait for the first list learn of a refusal. Runs at home."""
        if self._asking is None or self._asking.done():
            self._asking = self._home.loop.create_task(self._await_first())

    def _refresh(self, now: float) -> None:
        """Ask for a fresh list, since no listed instance can be called; the registry may know more.

        Any thread may call it. Source: gRPC's `ResolveNow`, after a failed connection.
        """
        if now < self._refresh_at or self.lease is None:
            return
        self._refresh_at = now + _REFRESH_EVERY_S
        self._home.soon_from_anywhere(self.lease.refresh)

    async def _await_first(self) -> None:
        try:
            self.start()
            assert self.lease is not None
            await self.lease.first(None)
        except Exception as error:  # noqa: BLE001 - each request that waits raises it
            with self.lock:
                self.calls.refused(error)

    def _update(self, snapshot: Snapshot) -> None:
        if self.policies.listener is not None:
            before = [member.instance for member in self._pool.members.values()]
            at = self.clock()
            self._events.extend(list_events(self.name, before, snapshot.instances, at=at))
        self._replace(snapshot.instances, is_list=True)

    def _replace(self, instances: tuple[Instance, ...], *, is_list: bool) -> None:
        with self.lock:
            before = self._pool.wanted() if self._connects_newcomers else {}
            removed = self._pool.update(instances, self.clock())
            newcomers = self._newcomers(before) if self._connects_newcomers else []
            self._watched.difference_update([member.id for member in removed])
            if is_list and not self.calls.is_listed:
                self.calls.listed()
            self.calls.call_idle()
        self._tell()
        self._warn_if_none_is_ejected(len(self._pool))
        if removed:
            self._on_removed(removed)
        for id_ in newcomers:
            self._connect(id_)

    def _newcomers(self, before: dict[str, str]) -> list[str]:
        """Return the ids of the instances that are new, and hold them back while there are others.

        Those that are connected to already are not held back: that may take long.
        """
        wanted = self._pool.wanted()
        ids = [id_ for id_, address in wanted.items() if before.get(id_) != address]
        held = [id_ for id_ in ids if id_ not in self._watched]
        if before and held:
            self._pool.connecting(held, self.clock())
        return ids

    def _warn_if_none_is_ejected(self, members: int) -> None:
        """Say once that ejection is switched on, and has no effect with so few instances."""
        outliers = self.policies.health.outliers
        if self._has_warned or not isinstance(outliers, EnvoyOutliers):
            return
        if (why := outliers.why_never(members)) is not None:
            self._has_warned = True
            logger.warning("service %r: %s", self.name, why)

    # -- the end -----------------------------------------------------------------------------

    def let_go(self) -> bool:
        """Be let go, unless requests are under way; return whether it was."""
        with self.lock:
            if not self.calls.under_way:
                self._is_let_go = True
            return self._is_let_go

    def drain(self, on_idle: Callable[[], None]) -> None:
        """Prepare for closing: requests that wait for a first list end, others go on.

        Args:
            on_idle: called, from any thread, when no request is under way any more.
        """
        with self.lock:
            self.calls.on_idle = on_idle
            self.calls.refused(self.calls.closed_error())

    def close(self) -> None:
        """End all requests that wait; the others get no further attempt."""
        with self.lock:
            self._is_let_go = True
            self.calls.close()

    async def aclose(self) -> None:
        """Let the list go, and every member with it. Runs at home."""
        if self.reconnects is not None:
            await self.reconnects.aclose()
        self._replace((), is_list=False)
        if self._asking is not None:
            self._asking.cancel()
        if self.lease is not None:
            await self.lease.aclose()

    # -- inside ------------------------------------------------------------------------------

    def _tell(self) -> None:
        """Call the listener, outside of the lock: it may ask for figures."""
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
            self.calls.give_back(self._dropped.popleft(), now, "cancelled")

    def _no_list(self, request: Request) -> Exception:
        waited_s = min(self._settings.startup_timeout_s, request.deadline_s or inf)
        what = f"no list of its instances within {waited_s:g} s"
        if self.lease is None:
            return DiscoveryTimeoutError(f"service {self.name!r}: {what}", service=self.name)
        return self.lease.no_list(DiscoveryTimeoutError, what)

    def _advice(self) -> str:
        state = self.state()
        advice = f"the list from {state.registry} is {state.age_s or 0:.1f} s old"
        if state.last_error:
            return f"{advice}, and it does not answer now: {state.last_error}"
        return f"{advice}; check that instances are registered and pass their checks"
