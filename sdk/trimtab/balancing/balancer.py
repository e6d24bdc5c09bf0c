"""`Balancer`: the same balancing for other clients: aiohttp, grpcio, a database driver."""

from __future__ import annotations

import threading
from dataclasses import replace
from functools import partial
from random import Random
from typing import TYPE_CHECKING, Any, Self, TypeVar, overload
from weakref import WeakSet, finalize

from trimtab.background import close_soon, on_fork
from trimtab.balancing.drivers import drive, drive_async
from trimtab.balancing.functions import (
    AsyncFunctionDelivery,
    FunctionDelivery,
    Outcomes,
    is_async,
)
from trimtab.balancing.policies import Policies, check_deadline, reconnect_settings
from trimtab.balancing.services import Services, state_of, statistics_of
from trimtab.calls import IDEMPOTENT, RetryPolicy
from trimtab.discovery import DiscoverySettings, Home
from trimtab.errors import ConfigurationError
from trimtab.health import HealthSettings
from trimtab.pool import ConcurrencyLimits, units_of
from trimtab.registries import check_registry, shown_url
from trimtab.strategies import PrioritySettings
from trimtab.strategies.settings import settings_of

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Callable, Coroutine, Mapping
    from types import TracebackType

    from trimtab.balancing.service import Service
    from trimtab.calls import Failure, HedgePolicy
    from trimtab.discovery import DiscoveryState
    from trimtab.events import Listener
    from trimtab.health.probing import ProbeSettings, ReconnectSettings
    from trimtab.instance import Instance
    from trimtab.pool import PoolStatistics, Subset
    from trimtab.registries import Registry
    from trimtab.strategies import StrategyFactory

__all__ = ["Balancer"]

T = TypeVar("T")


