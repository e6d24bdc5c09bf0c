"""The instance's own check, run by the registrant where the registry has none to offer."""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import TYPE_CHECKING, NoReturn

from trimtab.health.probing import ProbeState
from trimtab.instance import Status
from trimtab.probing import NetworkCarrier, probe, repeat

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from trimtab.check import Check
    from trimtab.instance import Instance
    from trimtab.probing import ProbeCarrier, ProbeResult

__all__ = ["OwnCheck"]

logger = logging.getLogger("trimtab.registration")

_SEVERITY = tuple(Status)


class OwnCheck:
    """Checks an instance for its own process, and gives it the status that was found.

    Args:
        check: what is asked, and when it is believed.
        instance: what is checked. Its own status holds where it is the worse one: an instance
            that calls itself draining is not passing, whatever it answers.
        name: how messages name it.
        tell: called with the instance in its new status, at each turn.
        carrier: carries out each check; None: over the network.
        rng: the source of chance.
    """

    def __init__(
        self,
        check: Check,
        instance: Instance,
        *,
        name: str,
        tell: Callable[[Instance], None],
        carrier: ProbeCarrier | None,
        rng: Random,
    ) -> None:
        self._check = check
        self._instance = instance
        self._name = name
        self._tell = tell
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
            self._tell(instance)

    def _found(self, result: ProbeResult) -> Instance:
        status = max(self._instance.status, result.status, key=_SEVERITY.index)
        if status is not self._status:
            level = logging.INFO if result.ok else logging.WARNING
            logger.log(level, "%s: now %s: %s", self._name, status, result.output.strip())
        self._status = status
        return self._instance.with_(status=status)
