"""The two loops behind a registration: its lease (`Keeper`) and its check (`OwnCheck`).

The keeper registers the instance, renews the lease, and registers again if the registry forgot the
instance or its status changed. The check runs in this process if the registry cannot run it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from functools import partial
from typing import TYPE_CHECKING, NoReturn

from trimtab.calls import Backoff
from trimtab.errors import NotRegisteredError, RegistryError
from trimtab.health.probing import ProbeState
from trimtab.instance import Status
from trimtab.probing import NetworkCarrier, probe, repeat
from trimtab.registries.protocol import CheckingRegistrar

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from trimtab.check import Check
    from trimtab.instance import Instance
    from trimtab.probing import ProbeCarrier, ProbeResult
    from trimtab.registries import Registrar

__all__ = ["Keeper", "OwnCheck"]

logger = logging.getLogger("trimtab.registration")

_MAX_BACKOFF_S = 5.0
_SEVERITY = tuple(Status)


class Keeper:
    """Keeps one instance registered, through outages and restarts of the registry.

    Args:
        registrar: the registry's writing side.
        service: the service's name.
        instance: what is registered.
        name: names all of these in messages.
        ttl_s, heartbeat_s: the lease and its renewal, seconds.
        check: the check that the registry runs; None: it runs none.
        rng: the source of randomness for backoff.

    Attributes:
        instance: what is registered, or will be with the next successful write.
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
        """Register the instance in its new state, soon."""
        self.instance = instance
        self._changed.set()

    def backoff(self) -> Backoff:
        """Return the waits after failures."""
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
            await (asyncio.sleep(wait_s) if failures else self._wait_for_change(wait_s))
            try:
                # A heartbeat that hangs must leave time for another within the lease.
                async with asyncio.timeout(self._ttl_s / 2):
                    await self._beat()
            except (RegistryError, TimeoutError) as error:
                if not failures:
                    what = str(error) or "no answer in time"
                    logger.warning("%s: heartbeat failed: %s; trying again", self._name, what)
                failures += 1
                wait_s = backoff.next_s()
            except Exception:
                logger.exception("%s: heartbeat failed; trying again", self._name)
                failures += 1
                wait_s = backoff.next_s()
            else:
                failures, wait_s = 0, self._heartbeat_s
                backoff.reset()

    async def withdraw(self) -> None:
        """Deregister. If the registry does not answer, it drops the instance with its lease."""
        try:
            async with asyncio.timeout(self._ttl_s):
                await self._registrar.deregister(self._service, self.instance)
        except (RegistryError, TimeoutError) as error:
            logger.warning(
                "%s: deregistration failed: %s", self._name, str(error) or "no answer in time"
            )
        except Exception:
            logger.exception("%s: deregistration failed", self._name)

    async def _wait_for_change(self, wait_s: float) -> None:
        """Wait until the next heartbeat is due, or the instance has changed."""
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


class OwnCheck:
    """Checks an instance from its own process, and reports each change of its status.

    Args:
        check: the check and its `rise` and `fall`.
        instance: what is checked. Its own status holds if it is the worse one: an instance that
            registers as draining does not become passing.
        name: names it in messages.
        report: called with the instance in its new status, at each change.
        carrier: carries out each check; None: over the network.
        rng: the source of randomness.
    """

    def __init__(
        self,
        check: Check,
        instance: Instance,
        *,
        name: str,
        report: Callable[[Instance], None],
        carrier: ProbeCarrier | None,
        rng: Random,
    ) -> None:
        self._check = check
        self._instance = instance
        self._name = name
        self._report = report
        self._rng = rng
        self._network = NetworkCarrier()
        self._carry_out = partial(probe, check, instance, carrier or self._network)
        self._status = instance.status

    async def first(self) -> Instance:
        """Check once, and return the instance in the status found."""
        return self._found(await self._carry_out())

    async def run(self) -> NoReturn:
        """Check again and again until cancelled."""
        now = asyncio.get_running_loop().time()
        state = ProbeState.of(self._check, self._rng, now)
        await repeat(state, self._carry_out, self._judge, at_once=asyncio.Semaphore())

    async def aclose(self) -> None:
        """Close the connections."""
        await self._network.aclose()

    def _judge(self, result: ProbeResult, verdict: bool | None) -> None:  # noqa: FBT001 - as repeat has it
        before = self._status
        if verdict is None:
            return
        instance = self._found(result)
        if instance.status is not before:
            self._report(instance)

    def _found(self, result: ProbeResult) -> Instance:
        status = max(self._instance.status, result.status, key=_SEVERITY.index)
        if status is not self._status:
            level = logging.INFO if result.ok else logging.WARNING
            logger.log(level, "%s: now %s: %s", self._name, status, result.output.strip())
        self._status = status
        return self._instance.with_(status=status)
