"""The instance's own check, run by the registrant where the registry has none to offer."""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import TYPE_CHECKING, NoReturn

from trimtab.health.probing import ProbeState
from trimtab.instance import Status
from trimtab.probing import NetworkLook, probe, repeat

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from trimtab.check import Check
    from trimtab.instance import Instance
    from trimtab.probing import Finding, Look

__all__ = ["OwnCheck"]

logger = logging.getLogger("trimtab.registration")

_SEVERITY = tuple(Status)


class OwnCheck:
    """Looks at an instance on its own behalf, and says which status that gives it.

    Args:
        check: what is asked, and when it is believed.
        instance: what is looked at. Its own status holds where it is the worse one: an instance
            that calls itself draining is not passing, whatever it answers.
        name: how messages name it.
        tell: called with the instance in its new status, at each turn.
        look: carries out a look; over the network by default.
        rng: the source of chance.
    """

    def __init__(
        self,
        check: Check,
        instance: Instance,
        *,
        name: str,
        tell: Callable[[Instance], None],
        look: Look | None,
        rng: Random,
    ) -> None:
        self._check = check
        self._instance = instance
        self._name = name
        self._tell = tell
        self._rng = rng
        self._network = NetworkLook()
        self._look = partial(probe, check, instance, look or self._network)
        self._status = instance.status

    async def first(self) -> Instance:
        """Look once, and return the instance as it was found."""
        return self._found(await self._look())

    async def run(self) -> NoReturn:
        """Look again and again until cancelled."""
        now = asyncio.get_running_loop().time()
        state = ProbeState.of(self._check, self._rng, now)
        await repeat(state, self._look, self._judge, at_once=asyncio.Semaphore())

    async def aclose(self) -> None:
        """Close the connections."""
        await self._network.aclose()

    def _judge(self, finding: Finding, verdict: bool | None) -> None:  # noqa: FBT001 - as repeat has it
        before = self._status
        if verdict is None:
            return
        instance = self._found(finding)
        if instance.status is not before:
            self._tell(instance)

    def _found(self, finding: Finding) -> Instance:
        status = max(self._instance.status, finding.status, key=_SEVERITY.index)
        if status is not self._status:
            level = logging.INFO if finding.ok else logging.WARNING
            logger.log(level, "%s: now %s: %s", self._name, status, finding.output.strip())
        self._status = status
        return self._instance.with_(status=status)
