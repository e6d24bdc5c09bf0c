"""The writing side: a process registers itself, keeps its lease, and leaves cleanly.

The heartbeat goes out every third of the TTL, so that two may be lost. A registry that has
forgotten (it was restarted, or a heartbeat came too late) is told again; one that does not answer
is asked again, with backoff, for as long as the registration is open.
"""

from __future__ import annotations

import asyncio
import logging
from random import Random
from typing import TYPE_CHECKING, Self

from trimtab.background import background
from trimtab.errors import (
    ConfigurationError,
    NotRegisteredError,
    RegistryError,
    RegistryUnavailableError,
)
from trimtab.registries import Registrar, Registry, connect
from trimtab.retry import Backoff

if TYPE_CHECKING:
    from types import TracebackType

    from trimtab.instance import Instance

__all__ = ["Registration", "register"]

logger = logging.getLogger("trimtab.registration")

_HEARTBEATS_PER_TTL = 3
_MAX_BACKOFF_S = 5.0
_LEAST_START_S = 10.0


def register(
    registry: str | Registry,
    service: str,
    instance: Instance,
    *,
    ttl_s: float = 10.0,
    heartbeat_s: float | None = None,
    drain_s: float = 0.0,
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
        rng: the source of chance for backoff.

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
        rng=rng,
    )


class Registration:
    """One instance's registration and lease; made by `register`."""

    def __init__(
        self,
        registry: str | Registry,
        service: str,
        instance: Instance,
        *,
        ttl_s: float,
        heartbeat_s: float | None,
        drain_s: float,
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
        self.instance = instance
        self._registry = made
        self._registrar: Registrar = made
        self._owned = isinstance(registry, str)
        self._ttl_s = ttl_s
        self._heartbeat_s = heartbeat_s
        self._drain_s = drain_s
        self._rng = rng or Random()
        self._keeper: asyncio.Task[None] | None = None

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
        limit_s = max(self._ttl_s, _LEAST_START_S)
        try:
            async with asyncio.timeout(limit_s):
                await self._register()
        except TimeoutError:
            raise RegistryUnavailableError(
                f"{self._name}: the registry gave no answer within {limit_s:g} s"
            ) from None
        self._keeper = asyncio.get_running_loop().create_task(
            self._keep(), name=f"trimtab registration of {self.instance.id}"
        )

    async def start_persistently(self) -> None:
        """Register as soon as the registry takes it, however long that lasts; keep the lease.

        For processes that can serve before they are found.
        """
        backoff = self._backoff()
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
        if self._keeper is None:
            return
        keeper, self._keeper = self._keeper, None
        keeper.cancel()
        await asyncio.wait([keeper])
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

    def _backoff(self) -> Backoff:
        return Backoff(self._rng, max_s=min(_MAX_BACKOFF_S, self._ttl_s))

    def abandon(self) -> None:
        """End the heartbeats and nothing else, as a crash of this process would."""
        keeper, self._keeper = self._keeper, None
        if keeper is not None:
            keeper.cancel()

    async def _close(self) -> None:
        if self._owned:
            await self._registry.aclose()

    async def _keep(self) -> None:
        backoff = self._backoff()
        wait_s = self._heartbeat_s
        failures = 0
        while True:
            await asyncio.sleep(wait_s)
            try:
                # One that hangs must leave the lease time for another.
                async with asyncio.timeout(self._ttl_s / 2):
                    await self._beat()
            except (RegistryError, TimeoutError) as error:
                if not failures:
                    what = str(error) or "no answer in time"
                    logger.warning("%s: no heartbeat: %s; trying on", self._name, what)
                failures += 1
                wait_s = backoff.next_s()
            except Exception:
                logger.exception("%s: no heartbeat; trying on", self._name)
                failures += 1
                wait_s = backoff.next_s()
            else:
                failures, wait_s = 0, self._heartbeat_s
                backoff.reset()

    async def _beat(self) -> None:
        try:
            await self._registrar.heartbeat(self.service, self.instance)
        except NotRegisteredError:
            logger.warning("%s: forgotten by the registry; registering again", self._name)
            await self._register()

    async def _register(self) -> None:
        await self._registrar.register(self.service, self.instance, ttl_s=self._ttl_s)

    @property
    def _name(self) -> str:
        return f"service {self.service!r}, instance {self.instance.id} at {self._registry.url}"

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        trace: TracebackType | None = None,
    ) -> None:
        await self.stop()

    def __enter__(self) -> Self:
        background().run(self.start())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        trace: TracebackType | None = None,
    ) -> None:
        background().run(self.stop())