class Balancer:
    """Calls a function of yours with the instance that should serve the request.

    It picks, retries, hedges, limits and learns as `BalancedTransport` does; only the sending is
    yours:

        failures = {aiohttp.ClientConnectionError: "no_response"}  # more in docs/balancer.md
        balancer = Balancer("consul://10.0.0.1:8500", failures=failures)

        async def send(instance):
            async with session.get(f"http://{instance.address}/items/7") as response:
                return await response.json()

        item = await balancer.call("orders", send, idempotent=True)

    With a function that is not async, `call` blocks and returns the result. Any thread and any
    event loop may use it. A request is in flight until the function returns, so the function
    should read the whole answer.

    Args:
        registry: where the instances are listed: a URL (see `connect`) or a registry object.
            An object stays the caller's to close.
        failures: what counts as a failure of the instance, besides the errors of Python itself
            (refused connections, time-outs, other `OSError`s and `EOFError`): kinds of failure by
            class of exception, the nearest class counts; or a function that returns the kind for
            an exception, or None for the usual meaning. Other exceptions are the caller's: they
            are raised, count for nothing and are not tried again. See `Failure` for the kinds.
        status: returns a result's status, as HTTP has them: 5xx and 429 count against the
            instance, and those in `RetryPolicy.statuses` are tried again. None: every result is
            a success.
        strategy, discovery, health, concurrency, subset, priorities, probe, listener: as in
            `BalancedTransport`.
        reconnect: as there; by default instances are connected to at their host and port.
        retry, hedge: as there; their `methods` do not apply: `idempotent` says what may be sent
            twice. Hedging is for async functions.
        deadline_s: how long a call may take, above 0; None: no bound. It cancels an async
            function. It does not interrupt one that blocks: the result that this returns late is
            given to the caller, and no attempt follows.
        rng: the source of chance; give a seeded one for repeatable picks.

    Raises:
        ConfigurationError: a setting is wrong; found when made, before the first request.
    """

    def __init__(
        self,
        registry: str | Registry,
        *,
        failures: Mapping[Any, Failure] | Callable[[Exception], Failure | None] | None = None,
        status: Callable[[Any], int] | None = None,
        strategy: str | StrategyFactory = "least_latency",
        discovery: DiscoverySettings | None = None,
        retry: RetryPolicy | None = None,
        hedge: HedgePolicy | None = None,
        health: HealthSettings | None = None,
        concurrency: ConcurrencyLimits | None = None,
        subset: Subset | None = None,
        priorities: PrioritySettings | None = None,
        probe: ProbeSettings | None = None,
        reconnect: ReconnectSettings | bool | None = None,
        deadline_s: float | None = None,
        listener: Listener | None = None,
        rng: Random | None = None,
    ) -> None:
        check_registry(registry)
        if rng is not None and not isinstance(rng, Random):
            raise ConfigurationError(f"rng is {rng!r}; write rng=Random(...)")
        self._registry = registry
        self._discovery = settings_of("discovery", discovery, DiscoverySettings)
        policies = Policies(
            strategy=strategy,
            retry=settings_of("retry", retry, RetryPolicy),
            hedge=hedge,
            health=settings_of("health", health, HealthSettings),
            concurrency=settings_of("concurrency", concurrency, ConcurrencyLimits),
            subset=subset,
            priorities=settings_of("priorities", priorities, PrioritySettings),
            probe=probe,
            reconnect=reconnect_settings(reconnect, by_default=True),
            deadline_s=deadline_s,
            listener=listener,
        )
        self._policies = _for_any_method(policies)
        self._outcomes = Outcomes(failures, status)
        self._rng = rng or Random()
        self._is_seeded = rng is not None
        self._lock = threading.Lock()
        self._services: dict[asyncio.AbstractEventLoop, Services] = {}
        _balancers.add(self)
        finalize(self, _end_all, self._services).atexit = False

    def __repr__(self) -> str:
        return f"<Balancer {shown_url(self._registry)}>"

    @overload
    def call(
        self,
        service: str,
        send: Callable[[Instance], Awaitable[T]],
        *,
        idempotent: bool = ...,
        key: str | None = ...,
        cost: float = ...,
        deadline_s: float | None = ...,
    ) -> Coroutine[Any, Any, T]: ...

    @overload
    def call(
        self,
        service: str,
        send: Callable[[Instance], T],
        *,
        idempotent: bool = ...,
        key: str | None = ...,
        cost: float = ...,
        deadline_s: float | None = ...,
    ) -> T: ...

    def call(
        self,
        service: str,
        send: Callable[[Instance], Any],
        *,
        idempotent: bool = False,
        key: str | None = None,
        cost: float = 1,
        deadline_s: float | None = None,
    ) -> Any:
        """Call `send` with an instance, again as the policies say, and return its result.

        Args:
            service: the service's name.
            send: your function; if it is async, await the result of this.
            idempotent: whether what was sent may be sent a second time. Otherwise only a failed
                connect is tried again.
            key: for strategies with affinity.
            cost: how many times as much as a usual call it asks of the instance, a finite number
                above 0. In flight, the strategies that go by it, and `concurrency` count by it.
            deadline_s: in place of the balancer's; `math.inf`: no bound.

        Raises:
            PickError: no instance can take the request.
            DiscoveryError: no first list of the service can be had.
            DeadlineError: the deadline has passed.
            ConfigurationError: an argument is wrong, or `send` is not async and returned an
                awaitable.
            ClosedError: the balancer was closed meanwhile.
            Exception: what the last call of `send` raised, with a note on the attempts before it.
        """
        _check_call(service, send, idempotent, key)
        check_deadline(deadline_s)
        options = {
            "key": key,
            "cost": units_of(cost, f"service {service!r}: cost"),
            "replayable": idempotent,
            "deadline_s": self._policies.deadline_s if deadline_s is None else deadline_s,
        }
        if is_async(send):
            return self._call_async(service, send, options)
        services = self._services_at(Home.for_sync())
        delivery = FunctionDelivery(services, service, send, self._outcomes, options)
        return drive(delivery, delivery.begin())

    async def _call_async(
        self, service: str, send: Callable[[Instance], Any], options: dict[str, Any]
    ) -> Any:
        # Where this runs is known only when it is awaited.
        services = self._services_at(Home.for_async())
        delivery = AsyncFunctionDelivery(services, service, send, self._outcomes, options)
        return await drive_async(delivery, delivery.begin())

    async def ready(self, *services: str) -> None:
        """Wait until the lists of services are known. For async code.

        Raises:
            DiscoveryError: no first list can be had.
        """
        home = Home.for_async()
        for service in services:
            await home.run(partial(self._services_at(home).open, service))

    def ready_sync(self, *services: str) -> None:
        """Do the same in synchronous code."""
        home = Home.for_sync()
        for service in services:
            home.run_blocking(self._services_at(home).open(service))

    def statistics(self) -> dict[str, PoolStatistics]:
        """Return the figures of each service in use, by name."""
        return statistics_of(self._all())

    def state(self) -> dict[str, DiscoveryState]:
        """Return how fresh the list of each service in use is, by name."""
        return state_of(self._all())

    def close(self) -> None:
        """Let the lists go that synchronous code uses. Requests that wait end with `ClosedError`.

        Calls of your function that are under way finish. The next call begins to keep lists anew.
        """
        home = Home.for_sync()
        services = self._taken_from(home)
        if services is not None:
            home.run_blocking(services.aclose())

    async def aclose(self) -> None:
        """Do the same for the lists that this event loop uses.

        Under trio these are the ones of synchronous code.
        """
        home = Home.for_async()
        services = self._taken_from(home)
        if services is not None:
            await home.run(services.aclose)

    def forget(self) -> None:
        """Start afresh in a forked child: lists and threads are the parent's."""
        self._lock = threading.Lock()
        self._services.clear()
        if not self._is_seeded:
            self._rng.seed()

    def _services_at(self, home: Home) -> Services:
        services = self._services.get(home.loop)
        if services is None:
            with self._lock:
                for ended in [loop for loop in self._services if loop.is_closed()]:
                    del self._services[ended]
                services = self._services.setdefault(
                    home.loop,
                    Services(
                        home,
                        self._registry,
                        policies=self._policies,
                        settings=self._discovery,
                        rng=Random(self._rng.getrandbits(64)),
                        on_removed=lambda _members: None,
                    ),
                )
        return services

    def _taken_from(self, home: Home) -> Services | None:
        with self._lock:
            return self._services.pop(home.loop, None)

    def _all(self) -> list[Service]:
        return [service for services in list(self._services.values()) for service in services.all()]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        trace: TracebackType | None = None,
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        trace: TracebackType | None = None,
    ) -> None:
        await self.aclose()


