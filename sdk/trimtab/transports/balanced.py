"""`BalancedTransport`: plain httpx clients, spread over the instances that are alive."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from functools import partial
from random import Random
from typing import TYPE_CHECKING, Any, Literal, Self
from weakref import WeakSet, finalize

import httpx

from trimtab.background import on_fork
from trimtab.balancing import (
    Policies,
    check_range,
    reconnect_settings,
    state_of,
    statistics_of,
)
from trimtab.balancing.drivers import drive, drive_async
from trimtab.calls import RetryPolicy
from trimtab.discovery import DiscoverySettings
from trimtab.errors import ConfigurationError
from trimtab.health import HealthSettings
from trimtab.http import Maker, family_of, usual_family
from trimtab.networks import NetworkPolicy
from trimtab.pool import ConcurrencyLimits
from trimtab.registries import check_registry, shown_url
from trimtab.strategies import PrioritySettings
from trimtab.strategies.settings import require_whole, settings_of
from trimtab.transports.delivery import AsyncDelivery, SyncDelivery
from trimtab.transports.hosts import EnvironmentProxies, ServiceNames
from trimtab.transports.options import Options, cost_reader, key_reader
from trimtab.transports.preparing import Addressing
from trimtab.transports.sides import AsyncSide, SideSettings, SyncSide, running_loop

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable
    from types import TracebackType

    import httpx2

    from trimtab.balancing import Service
    from trimtab.calls import HedgePolicy
    from trimtab.discovery import DiscoveryState
    from trimtab.events import Listener
    from trimtab.health.probing import ProbeSettings, ReconnectSettings
    from trimtab.http import Certificate, Family
    from trimtab.instance import Instance
    from trimtab.pool import PoolStatistics, Subset
    from trimtab.registries import Registry
    from trimtab.strategies import StrategyFactory
    from trimtab.transports.hosts import ServiceHosts
    from trimtab.transports.options import CostFrom, KeyFrom
    from trimtab.transports.preparing import NamePolicy

    class _SyncBases(httpx.BaseTransport, httpx2.BaseTransport):  # type: ignore[misc]
        """Both families' `BaseTransport`, for type checkers."""

    class _AsyncBases(httpx.AsyncBaseTransport, httpx2.AsyncBaseTransport):  # type: ignore[misc]
        """Both families' `AsyncBaseTransport`, for type checkers."""

else:
    # Neither family asks for its base at run time. Clients do: anthropic, made for httpx2, refuses
    # what inherits from httpx. So it inherits from neither, and httpx2 need not be installed.
    _SyncBases, _AsyncBases = type("_SyncBases", (), {}), type("_AsyncBases", (), {})

__all__ = ["BalancedTransport"]

_MOST_BEFOREHAND = 100


