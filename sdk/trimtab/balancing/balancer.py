"""`Balancer`: the same balancing for other clients: aiohttp, grpcio, a database driver."""

from __future__ import annotations

import inspect
import threading
from functools import partial
from random import Random
from socket import gaierror
from typing import TYPE_CHECKING, Any, Self, TypeVar, overload
from weakref import WeakSet

from trimtab.background import on_fork
from trimtab.balancing.drivers import drive, drive_async
from trimtab.balancing.policies import Policies, check_deadline, check_registry, shown_url
from trimtab.balancing.services import Services
from trimtab.calls import FAILURES, Request, RetryPolicy
from trimtab.discovery import DiscoverySettings, Home
from trimtab.errors import ConfigurationError, DeadlineError
from trimtab.health import HealthSettings
from trimtab.pool import ConcurrencyLimits

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Callable, Mapping
    from types import TracebackType

    from trimtab.balancing.service import Service
    from trimtab.calls import Fail, Failure, HedgePolicy, Step
    from trimtab.discovery import DiscoveryState
    from trimtab.events import Listener
    from trimtab.health.probing import ProbeSettings
    from trimtab.instance import Instance
    from trimtab.pool import Pick, PoolStatistics, Subset
    from trimtab.registries import Registry
    from trimtab.strategies import StrategyFactory

__all__ = ["Balancer"]

T = TypeVar("T")

_USUAL_FAILURES: dict[type[BaseException], Failure] = {
    ConnectionRefusedError: "refused",
    gaierror: "refused",
    TimeoutError: "timeout",
    ConnectionError: "no_response",
    EOFError: "no_response",
    OSError: "no_response",
}
"""What the errors of Python itself mean, by the nearest class."""
_OK = 200


class Balancer:
    """Calls a function of yours with the instance that should serve the request.

    It picks, retries, hedges, limits and learns as `BalancedTransport` does; only the sending is
    yours:

        balancer = Balancer("consul://10.0.0.1:8500", failures={aiohttp.ClientError: "no_response"})

        async def send(instance):
            async with session.get(f"http://{instance.address}/items/7") as response:
                return await response.json()

        item = await balancer.call("orders", send, idempotent=True)

    With a function that is not async, `call` blocks and returns the result. Any thread and any
    event loop may use it. A request is in flight until the function returns.

    Args:
        registry: where the instances are listed: a URL (see `connect`) or a registry object.
            An object stays the caller's to close.
        failures: what counts as a failure of the instance, besides the errors of Python itself
            (refused connections, time-outs, other `OSError`s and `EOFError`): kinds of failure by
            class of exception, the nearest class counts; or a function that returns the kind for
            an exception, or None for what the former says. Other exceptions are the caller's:
            they are raised, count for nothing and are not tried again. See `Failure` for the kinds.
        status: returns a result's status, as HTTP has them: 5xx and 429 count against the
            instance, and those in `RetryPolicy.statuses` are tried again. None: every result is
            a success.
        strategy, discovery, retry, hedge, health, concurrency, subset, probe, deadline_s, listener:
            as in `BalancedTransport`. Hedging is for async functions. A deadline cancels an async
            function; one that blocks it can only keep from being called again.
        rng: the source of chance; give a seeded one for repeatable picks.

    Raises:
        ConfigurationError: a setting is wrong; found when made, before the first request.
    """

    def __init__(
        self,
        registry: str | Registry,
        *,
        failures: Mapping[type[BaseException], Failure]
        | Callable[[Exception], Failure | None]
        | None = None,
        status: Callable[[Any], int] | None = None,
        strategy: str | StrategyFactory = "least_latency",
        discovery: DiscoverySettings | None = None,
        retry: RetryPolicy | None = None,
        hedge: HedgePolicy | None = None,
        health: HealthSettings | None = None,
        concurrency: ConcurrencyLimits | None = None,
        subset: Subset | None = None,
        probe: ProbeSettings | None = None,
        deadline_s: float | None = None,
        listener: Listener | None = None,
        rng: Random | None = None,
    ) -> None:
        check_registry(registry)
        self._registry = registry
        self._discovery = discovery or DiscoverySettings()
        self._policies = Policies(
            strategy=strategy,
            retry=retry or RetryPolicy(),
            hedge=hedge,
            health=health or HealthSettings(),
            concurrency=concurrency or ConcurrencyLimits(),
            subset=subset,
            probe=probe,
            deadline_s=deadline_s,
            listener=listener,
        )
        self.failure_of = _failure_reader(failures)
        self.status_of = status
        self._rng = rng or Random()
        self._is_seeded = rng is not None
        self._lock = threading.Lock()
        self._services: dict[asyncio.AbstractEventLoop, Services] = {}
        _balancers.add(self)

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
        deadline_s: float | None = ...,
    ) -> Awaitable[T]: ...

    @overload
    def call(
        self,
        service: str,
        send: Callable[[Instance], T],
        *,
        idempotent: bool = ...,
        key: str | None = ...,
        deadline_s: float | None = ...,
    ) -> T: ...

    def call(
        self,
        service: str,
        send: Callable[[Instance], Any],
        *,
        idempotent: bool = False,
        key: str | None = None,
        deadline_s: float | None = None,
    ) -> Any:
        """Call `send` with an instance, again as the policies say, and return its result.

        Args:
            service: the service's name.
            send: your function; if it is async, await the result of this.
            idempotent: whether what was sent may be sent a second time. Otherwise only a failed
                connect is tried again.
            key: for strategies with affinity.
            deadline_s: in place of the balancer's.

        Raises:
            PickError: no instance can take the request.
            DiscoveryError: no first list of the service can be had.
            DeadlineError: the deadline has passed.
            ConfigurationError: `send` is not async, and returned an awaitable.
            Exception: what the last call of `send` raised.
        """
        check_deadline(deadline_s)
        options = {
            "key": key,
            "replayable": idempotent,
            "deadline_s": self._policies.deadline_s if deadline_s is None else deadline_s,
        }
        if _is_async(send):
            services = self._services_at(Home.for_async())
            return _AsyncExchange(self, services, service, send, options=options).run()
        services = self._services_at(Home.for_sync())
        exchange = _Exchange(self, services, service, send, options=options)
        return drive(exchange, exchange.begin())

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
        return {each.name: each.statistics() for each in self._all()}

    def state(self) -> dict[str, DiscoveryState]:
        """Return how fresh the list of each service in use is, by name."""
        return {each.name: each.state() for each in self._all()}

    def close(self) -> None:
        """Let the lists go that synchronous code uses. Requests that wait end."""
        home = Home.for_sync()
        services = self._services.pop(home.loop, None)
        if services is not None:
            home.run_blocking(services.aclose())

    async def aclose(self) -> None:
        """Let the lists go that this event loop uses. Requests that wait end."""
        home = Home.for_async()
        services = self._services.pop(home.loop, None)
        if services is not None:
            await home.run(services.aclose)

    def forget(self) -> None:
        """Start afresh in a forked child: lists and threads are the parent's."""
        self._lock = threading.Lock()
        self._services = {}
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


