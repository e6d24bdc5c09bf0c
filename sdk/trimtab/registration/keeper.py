"""The keeper of a lease: registers, renews, and registers again what was forgotten or changed."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, NoReturn

from trimtab.errors import NotRegisteredError, RegistryError
from trimtab.registries.protocol import CheckingRegistrar
from trimtab.calls import Backoff

if TYPE_CHECKING:
    from random import Random

    from trimtab.check import Check
    from trimtab.instance import Instance
    from trimtab.registries import Registrar

__all__ = ["Keeper"]

logger = logging.getLogger("trimtab.registration")

_MAX_BACKOFF_S = 5.0


class Keeper:
    """Holds one instance's registration, whatever the registry does.

    Args:
        registrar: the registry, as the one who is written to.
        service: the service's name.
        instance: what is registered.
        name: how messages name all of these.
        ttl_s, heartbeat_s: of the lease.
        check: what the registry shall check by itself; None where nothing.
        rng: the source of chance for backoff.

    Attributes:
        instance: what is registered, or will be as soon as the registry takes it.
    """

    def __init__(
        self,
        registrar: Registrar,
        service: str,
        instance: Instance,
        *,
        name: str,
        ttl_s: float,
        heartbeat_s: float,
        check: Check | None,
        rng: Random,
    ) -> None:
        self.instance = instance
        self._registrar = registrar
        self._service = service
        self._name = name
        self._ttl_s = ttl_s
        self._heartbeat_s = heartbeat_s
        self._check = check
        self._rng = rng
        self._registered: Instance | None = None
        self._changed = asyncio.Event()

    def change(self, instance: Instance) -> None:
        """Tell the registry soon that the instance is not what it was."""
        self.instance = instance
        self._changed.set()

    def backoff(self) -> Backoff:
        """Make the waits after failures."""
        return Backoff(self._rng, max_s=min(_MAX_BACKOFF_S, self._ttl_s))

    async def register(self) -> None:
        """Create or replace the registration, once.

        Raises:
            RegistryError: the registry does not answer or refuses.
        """
        instance, registrar = self.instance, self._registrar
        if self._check is not None and isinstance(registrar, CheckingRegistrar):
            checks = (self._check,)
            await registrar.register(self._service, instance, ttl_s=self._ttl_s, checks=checks)
        else:
            await registrar.register(self._service, instance, ttl_s=self._ttl_s)
        self._registered = instance

    async def run(self) -> NoReturn:
        """Keep the lease until cancelled."""
        backoff = self.backoff()
        wait_s = self._heartbeat_s
        failures = 0
        while True:
            await (asyncio.sleep(wait_s) if failures else self._time_or_change(wait_s))
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

    async def _time_or_change(self, wait_s: float) -> None:
        """Wait until the next heartbeat is due, or there is something to tell."""
        self._changed.clear()
        if self.instance == self._registered:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._changed.wait()

    async def _beat(self) -> None:
        if self.instance != self._registered:
            # Only some registries learn the status from a heartbeat.
            return await self.register()
        try:
            await self._registrar.heartbeat(self._service, self.instance)
        except NotRegisteredError:
            logger.warning("%s: forgotten by the registry; registering again", self._name)
            await self.register()