class BalancedTransport(_SyncBases, _AsyncBases):
    """A transport for httpx and httpx2 clients, sync and async, that balances by service name.

    The host of the URL names the service. Requests to hosts that are no services (see `services`)
    go on as without it, through the environment's proxies too:

        client = httpx.AsyncClient(transport=BalancedTransport("consul://10.0.0.1:8500"))
        response = await client.get("http://orders/items/7")
        response.extensions["trimtab"].instance

    Each instance has an inner transport of its own. A failed connect is tried again on another
    instance; so is a connection that breaks before the response, for idempotent requests. The
    client's timeouts, cookies, redirects, auth and hooks work as without it.

    Args:
        registry: where the instances are listed: a URL (see `connect`) or a registry object.
            An object stays the caller's to close.
        strategy: how to pick: a name, or a factory `(rng) -> Strategy`.
        discovery: how lists are kept fresh.
        retry: what is tried again.
        hedge: when a second attempt is sent beside a slow first one; for asynchronous clients
            only, since a blocking call cannot be cancelled. None: never.
        health: what is judged beyond the registry's word: outliers, panic, slow start.
        concurrency: how much one instance may have in flight, and what waits for room.
        subset: chooses the instances that this client talks to, of those that it may.
        priorities: how instances of several priorities share the requests.
        probe: what this client asks instances by itself, to find out whether they are well.
        reconnect: how an instance that cannot be reached is found to be back: connections in the
            background (True, or settings), or requests (False). None: connections, unless `inner`
            is a function, which alone knows how instances are reached.
        deadline_s: how long a request may take, attempts and body included; None: no bound.
        deadline_header: the name of a header that tells the instance, in milliseconds, what is
            left of the deadline.
        listener: is called with each event, such as an ejection; see `trimtab.events`.
        service: the one service that all requests go to, whatever the host.
        services: which hosts are services: their names, or a function of the host. By default
            those without a dot, if they are neither an address nor localhost; names with dots must
            be given here.
        key_from: where the key of a request comes from, for strategies with affinity: the name of
            a header, or a function of the request. `extensions={"trimtab": {"key": ...}}` wins.
        cost_from: where the cost of a request comes from, likewise: how many times as much as a
            usual request it asks of an instance, a finite number above 0. In flight, the
            strategies that go by it, and `concurrency` count by it. A request without the header,
            or for which the function returns None, costs 1.
        host_header: whose name the `Host` header carries: the instance's (as every Consul client
            does) or the service's.
        server_name: whose name TLS asks for and checks; by default as `host_header`.
        verify, cert, trust_env, http1, http2, limits, local_address: of the inner transports and
            of those for other hosts, as in `httpx.HTTPTransport`; limits are per instance. One TLS
            context serves them all. With `trust_env=False` the environment's proxies are ignored.
        min_connections: how many connections are opened to an instance that joins the list, or that
            can be reached again, before requests are sent there: 0 to 100. They
            are not kept up: what no request has used within the keep-alive expiry of `limits` is
            used no more. For asyncio and synchronous code; needs `reconnect`, and the built-in
            `inner`.
        connection_max_age_s: above 0; connections of an instance that are older, give or take 10 %,
            get no new request and are closed once idle: keep-alive pins neither traffic nor an
            old DNS answer for so long. None keeps them as long as they last.
        inner: makes the inner transport of an instance, instead of the built-in one ("httpx").
        drain_timeout_s: how long closing waits for responses that are being read, 0 or more.
        rng: the source of chance; give a seeded one for repeatable picks.

    Raises:
        ConfigurationError: a setting is wrong; found when made, before the first request.
    """

    def __init__(
        self,
        registry: str | Registry,
        *,
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
        deadline_header: str | None = None,
        listener: Listener | None = None,
        service: str | None = None,
        services: ServiceHosts | None = None,
        key_from: KeyFrom | None = None,
        cost_from: CostFrom | None = None,
        host_header: NamePolicy = "instance",
        server_name: NamePolicy | None = None,
        verify: ssl.SSLContext | str | bool = True,
        cert: Certificate | None = None,
        trust_env: bool = True,
        http1: bool = True,
        http2: bool = False,
        limits: Any = None,
        local_address: str | None = None,
        min_connections: int = 0,
        connection_max_age_s: float | None = 300.0,
        inner: Callable[[Instance], Any] | Literal["httpx"] = "httpx",
        drain_timeout_s: float = 5.0,
        rng: Random | None = None,
    ) -> None:
        check_registry(registry)
        check_range("drain_timeout_s", drain_timeout_s)
        if connection_max_age_s is not None and not connection_max_age_s > 0:
            raise ConfigurationError(
                f"connection_max_age_s is {connection_max_age_s!r}; it must be above 0, or None"
            )
        if inner != "httpx" and not callable(inner):
            raise ConfigurationError(
                f"inner is {inner!r}; it must be 'httpx', or a function that makes the inner "
                "transport of an instance"
            )
        settings = settings_of("discovery", discovery, DiscoverySettings)
        reconnect = reconnect_settings(reconnect, by_default=inner == "httpx")
        _check_min_connections(min_connections, can_open=reconnect is not None and inner == "httpx")
        self._settings = SideSettings(
            registry=registry,
            discovery=settings,
            policies=Policies(
                strategy=strategy,
                retry=settings_of("retry", retry, RetryPolicy),
                hedge=hedge,
                health=settings_of("health", health, HealthSettings),
                concurrency=settings_of("concurrency", concurrency, ConcurrencyLimits),
                subset=subset,
                priorities=settings_of("priorities", priorities, PrioritySettings),
                probe=probe,
                reconnect=reconnect,
                deadline_s=deadline_s,
                listener=listener,
            ),
            addressing=Addressing(
                host_header=host_header,
                server_name=server_name or host_header,
                deadline_header=deadline_header,
            ),
            options=Options(deadline_s=deadline_s),
            key_of=key_reader(key_from),
            cost_of=cost_reader(cost_from),
            maker=Maker(
                own=None if inner == "httpx" else inner,
                verify=verify,
                cert=cert,
                trust_env=trust_env,
                http1=http1,
                http2=http2,
                limits=limits,
                local_address=local_address,
                refusal_of=NetworkPolicy(settings.allow_networks).refusal_of,
            ),
            proxies=EnvironmentProxies(None if trust_env else {}),
            drain_timeout_s=drain_timeout_s,
            min_connections=min_connections,
            connection_max_age_s=connection_max_age_s,
        )
        self._rng = rng or Random()
        self._is_seeded = rng is not None
        self._names = ServiceNames(services, only=service or None)
        self._lock = threading.Lock()
        self._sync: dict[str, SyncSide] = {}
        self._async: dict[tuple[str, Any], AsyncSide] = {}
        # How many clients are in their `with` blocks: sync ones, and async ones per event loop.
        self._users: Counter[Any] = Counter()
        self._closed = False
        _transports.add(self)
        finalize(self, _end_all, self._sync, self._async).atexit = False

    def __repr__(self) -> str:
        return f"<BalancedTransport {self._url()}{' closed' if self._closed else ''}>"

    # -- requests ----------------------------------------------------------------------------

    def handle_request(self, request: Any) -> Any:
        """Send a request of a synchronous client; see httpx's `BaseTransport`."""
        family = "httpx" if isinstance(request, httpx.Request) else "httpx2"
        side = self._sync.get(family) or self._sync_side(family_of(request))
        name = self._names[request.url.host]
        if name is None:
            return side.others.transport_for(request.url).handle_request(request)
        delivery = SyncDelivery(side, request, name)
        return drive(delivery, delivery.begin())

    async def handle_async_request(self, request: Any) -> Any:
        """Send a request of an asynchronous client; see httpx's `AsyncBaseTransport`."""
        family = "httpx" if isinstance(request, httpx.Request) else "httpx2"
        try:
            side = self._async.get((family, asyncio.get_running_loop()))
        except RuntimeError:  # Under trio, connections are closed by the next request.
            side = self._async.get((family, None))
            if side is not None and side.unclosed:
                await side.close_unused()
        if side is None:
            side = self._async_side(family_of(request))
        name = self._names[request.url.host]
        if name is None:
            return await side.others.transport_for(request.url).handle_async_request(request)
        delivery = AsyncDelivery(side, request, name)
        return await drive_async(delivery, delivery.begin())

    async def ready(self, *services: str) -> None:
        """Wait until the lists of services are known, so that no request has to. For async code.

        Raises:
            ConfigurationError: one is no service by `services`; requests would go elsewhere.
            DiscoveryError: no first list can be had.
        """
        side = self._async_side(usual_family())
        for service in services:
            await side.home.run(partial(side.services.open, self._service_named(service)))

    def ready_sync(self, *services: str) -> None:
        """Do the same in synchronous code."""
        side = self._sync_side(usual_family())
        for service in services:
            side.home.run_blocking(side.services.open(self._service_named(service)))

    # -- figures -----------------------------------------------------------------------------

    def statistics(self) -> dict[str, PoolStatistics]:
        """Return the figures of each service in use, by name."""
        return statistics_of(self._all_services())

    def state(self) -> dict[str, DiscoveryState]:
        """Return how fresh the list of each service in use is, by name."""
        return state_of(self._all_services())

    # -- the end -----------------------------------------------------------------------------

    @property
    def is_closed(self) -> bool:
        """Whether it was closed, and not used again since."""
        return self._closed

    def close(self) -> None:
        """Wait for the requests of sync clients, then close their connections.

        As with httpx's own transports, another client that shares this one can go on: its next
        request opens connections anew.
        """
        self._closed = True
        while self._sync:
            self._sync.popitem()[1].close()

    async def aclose(self) -> None:
        """Do the same for async clients."""
        self._closed = True
        while self._async:
            await self._async.popitem()[1].aclose()

    def forget(self) -> None:
        """Start afresh in a forked child: connections and threads are the parent's."""
        self._lock = threading.Lock()
        self._sync.clear()
        self._async.clear()
        if not self._is_seeded:
            # Children with the parent's random state would all pick the same instances in step.
            self._rng.seed()

    # -- inside ------------------------------------------------------------------------------

    def _service_named(self, host: str) -> str:
        name = self._names[host]
        if name is None:
            raise ConfigurationError(
                f"{host!r} is no service: requests to it go out as to any other host; name it in "
                "services="
            )
        return name

    def _url(self) -> str:
        return shown_url(self._settings.registry)

    def _sync_side(self, family: Family) -> SyncSide:
        side = self._sync.get(family.name)
        if side is None:
            with self._lock:
                side = self._sync.get(family.name)
                if side is None:
                    side = self._sync[family.name] = SyncSide(self._settings, family, rng=self._rng)
                    self._closed = False
        return side

    def _async_side(self, family: Family) -> AsyncSide:
        place = (family.name, running_loop())
        side = self._async.get(place)
        if side is None:
            with self._lock:
                self._forget_ended_loops()
                side = self._async[place] = AsyncSide(self._settings, family, rng=self._rng)
                self._closed = False
        return side

    def _forget_ended_loops(self) -> None:
        # A loop that has ended took its tasks and connections with it.
        for place in [place for place, side in self._async.items() if side.is_over()]:
            del self._async[place]

    def _all_services(self) -> list[Service]:
        return [service for side in self._sides() for service in side.services.all()]

    def _sides(self) -> list[SyncSide | AsyncSide]:
        return [*self._sync.values(), *self._async.values()]

    def _left(self, kind: Any) -> bool:
        """Count a client that has left its block; return whether it was the last of its kind."""
        with self._lock:
            self._users[kind] -= 1
            is_last = self._users[kind] <= 0
            if is_last:
                del self._users[kind]
            return is_last

    def __enter__(self) -> Self:
        with self._lock:
            self._users["sync"] += 1
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        if self._left("sync"):
            self.close()

    async def __aenter__(self) -> Self:
        with self._lock:
            self._users[running_loop()] += 1
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        if self._left(running_loop()):
            self._closed = True
            for place in [each for each in self._async if each[1] is running_loop()]:
                await self._async.pop(place).aclose()


def _check_min_connections(count: object, *, can_open: bool) -> None:
    """Check how many connections are to be opened beforehand.

    Raises:
        ConfigurationError: it is no such number, or nothing opens connections in the background.
    """
    require_whole("min_connections", count, 0, _MOST_BEFOREHAND)
    if count and not can_open:
        raise ConfigurationError(
            f"min_connections is {count}, but connections are opened neither without `reconnect` "
            "nor by an `inner` of your own; leave these out, or min_connections"
        )


def _end_all(*sides: dict[Any, Any]) -> None:
    """Let go what a transport used that was dropped without being closed."""
    for each in sides:
        while each:
            each.popitem()[1].end()


_transports: WeakSet[BalancedTransport] = WeakSet()


def _forget_all() -> None:
    for transport in list(_transports):
        transport.forget()


on_fork(_forget_all)
