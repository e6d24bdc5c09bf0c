"""Active probes by the client: they find faults that the registry does not see.

A runner is a coroutine that its owner (a `Service`) keeps as a task:

    runner = ProbeRunner(settings, members=..., judge=..., rng=...)
    task = loop.create_task(runner.run())
    ...
    task.cancel(); await asyncio.wait([task])  # ends every probe under way

It does not know the pool: `members` says which instances to probe, and `judge` takes the results.

`Reconnects` connects to instances that have failed to answer, until a connection opens.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from random import Random
from typing import TYPE_CHECKING, NoReturn

from trimtab.check import Check
from trimtab.health.probing import ProbeState, ReconnectState
from trimtab.instance import Instance
from trimtab.probing import NetworkCarrier, probe, repeat

if TYPE_CHECKING:
    from trimtab.health.probing import ProbeResult, ProbeSettings, ReconnectSettings

__all__ = ["Judge", "Members", "ProbeRunner", "Reconnects"]

logger = logging.getLogger("trimtab.discovery")

_UPDATE_EVERY_S = 1.0
_FIRST_WAIT_S = 0.01
"""How long after a failure the first connection is opened."""

Members = Callable[[], Iterable[Instance]]
"""Returns the instances to probe now: all, or with `only_ejected` the ejected ones. Called about
once a second, on the runner's loop."""

Judge = Callable[[str, bool, float, str], None]
"""Takes (instance id, whether it passes, now, why). Called on the runner's loop when `fall` probes
in a row have failed, again at each failure that follows, and when `rise` probes in a row have
passed after that. For ejected instances, it is called whenever `rise` probes have passed."""


class ProbeRunner:
    """Probes the instances of one service for one client, until cancelled.

    Each instance is probed at its own times, first at a random time within an interval. An error
    that `members`, `judge` or a probe raises is logged, and the other probes go on. If N clients
    probe all instances of a service, each instance gets N probes per interval.

    Args:
        settings: which check, how often, of which instances.
        members: see `Members`.
        judge: see `Judge`.
        rng: the source of chance.
        heard: called with the id of an instance each time that a probe of it passes.
        refusal_of: says why an address may not be called, and so not probed either.
    """

    def __init__(
        self,
        settings: ProbeSettings,
        *,
        members: Members,
        judge: Judge,
        rng: Random,
        heard: Callable[[str], None] | None = None,
        refusal_of: Callable[[str], str | None] | None = None,
    ) -> None:
        self._settings = settings
        self._members = members
        self._judge = judge
        self._heard = heard
        self._rng = rng
        self._network = NetworkCarrier(refusal_of=refusal_of)
        self._carrier = settings.carrier or self._network
        self._at_once = asyncio.Semaphore(settings.max_at_once)
        self._probed: dict[str, _Probed] = {}
        self._tasks: list[asyncio.Task[NoReturn]] = []

    async def run(self) -> NoReturn:
        """Probe until cancelled; when this has ended, no probe is under way."""
        try:
            while True:
                self._update()
                await asyncio.sleep(min(_UPDATE_EVERY_S, self._settings.check.interval_s))
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await self._network.aclose()

    def _update(self) -> None:
        """Start the probes of new instances, stop those of removed ones."""
        self._tasks = [task for task in self._tasks if not task.done()]
        try:
            members = {instance.id: instance for instance in self._members()}
        except Exception:
            logger.exception(
                "probes: reading the instances raised an error; the known ones are probed as before"
            )
            return
        for id_, probed in list(self._probed.items()):
            if id_ not in members or not probed.take(members[id_]):
                probed.task.cancel()
                del self._probed[id_]
        for id_, instance in members.items():
            if id_ not in self._probed:
                self._begin(instance)

    def _begin(self, instance: Instance) -> None:
        probed = _Probed(instance, was_well=None if self._settings.only_ejected else True)
        loop = asyncio.get_running_loop()
        probed.task = loop.create_task(self._probe(probed), name=f"trimtab probe of {instance.id}")
        self._probed[instance.id] = probed
        self._tasks.append(probed.task)

    async def _probe(self, probed: _Probed) -> NoReturn:
        settings, time = self._settings, asyncio.get_running_loop().time

        def carry_out() -> Awaitable[ProbeResult]:
            return probe(settings.check, probed.instance, self._carrier)

        def tell(result: ProbeResult, verdict: bool | None) -> None:  # noqa: FBT001 - as repeat has it
            if result.ok and self._heard is not None:
                self._heard(probed.instance.id)
            if verdict is None:
                return
            was_well, probed.was_well = probed.was_well, verdict
            if settings.only_ejected or not (verdict and was_well):
                self._judge(probed.instance.id, verdict, time(), result.output)

        state = ProbeState.of(settings.check, self._rng, time(), jitter_ratio=settings.jitter_ratio)
        await repeat(state, carry_out, tell, at_once=self._at_once)


