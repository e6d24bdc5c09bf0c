"""Requests to a service without any I/O: lists are given, and time is moved by hand."""

from __future__ import annotations

from random import Random

from trimtab import Instance, Snapshot
from trimtab.balancing import Policies, Service
from trimtab.calls import Calls, Request, Wait
from trimtab.discovery import DiscoverySettings, DiscoveryState
from trimtab.pool import Pick, Pool
from trimtab.testing import ManualClock


class Always(Random):
    """Draws one number for ever."""

    def __init__(self, value):
        super().__init__(0)
        self.value = value

    def random(self):
        return self.value


def instance(id_, **fields):
    return Instance(host="10.0.0.1", port=80, id=id_, **fields)


def instances(*ids):
    return [each if isinstance(each, Instance) else instance(each) for each in ids]


# -- the machine alone ---------------------------------------------------------------------------


class World:
    """What the requests to one service share, and the time.

    Args:
        ids: the instances of the first list; None: there is no list yet.
        draw: every wait is this share of its bound.
        policies: as of `Policies`.
    """

    def __init__(self, ids="abc", *, draw=1.0, startup_timeout_s=10.0, **policies):
        policies = Policies(**({"strategy": "round_robin"} | policies))
        self.now = 100.0
        self.pool = Pool(
            strategy=policies.strategy,
            rng=Random(0),
            service="orders",
            health=policies.health,
            concurrency=policies.concurrency,
        )
        self.calls = Calls(
            "orders",
            self.pool,
            retry=policies.retry,
            hedge=policies.hedge,
            limits=policies.concurrency,
            rng=Always(draw),
            startup_timeout_s=startup_timeout_s,
        )
        if ids is not None:
            self.list(*ids)

    def list(self, *ids):
        """Take a list, as `Service` does."""
        self.pool.update(instances(*ids), self.now)
        if not self.calls.is_listed:
            self.calls.listed()
        self.calls.call_idle()

    def advance(self, seconds):
        self.now += seconds

    def begin(self, **options):
        """Begin a request."""
        return Driven(self, **options)

    def figures(self):
        figures = self.pool.statistics(self.now)
        self.calls.call_idle()
        return figures

    def eligible(self):
        self.pool.review(self.now)
        return [member.id for member in self.pool.eligible]


class Driven:
    """A request that the test drives.

    Attributes:
        step: the last step.
        woken: how often it was woken.
    """

    def __init__(self, world, *, deadline_s=None, **options):
        self.world = world
        if deadline_s is not None:
            options |= {"deadline_s": deadline_s, "deadline_at": world.now + deadline_s}
        self.request = Request(world.calls, **options)
        self.woken = 0
        self.request.wake = self._wake
        self.step = self.request.begin(world.now)

    def _wake(self):
        self.woken += 1

    @property
    def pick(self):
        """The attempt that was begun last, once its wait is over."""
        if isinstance(self.step, Wait):
            self.world.now = max(self.world.now, self.step.until)
            self.resume()
        assert isinstance(self.step, Pick), self.step
        return self.step

    def resume(self):
        self.step = self.request.resumed(self.world.now)
        return self.step

    def failed(self, failure, pick=None, words=None):
        """Fail an attempt; return how long the next one waits, or None if there is none."""
        pick = pick or self.pick
        self.step = self.request.failed(pick, failure, self.world.now, words)
        return self.wait_s

    def answered(self, status, retry_after_s=None, pick=None):
        """Answer an attempt; return the same."""
        pick = pick or self.pick
        self.step = self.request.answered(pick, status, self.world.now, retry_after_s)
        return self.wait_s

    def completed(self, status, pick=None):
        pick = pick or self.pick
        self.step = self.request.completed(pick, status, self.world.now)
        return self.wait_s

    def hedge(self):
        """Wait until a hedge is due; return its attempt, or None."""
        if self.request.wake_at is None:
            return None
        self.world.now = max(self.world.now, self.request.wake_at)
        return self.request.resumed(self.world.now)

    @property
    def wait_s(self):
        if isinstance(self.step, Pick):
            return 0.0
        return round(self.step.until - self.world.now, 9) if isinstance(self.step, Wait) else None


# -- a service -----------------------------------------------------------------------------------


class Given:
    """A lease on a list that the test gives."""

    def __init__(self):
        self.snapshot = None
        self.take = None
        self.last_error = ""
        self.refreshed = 0

    def refresh(self):
        self.refreshed += 1

    def subscribe(self, take):
        self.take = take

    async def aclose(self):
        self.take = None

    def set(self, *ids):
        self.snapshot = Snapshot(service="orders", instances=tuple(instances(*ids)))
        self.take(self.snapshot)

    def no_list(self, kind, what):
        return kind(f"service 'orders': {what} from static://", service="orders")

    def state(self):
        return DiscoveryState(
            service="orders",
            registry="static://",
            instances=len(self.snapshot.instances) if self.snapshot else None,
            age_s=2.0 if self.snapshot else None,
            source="registry",
            failures=1 if self.last_error else 0,
            last_error=self.last_error,
            held=None,
        )


class AtHome:
    """A home without a loop: calls are noted, or made at once."""

    def __init__(self):
        self.clock = ManualClock(100.0)
        self.asked = 0
        self.soon = []

    def do(self, _call):
        self.asked += 1

    def soon_from_anywhere(self, call):
        self.soon.append(call)


def service_of(ids="abc", *, draw=1.0, **policies):
    """Make a service of these instances, on a clock of its own; waits are `draw` of their bound."""
    removed = []
    lease = Given()
    service = Service(
        "orders",
        policies=Policies(**({"strategy": "round_robin"} | policies)),
        settings=DiscoverySettings(),
        home=AtHome(),
        take_lease=lambda: lease,
        rng=Always(draw),
        on_removed=removed.extend,
    )
    service.removed = removed
    service.start()
    if ids is not None:
        service.lease.set(*ids)
    return service


def begin(service, **options):
    """Begin a request to a service; return it and its first step."""
    request = service.request(**options)
    return request, service.begin(request)


def answered(service, request, pick, status):
    """Take a response's head, as a delivery does."""
    with service.lock:
        return request.answered(pick, status, service.clock())
