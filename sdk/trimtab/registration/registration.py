"""`register`: keep an instance registered for as long as a block lasts."""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from random import Random
from typing import TYPE_CHECKING, Any, NoReturn
from weakref import WeakSet, finalize

from trimtab.background import Block, close_soon, on_fork
from trimtab.errors import ConfigurationError, RegistryUnavailableError
from trimtab.registration.keeper import Keeper, OwnCheck
from trimtab.registries import Registrar, Registry, connect
from trimtab.registries.protocol import CheckingRegistrar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from trimtab.check import Check
    from trimtab.instance import Instance
    from trimtab.probing import ProbeCarrier

__all__ = ["Registration", "register"]

logger = logging.getLogger("trimtab.registration")

_HEARTBEATS_PER_TTL = 3
_LEAST_START_S = 10.0


def register(
    registry: str | Registry,
    service: str,
    instance: Instance,
    *,
    ttl_s: float = 10.0,
    heartbeat_s: float | None = None,
    drain_s: float = 0.0,
    check: Check | None = None,
    carrier: ProbeCarrier | None = None,
    rng: Random | None = None,
) -> Registration:
    """Register an instance for as long as a block lasts: `async with`, or `with` in sync code.

    Entering waits for the first registration and raises if the registry refuses it. From then on
    the lease is kept in the background, also through outages of the registry. Leaving deregisters.

    For a restart without failed requests, leave the block while the server still serves, and stop
    the server after that. A server that stops first refuses the requests of clients that still
    list it. Source: Kubernetes' `preStop` delay.

        async with register(url, "orders", instance, drain_s=5.0):
            await asked_to_stop.wait()
        server.should_exit = True  # by now it gets no new requests

    Args:
        registry: a registry that can be written to, or its URL.
        service: the service's name.
        instance: the address at which this process serves.
        ttl_s: seconds without a heartbeat after which the registry drops the instance, above 0.
        heartbeat_s: seconds between heartbeats, below `ttl_s`; a third of it by default.
        drain_s: seconds that leaving waits after the deregistration, 0 or more, so that clients
            notice: a little over their poll interval, or a round trip if they watch.
        check: how to find out whether the instance is healthy. It is checked once before it is
            registered, and registered with the status found. From then on the registry runs
            the check if it can; else this process does, and writes each change to the registry.
        carrier: carries out each check of this process; None: over the network.
        rng: the source of randomness, for backoff and for the first check's time.

    Raises:
        ConfigurationError: the registry cannot be written to, or an interval is out of range.
    """
    return Registration(
        registry,
        service,
        instance,
        ttl_s=ttl_s,
        heartbeat_s=heartbeat_s,
        drain_s=drain_s,
        check=check,
        carrier=carrier,
        rng=rng,
    )