def _for_any_method(policies: Policies) -> Policies:
    """Return policies under which `idempotent` alone says what may be sent twice."""
    hedge = policies.hedge
    return replace(
        policies,
        retry=replace(policies.retry, methods=IDEMPOTENT),
        hedge=None if hedge is None else replace(hedge, methods=IDEMPOTENT),
    )


def _check_call(service: object, send: object, idempotent: object, key: object) -> None:
    """Refuse arguments of a call that are of the wrong kind.

    Raises:
        ConfigurationError: with the argument's name.
    """
    if not (service and isinstance(service, str)):
        raise ConfigurationError(f"service is {service!r}; it must be the name of a service")
    if not callable(send):
        raise ConfigurationError(
            f"service {service!r}: send is {send!r}; it must be a function of an instance"
        )
    if not isinstance(idempotent, bool):
        raise ConfigurationError(
            f"service {service!r}: idempotent is {idempotent!r}; it must be True or False"
        )
    if key is not None and not isinstance(key, str):
        raise ConfigurationError(f"service {service!r}: key is {key!r}; it must be a string")


def _end_all(services: dict[Any, Services]) -> None:
    """Let the lists go that a balancer used which was dropped without being closed."""
    while services:
        loop, each = services.popitem()
        close_soon(loop, each.aclose)


_balancers: WeakSet[Balancer] = WeakSet()


def _forget_all() -> None:
    for balancer in list(_balancers):
        balancer.forget()


on_fork(_forget_all)
