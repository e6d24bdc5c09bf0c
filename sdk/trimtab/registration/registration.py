"""Registering for as long as a block lasts."""

from __future__ import annotations

import asyncio
import logging
from random import Random
from typing import TYPE_CHECKING, Any, NoReturn

from trimtab.blocks import Block
from trimtab.errors import ConfigurationError, RegistryError, RegistryUnavailableError
from trimtab.registration.keeper import Keeper
from trimtab.registration.own_check import OwnCheck
from trimtab.registries import Registrar, Registry, connect
from trimtab.registries.protocol import CheckingRegistrar

if TYPE_CHECKING:
    from collections.abc import Coroutine

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

    Entering waits for the first registration and raises if the registry refuses it; from then on
    the lease is kept in the background, whatever happens to the registry. Leaving deregisters.

    For a restart that no client feels, leave the block while the server still serves, and stop
    it after that, with what is in flight: whoever deregisters last has refused requests by then.
    Source: the `preStop` delay that Kubernetes' users know.

        async with register(url, "orders", instance, drain_s=5.0):
            await asked_to_stop.wait()
        server.should_exit = True  # by now nobody sends it new requests

    Args:
        registry: a registry that can be written to, or its URL.
        service: the service's name.
        instance: where this process serves.
        ttl_s: seconds after which the registry gives up on a silent instance, above 0.
        heartbeat_s: seconds between heartbeats, below `ttl_s`; a third of it by default.
        drain_s: seconds that leaving takes after the deregistration, 0 or more, in which clients
            notice: a little over their poll interval, or the round trip where they are told.
        check: how to find out whether the instance is well. It is looked at once before it is
            registered, and registered as what was found; from then on the registry checks it
            where it can, else this process does, and tells the registry of each turn.
        carrier: carries out each check of this process; None: over the network.
        rng: the source of chance for backoff, and for when checks begin.

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
        if not 0 < ttl_s < float("inf"):
            raise ConfigurationError(f"ttl_s is {ttl_s!r}; it must be above 0 and finite")
        heartbeat_s = ttl_s / _HEARTBEATS_PER_TTL if heartbeat_s is None else heartbeat_s
        if not 0 < heartbeat_s < ttl_s:
            raise ConfigurationError(
                f"heartbeat_s is {heartbeat_s!r}; it must be above 0 and below ttl_s, {ttl_s!r}"
            )
        if not 0 <= drain_s < float("inf"):
            raise ConfigurationError(f"drain_s is {drain_s!r}; it must be 0 or more and finite")
        made = connect(registry) if isinstance(registry, str) else registry
        if not isinstance(made, Registrar):
            raise ConfigurationError(
                f"{made.url} cannot be written to; register in one that can, such as consul://"
            )
        self.service = service
        self._given = instance
        self._registry = made
        self._registrar: Registrar = made
        self._owned = isinstance(registry, str)
        self._ttl_s = ttl_s
        self._drain_s = drain_s
        self._name = f"service {service!r}, instance {instance.id} at {made.url}"
        rng = rng or Random()
        self._is_theirs = (
            check is not None and isinstance(made, CheckingRegistrar) and made.can_check(check)
        )
        self._keeper = Keeper(
            made,
            service,
            instance,
            name=self._name,
            ttl_s=ttl_s,
            heartbeat_s=heartbeat_s,
            check=check if self._is_theirs else None,
            rng=rng,
        )
        self._own = (
            OwnCheck(
                check,
                instance,
                name=self._name,
                tell=self._keeper.change,
                carrier=carrier,
                rng=rng,
            )
            if check
            else None
        )
        self._tasks: list[asyncio.Task[NoReturn]] = []

    @property
    def instance(self) -> Instance:
        """The instance, with the status that it was last given here."""
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
        if self._is_theirs:
            # From now on the registry itself adds what it finds.
            self._keeper.change(self._given)
        self._start(self._keeper.run(), "registration")
        if self._own is not None and not self._is_theirs:
            self._start(self._own.run(), "check")

    def _start(self, work: Coroutine[Any, Any, NoReturn], what: str) -> None:
        name = f"trimtab {what} of {self.instance.id}"
        self._tasks.append(asyncio.get_running_loop().create_task(work, name=name))

    async def start_persistently(self) -> None:
        """Register as soon as the registry takes it, however long that lasts; keep the lease.

        For processes that can serve before they are found.
        """
        backoff = self._keeper.backoff()
        try:
            while True:
                try:
                    return await self._begin()
                except RegistryUnavailableError as error:
                    logger.warning("%s: not registered: %s; trying on", self._name, error)
                    await asyncio.sleep(backoff.next_s())
        except BaseException:
            await self._close()
            raise

    async def stop(self) -> None:
        """Deregister, and give clients `drain_s` to notice.

        A registry that does not answer will drop the lease by itself.
        """
        tasks = self.abandon()
        if not tasks:
            return
        await asyncio.wait(tasks)
        try:
            async with asyncio.timeout(self._ttl_s):
                await self._registrar.deregister(self.service, self.instance)
        except (RegistryError, TimeoutError) as error:
            logger.warning(
                "%s: not deregistered: %s", self._name, str(error) or "no answer in time"
            )
        except Exception:
            logger.exception("%s: not deregistered", self._name)
        finally:
            await self._close()
        if self._drain_s:
            await asyncio.sleep(self._drain_s)

    def abandon(self) -> list[asyncio.Task[NoReturn]]:
        """End the heartbeats and checks and nothing else, as a crash of this process would.

        Returns:
            what is ending; nothing where nothing was going on.
        """
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        return tasks

    async def _close(self) -> None:
        if self._own is not None:
            await self._own.aclose()
        if self._owned:
            await self._registry.aclose()