class Registration(Block):
    """One instance's registration and lease; made by `register`.

    Attributes:
        service: the service's name.
    """

    def __init__(
        self,
        registry: str | Registry,
        service: str,
        instance: Instance,
        *,
        ttl_s: float,
        heartbeat_s: float | None,
        drain_s: float,
        check: Check | None,
        carrier: ProbeCarrier | None,
        rng: Random | None,
    ) -> None:
        heartbeat_s = _checked_heartbeat_s(ttl_s, heartbeat_s)
        if not 0 <= drain_s < float("inf"):
            raise ConfigurationError(f"drain_s is {drain_s!r}; it must be 0 or more and finite")
        made = connect(registry) if isinstance(registry, str) else registry
        if not isinstance(made, Registrar):
            raise ConfigurationError(
                f"{made.url} cannot be written to; register in one that can, such as consul://"
            )
        self.service = service
        self._given = instance
        self._ttl_s = ttl_s
        self._drain_s = drain_s
        self._name = f"service {service!r}, instance {instance.id} at {made.url}"
        rng = rng or Random()
        self._registry_checks = (
            check is not None and isinstance(made, CheckingRegistrar) and made.can_check(check)
        )
        self._keeper = Keeper(
            made,
            service,
            instance,
            name=self._name,
            ttl_s=ttl_s,
            heartbeat_s=heartbeat_s,
            check=check if self._registry_checks else None,
            rng=rng,
        )
        self._own = (
            OwnCheck(
                check,
                instance,
                name=self._name,
                report=self._keeper.change,
                carrier=carrier,
                rng=rng,
            )
            if check
            else None
        )
        self._tasks: list[asyncio.Task[NoReturn]] = []
        self._close = partial(_close, self._own, made if isinstance(registry, str) else None)
        _registrations.add(self)

    def __repr__(self) -> str:
        is_open = "open" if self._tasks else "closed"
        return f"<{type(self).__name__} of {self._name}, {self.instance.status}, {is_open}>"

    @property
    def instance(self) -> Instance:
        """The instance, in its present status."""
        return self._keeper.instance

    async def start(self) -> None:
        """Register, and keep the lease from now on.

        Raises:
            RegistryError: the registry does not answer or refuses.
        """
        try:
            await self._begin()
        except BaseException:
            await self._close()
            raise

    async def _begin(self) -> None:
        if self._own is not None:
            self._keeper.change(await self._own.first())
        limit_s = max(self._ttl_s, _LEAST_START_S)
        try:
            async with asyncio.timeout(limit_s):
                await self._keeper.register()
        except TimeoutError:
            raise RegistryUnavailableError(
                f"{self._name}: the registry gave no answer within {limit_s:g} s"
            ) from None
        if self._registry_checks:
            # From now on the registry adds its own results.
            self._keeper.change(self._given)
        self._start(self._keeper.run(), "registration")
        end = partial(_end_dropped, self._name, self._tasks, self._keeper, self._close)
        finalize(self, close_soon, asyncio.get_running_loop(), end).atexit = False
        if self._own is not None and not self._registry_checks:
            self._start(self._own.run(), "check")

    def _start(self, work: Coroutine[Any, Any, NoReturn], what: str) -> None:
        name = f"trimtab {what} of {self.instance.id}"
        self._tasks.append(asyncio.get_running_loop().create_task(work, name=name))

    async def start_persistently(self) -> None:
        """Try to register until the registry accepts; then keep the lease.

        For processes that serve even before clients can find them.
        """
        backoff = self._keeper.backoff()
        try:
            while True:
                try:
                    return await self._begin()
                except RegistryUnavailableError as error:
                    logger.warning("%s: registration failed: %s; trying again", self._name, error)
                    await asyncio.sleep(backoff.next_s())
        except BaseException:
            await self._close()
            raise

    async def stop(self) -> None:
        """Deregister, and wait `drain_s` so that clients notice. A second call does nothing.

        If the registry does not answer, it drops the instance when the lease ends.
        """
        if await self.withdraw() and self._drain_s:
            await asyncio.sleep(self._drain_s)

    async def withdraw(self) -> bool:
        """Deregister without waiting for clients; return whether it was registered.

        For servers that have stopped already.
        """
        tasks = self.abandon()
        if not tasks:
            return False
        await asyncio.wait(tasks)
        try:
            await self._keeper.withdraw()
        finally:
            await self._close()
        return True

    def abandon(self) -> list[asyncio.Task[NoReturn]]:
        """Stop heartbeats and checks without deregistering, as a crash of this process would.

        A forked child does this by itself: the registration is its parent's.

        Returns:
            the tasks that were cancelled; an empty list if there were none.
        """
        return _cancelled(self._tasks)


def _checked_heartbeat_s(ttl_s: float, heartbeat_s: float | None) -> float:
    """Return the time between heartbeats, by default a third of the lease."""
    # Written so that a NaN fails.
    if not 0 < ttl_s < float("inf"):
        raise ConfigurationError(f"ttl_s is {ttl_s!r}; it must be above 0 and finite")
    heartbeat_s = ttl_s / _HEARTBEATS_PER_TTL if heartbeat_s is None else heartbeat_s
    if not 0 < heartbeat_s < ttl_s:
        raise ConfigurationError(
            f"heartbeat_s is {heartbeat_s!r}; it must be above 0 and below ttl_s, {ttl_s!r}"
        )
    return heartbeat_s


def _cancelled(tasks: list[asyncio.Task[NoReturn]]) -> list[asyncio.Task[NoReturn]]:
    """Cancel tasks, take them out of their list, and return them."""
    taken = tasks.copy()
    tasks.clear()
    for task in taken:
        task.cancel()
    return taken


async def _close(own: OwnCheck | None, registry: Registry | None) -> None:
    if own is not None:
        await own.aclose()
    if registry is not None:
        await registry.aclose()


async def _end_dropped(
    name: str,
    tasks: list[asyncio.Task[NoReturn]],
    keeper: Keeper,
    close: Callable[[], Awaitable[None]],
) -> None:
    """Withdraw a registration that was dropped without being closed."""
    if not tasks:
        return
    logger.warning(
        "%s: dropped without being closed, so it is withdrawn; keep it, or use a block", name
    )
    await asyncio.wait(_cancelled(tasks))
    try:
        await keeper.withdraw()
    finally:
        await close()


_registrations: WeakSet[Registration] = WeakSet()


def _abandon_all() -> None:
    for registration in list(_registrations):
        registration.abandon()


on_fork(_abandon_all)
