"""`BalancedTransport`: plain httpx clients, spread over the instances that are alive."""

from __future__ import annotations

import threading
from random import Random
from typing import TYPE_CHECKING, Any, Self
from weakref import WeakSet

from trimtab.background import on_fork
from trimtab.discovery import DiscoverySettings, Policies
from trimtab.errors import ClosedError, ConfigurationError
from trimtab.health import HealthSettings
from trimtab.http.families import family_of
from trimtab.http.making import Maker
from trimtab.networks import NetworkPolicy
from trimtab.pool import LoadLimits
from trimtab.registries import connect
from trimtab.retry import RetryPolicy
from trimtab.transports.bases import AsyncBaseTransports, SyncBaseTransports
from trimtab.transports.preparing import Addressing
from trimtab.transports.sending import send, send_async
from trimtab.transports.sides import AsyncSide, SyncSide

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable
    from types import TracebackType

    from trimtab.discovery import DiscoveryState
    from trimtab.events import Listener
    from trimtab.health.probing import ProbeSettings
    from trimtab.http.families import Family
    from trimtab.http.tls import Certificate
    from trimtab.instance import Instance
    from trimtab.pool import PoolStatistics, Subset
    from trimtab.probing import Look
    from trimtab.registries import Registry
    from trimtab.retry import HedgePolicy
    from trimtab.strategies import StrategyFactory
    from trimtab.transports.preparing import NamePolicy

__all__ = ["BalancedTransport"]