class _Probed:
    """An instance that is probed."""

    task: asyncio.Task[NoReturn]

    def __init__(self, instance: Instance, *, was_well: bool | None) -> None:
        self.instance = instance
        self.was_well = was_well

    def take(self, instance: Instance) -> bool:
        """Take the newer instance; return whether its address and scheme are the same."""
        before, self.instance = self.instance, instance
        return (before.address, before.scheme) == (instance.address, instance.scheme)


class Reconnects:
    """Connects in the background to the instances of a service that failed to answer.

    An instance that is down, or cannot be reached, so costs no further request, and is back as soon
    as a connection opens. Everything runs on one event loop.

    Args:
        settings: how often.
        find: returns an instance by its id, or None if it is no longer listed.
        judge: called with each result: (instance id, whether the connection opened, why not).
        rng: the source of chance.
        refusal_of: says why an address may not be called.
        prepare: called with the id of an instance whose connection opened, before `judge`; must not
            raise. None: not wanted.
    """

    def __init__(
        self,
        settings: ReconnectSettings,
        *,
        find: Callable[[str], Instance | None],
        judge: Callable[[str, bool, str], None],
        rng: Random,
        refusal_of: Callable[[str], str | None] | None = None,
        prepare: Callable[[str], Awaitable[None]] | None = None,
    ) -> None:
        self._settings = settings
        self._prepare = prepare
        self._find = find
        self._judge = judge
        self._seed = rng.getrandbits(64)
        self._check = Check.parse("tcp", timeout_s=settings.timeout_s)
        self._carrier = settings.carrier or NetworkCarrier(refusal_of=refusal_of)
        self._at_once = asyncio.Semaphore(settings.max_at_once)
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def watch(self, id_: str) -> None:
        """Connect to an instance now, and again until that works; once at a time."""
        if id_ not in self._tasks:
            loop = asyncio.get_running_loop()
            self._tasks[id_] = loop.create_task(self._watch(id_), name=f"trimtab connects to {id_}")

    async def aclose(self) -> None:
        """End all of it. A second call does nothing."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _watch(self, id_: str) -> None:
        time = asyncio.get_running_loop().time
        # A source of its own, so that the order in which several failed changes no draw.
        state = ReconnectState(self._settings, Random(f"{self._seed}/{id_}"), time())
        try:
            # Others may fail at the same moment; and a server that restarts needs some time.
            await asyncio.sleep(_FIRST_WAIT_S)
            while (instance := self._find(id_)) is not None:
                async with self._at_once:
                    state.begin(time())
                    result = await probe(self._check, instance, self._carrier)
                    if result.ok and self._prepare is not None:
                        await self._prepare(id_)
                self._judge(id_, result.ok, result.output)
                if result.ok:
                    return
                await asyncio.sleep(max(0.0, state.next_at - time()))
        finally:
            del self._tasks[id_]