class _Exchange:
    """One call of the user's function. See `trimtab.balancing.drivers.Exchange`."""

    request: Request
    service: Service

    def __init__(
        self,
        balancer: Balancer,
        services: Services,
        name: str,
        function: Callable[[Instance], Any],
        *,
        options: dict[str, Any],
    ) -> None:
        self._balancer = balancer
        self._services = services
        self._name = name
        self._function = function
        self._options = options
        self._error: Exception | None = None

    def begin(self) -> Step:
        while True:
            self.service = self._services.get(self._name)
            self.request = self.service.request(**self._options)
            step = self.service.begin(self.request)
            if step is not None:
                return step

    def send(self, pick: Pick) -> Any:
        result = self._function(pick.instance)
        if inspect.isawaitable(result):
            if inspect.iscoroutine(result):
                result.close()
            raise ConfigurationError(
                f"service {self._name!r}: {self._function!r} returned an awaitable, and is not an "
                "async function; write it as `async def`"
            )
        return result

    def answered(self, pick: Pick, result: Any) -> Step:
        status_of = self._balancer.status_of
        status = _OK if status_of is None else status_of(result)
        return self.service.completed(self.request, pick, status)

    def failed(self, pick: Pick, error: Exception) -> Step:
        self._error = error
        words = str(error) or type(error).__name__
        failure = self._balancer.failure_of(error)
        return self.service.failed(self.request, pick, failure, words)

    def discard(self, _pick: Pick, _result: Any) -> Any:
        """Do nothing: a result is the user's."""

    def finish(self, _pick: Pick, result: Any) -> Any:
        return result

    def error(self, fail: Fail) -> BaseException:
        history = self.request.history
        if fail.reason == "deadline":
            before = f"; before: {', then '.join(history)}" if history else ""
            return DeadlineError(
                f"service {self._name!r}: its deadline of {self.request.deadline_s:g} s has passed "
                f"while {fail.doing}{before}"
            )
        if fail.reason == "attempt":
            assert self._error is not None
            if len(history) > 1:
                self._error.add_note(
                    f"service {self._name!r}: {len(history)} attempts failed: "
                    f"{', then '.join(history)}"
                )
            return self._error
        return self.service.error_of(self.request, fail)


class _AsyncExchange(_Exchange):
    """The same for an async function."""

    async def run(self) -> Any:
        return await drive_async(self, self.begin())

    async def send(self, pick: Pick) -> Any:
        return await self._function(pick.instance)

    async def discard(self, _pick: Pick, _result: Any) -> None:
        """Do nothing: a result is the user's."""


def _is_async(function: Any) -> bool:
    """Return whether a function, a partial or a callable object is async."""
    while isinstance(function, partial):
        function = function.func
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        getattr(function, "__call__", None)  # noqa: B004 - the method is wanted, not whether it is
    )


def _failure_reader(failures: Any) -> Callable[[Exception], Failure]:
    """Return the function that says what an exception means.

    Raises:
        ConfigurationError: there is no such kind of failure.
    """
    if failures is None or callable(failures):
        known, own = _USUAL_FAILURES, failures
    else:
        for kind, failure in failures.items():
            if not (isinstance(kind, type) and failure in FAILURES):
                raise ConfigurationError(
                    f"failures has {kind!r}: {failure!r}; write classes of exceptions with one of "
                    f"{', '.join(sorted(FAILURES))}"
                )
        known, own = {**_USUAL_FAILURES, **failures}, None

    def failure_of(error: Exception) -> Failure:
        failure: Failure | None = own(error) if own is not None else None
        if failure is not None:
            return failure
        return next((known[kind] for kind in type(error).__mro__ if kind in known), "caller")

    return failure_of


_balancers: WeakSet[Balancer] = WeakSet()


def _forget_all() -> None:
    for balancer in list(_balancers):
        balancer.forget()


on_fork(_forget_all)