class BalancedTransport(SyncBaseTransports, AsyncBaseTransports):
    """A transport for httpx and httpx2 clients, sync and async, that balances by service name.

    The service is the host of the URL. Mount it for some names, or make it the only transport:

        client = httpx.AsyncClient(mounts={"all://orders": BalancedTransport("consul://10.0.0.1:8500")})
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
        load_limits: how much one instance may have in flight, and what waits for room.
        subset: chooses the instances that this client talks to, of those that it may.
        probe: what this client asks instances by itself, to find out whether they are well.
        look: carries out a probe, instead of over the network.
        deadline_s: how long a request may take, attempts and body included; None: no bound.
        deadline_header: the name of a header that tells the instance, in milliseconds, what is
            left of the deadline.
        listener: told of what happens to instances; see `trimtab.events`.
        service: the service that all requests go to; by default each URL's host names it.
        host: whose name the `Host` header carries: the instance's (as every Consul client does)
            or the service's.
        server_name: whose name TLS asks for and checks; by default as `host`.
        verify, cert, trust_env, http1, http2, limits, local_address: of the inner transports, as
            in `httpx.HTTPTransport`; limits are per instance. One TLS context serves them all.
        connection_max_age_s: above 0; connections of an instance that are older, give or take 10 %,
            get no new request and are closed once idle: keep-alive pins neither traffic nor an
            old DNS answer for so long. None keeps them as long as they last.
        transport: makes the inner transport of an instance, instead of the built-in one.
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
        load_limits: LoadLimits | None = None,
        subset: Subset | None = None,
        probe: ProbeSettings | None = None,
        look: Look | None = None,
        deadline_s: float | None = None,
        deadline_header: str | None = None,
        listener: Listener | None = None,
        service: str | None = None,
        host: NamePolicy = "instance",
        server_name: NamePolicy | None = None,
        verify: ssl.SSLContext | str | bool = True,
        cert: Certificate | None = None,
        trust_env: bool = True,
        http1: bool = True,
        http2: bool = False,
        limits: Any = None,
        local_address: str | None = None,
        connection_max_age_s: float | None = 300.0,
        transport: Callable[[Instance], Any] | None = None,
        drain_timeout_s: float = 5.0,
        rng: Random | None = None,
    ) -> None:
        if isinstance(registry, str):
            connect(registry)
        if not drain_timeout_s >= 0:  # so that a NaN fails too
            raise ConfigurationError(
                f"drain_timeout_s is {drain_timeout_s!r}; it must be 0 or more"
            )
        if connection_max_age_s is not None and not connection_max_age_s > 0:
            raise ConfigurationError(
                f"connection_max_age_s is {connection_max_age_s!r}; it must be above 0, or None"
            )
        self.registry = registry
        self.discovery = discovery or DiscoverySettings()
        self.policies = Policies(
            strategy=strategy,
            retry=retry or RetryPolicy(),
            hedge=hedge,
            health=health or HealthSettings(),
            load_limits=load_limits or LoadLimits(),
            subset=subset,
            probe=probe,
            look=look,
            deadline_s=deadline_s,
            listener=listener,
        )
        self.addressing = Addressing(
            host=host, server_name=server_name or host, deadline_header=deadline_header
        )
        self.drain_timeout_s = drain_timeout_s
        self.connection_max_age_s = connection_max_age_s
        self.rng = rng or Random()
        self._is_seeded = rng is not None
        self._service = service
        self.maker = Maker(
            own=transport,
            verify=verify,
            cert=cert,
            trust_env=trust_env,
            http1=http1,
            http2=http2,
            limits=limits,
            local_address=local_address,
            refusal_of=NetworkPolicy(self.discovery.allow_networks).refusal_of,
        )
        self._lock = threading.Lock()
        self._sync: dict[str, SyncSide] = {}
        self._async: dict[tuple[str, Any], AsyncSide] = {}
        self._closed = False
        _transports.add(self)

    def handle_request(self, request: Any) -> Any:
        """Send a request of a synchronous client; see httpx's `BaseTransport`."""
        side = self._sync_side(family_of(request))
        return send(side.exchange(request, self._name_of(request)))

    async def handle_async_request(self, request: Any) -> Any:
        """Send a request of an asynchronous client; see httpx's `AsyncBaseTransport`."""
        side = self._async_side(family_of(request))
        return await send_async(await side.exchange(request, self._name_of(request)))

    def statistics(self) -> dict[str, PoolStatistics]:
        """Return the figures of each service in use, by name."""
        return {s.name: s.statistics() for side in self._sides() for s in side.services()}

    def state(self) -> dict[str, DiscoveryState]:
        """Return how fresh the list of each service in use is, by name."""
        return {s.name: s.state() for side in self._sides() for s in side.services()}

    @property
    def is_closed(self) -> bool:
        """Whether closing has begun; every new request is refused then."""
        return self._closed

    def close(self) -> None:
        """Refuse new requests, wait for those of sync clients, close their connections."""
        self._closed = True
        while self._sync:
            self._sync.popitem()[1].close()

    async def aclose(self) -> None:
        """Refuse new requests, wait for those of async clients, close their connections."""
        self._closed = True
        while self._async:
            await self._async.popitem()[1].aclose()

    def forget(self) -> None:
        """Start afresh in a forked child: connections and threads are the parent's."""
        self._lock = threading.Lock()
        self._sync, self._async = {}, {}
        if not self._is_seeded:
            # Children with the parent's chance would all pick the same instances in step.
            self.rng.seed()

    def _name_of(self, request: Any) -> str:
        name: str = self._service or request.url.host
        if not name:
            raise ConfigurationError(
                f"the URL {str(request.url)!r} names no service: it has no host"
            )
        return name

    def _sync_side(self, family: Family) -> SyncSide:
        self._check_open()
        side = self._sync.get(family.name)
        if side is None:
            with self._lock:
                self._check_open()
                side = self._sync.setdefault(family.name, SyncSide(self, family))
        return side

    def _async_side(self, family: Family) -> AsyncSide:
        self._check_open()
        place = (family.name, AsyncSide.loop())
        side = self._async.get(place)
        if side is None:
            with self._lock:
                self._check_open()
                self._forget_ended_loops()
                side = self._async[place] = AsyncSide(self, family)
        return side

    def _forget_ended_loops(self) -> None:
        # A loop that has ended took its tasks and connections with it.
        for place in [place for place, side in self._async.items() if side.is_over()]:
            del self._async[place]

    def _sides(self) -> list[SyncSide | AsyncSide]:
        return [*self._sync.values(), *self._async.values()]

    def _check_open(self) -> None:
        if self._closed:
            raise ClosedError("the transport was closed; make a new one")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        await self.aclose()


_transports: WeakSet[BalancedTransport] = WeakSet()


def _forget_all() -> None:
    for transport in list(_transports):
        transport.forget()


on_fork(_forget_all)
