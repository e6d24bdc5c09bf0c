"""The registry: its registrations, and what its readers and writers see over the network."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, NoReturn

from trimtab.errors import (
    NotRegisteredError,
    RegistryAnswerError,
    RegistryUnavailableError,
)
from trimtab.registries import Listing
from trimtab_sim.events import call_at, until
from trimtab_sim.streams import stream
from trimtab_sim.world.places import Overlaid

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from random import Random

    import simpy

    from trimtab import Instance
    from trimtab_sim.scenario.content import Registry as Content
    from trimtab_sim.world.network import Network
    from trimtab_sim.world.places import Place

__all__ = ["ANSWER_TIMEOUT_S", "PolledView", "RegistryModel", "WatchedView", "Writer"]

ANSWER_TIMEOUT_S = 10.0
"""How long an adapter waits for an answer, as the SDK's adapters do."""
_MESSAGE = {"client": 1_000_003, "server": 1_000_033, "registry": 1_000_037}
"""The registry's messages have large numbers, to differ from those of requests."""


class RegistryModel(Overlaid):
    """Registrations with a TTL, swept at intervals; readers see changes after a delay.

    Attributes:
        place: its end of the network.
        outage: None while it answers; otherwise how it fails: "refuse", "silent", "error".
        wrong: None, or a kind of wrong answers ("partial", "duplicate", "garbage") and the share
            of the list that it concerns.
        stale: while true, readers see what they saw when it began.
        clock_skew_s: how far its clock is ahead; leases are kept and judged by this clock.
        registered: the instances by id, in the registry itself.
        version: counts changes; readers may see an older version.
        turn: counts moments at which readers may have something new to read.
    """

    def __init__(
        self,
        env: simpy.Environment,
        network: Network,
        content: Content,
        place: Place,
        seed: int | str,
    ) -> None:
        self.place = place
        self.content = content
        self.network = network
        self.outage: str | None = None
        self.wrong: tuple[str, float] | None = None
        self.stale = False
        self.clock_skew_s = 0.0
        self.registered: dict[str, Instance] = {}
        self.version = self.turn = 0
        self._env = env
        self._deadlines: dict[str, float] = {}
        self._visible: tuple[Instance, ...] = ()
        self._visible_version = 0
        self._pending: tuple[int, tuple[Instance, ...]] = (0, ())
        self._propagation = content.propagation.sampler()
        self._latency = content.latency.sampler()
        self._rng = stream(seed, "registry")
        self._changed = asyncio.Event()

    # -- the writing side ----------------------------------------------------------------------

    def put(self, instance: Instance, *, is_old: bool = False) -> None:
        """Create or replace a registration; readers see one that `is_old` without delay."""
        known = self.registered.get(instance.id)
        self._deadlines[instance.id] = self._clock() + self.content.ttl
        if known != instance:
            self.registered[instance.id] = instance
            self._note_change(is_old=is_old)

    def renew(self, id_: str) -> None:
        """Renew a lease."""
        if id_ not in self.registered:
            raise NotRegisteredError(f"simulated registry: {id_} is not registered")
        self._deadlines[id_] = self._clock() + self.content.ttl

    def drop(self, id_: str) -> None:
        """Remove a registration, if it is there."""
        if self.registered.pop(id_, None) is not None:
            del self._deadlines[id_]
            self._note_change()

    def forget_all(self) -> None:
        """Lose all registrations, as a restart without storage does."""
        self.registered.clear()
        self._deadlines.clear()
        self._note_change()

    async def sweep(self) -> None:
        """Remove lapsed registrations every `sweep` seconds, without end."""
        start, times = self._env.now, 0
        while True:
            times += 1
            await until(start + times * self.content.sweep)
            if self.outage is None:
                now = self._clock()
                for id_ in [id_ for id_, end in self._deadlines.items() if end <= now]:
                    self.drop(id_)

    def renew_all(self) -> None:
        """Start all leases again, as Consul does after an outage: they could not be renewed."""
        now = self._clock()
        for id_ in self._deadlines:
            self._deadlines[id_] = now + self.content.ttl

    # -- the reading side ----------------------------------------------------------------------

    def answer(self, rng: Random) -> Listing:
        """Return what a reader sees now."""
        instances = self._visible
        if self.wrong is not None:
            kind, share = self.wrong
            if kind == "garbage":
                raise RegistryAnswerError("simulated registry: the answer cannot be read")
            some = [instance for instance in instances if rng.random() < share]
            if kind == "duplicate":
                instances = (*instances, *some)
            else:
                left_out = {instance.id for instance in some}
                instances = tuple(i for i in instances if i.id not in left_out)
        return Listing(instances=instances, version=str(self._visible_version))

    async def wait_for_news(self, seen: int) -> None:
        """Wait until there may be something new since the turn `seen`."""
        while self.turn == seen:
            await self._changed.wait()

    def attribute_changed(self) -> None:
        """Wake all waiting readers; publish what was held back, unless the registry is stale."""
        if not self.stale:
            self._visible_version, self._visible = self._pending
        self.turn += 1
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def question_latency_s(self) -> float:
        """Draw the time that the registry takes for one question."""
        return self._latency(self._open_uniform())

    def _clock(self) -> float:
        return self._env.now + self.clock_skew_s

    def _note_change(self, *, is_old: bool = False) -> None:
        self.version += 1
        state = (self.version, tuple(self.registered.values()))
        delay = 0.0 if is_old else self._propagation(self._open_uniform())
        if delay > 0:
            call_at(self._env, self._env.now + delay, lambda _step: self._reveal(state))
        else:
            self._reveal(state)

    def _reveal(self, state: tuple[int, tuple[Instance, ...]]) -> None:
        # A slower, older change must not undo a newer one.
        if state[0] > self._pending[0]:
            self._pending = state
            if not self.stale:
                self.attribute_changed()

    def _open_uniform(self) -> float:
        return 1.0 - self._rng.random() or 0.5


class _Adapter:
    """Base of the views and the writer: questions to the registry over the network."""

    def __init__(self, model: RegistryModel, place: Place, rng: Random) -> None:
        self._model = model
        self._place = place
        self.rng = rng
        self.url = f"sim://registry as seen by {place!r}"
        self.key = self.url

    async def _ask(self) -> None:
        """Take the time of a question; raise if it is not answered."""
        model = self._model
        await self._pass(self._place, model.place)
        if (latency_s := model.question_latency_s()) > 0:
            await asyncio.sleep(latency_s)
        if model.outage == "silent":
            await self._time_out()
        elif model.outage is not None:
            raise RegistryUnavailableError(f"simulated registry: {model.outage}")

    async def _pass(self, source: Place, target: Place) -> None:
        """Take the time of a message."""
        network = self._model.network
        if network.is_ideal:
            return
        self._place.messages += 1
        number = self._place.index * 10_000_019 + self._place.messages
        delay = network.delay(source, target, number, _MESSAGE[source.kind])
        if delay is None:
            await self._time_out()
        elif delay > 0:
            await asyncio.sleep(delay)

    async def _time_out(self) -> NoReturn:
        await asyncio.sleep(ANSWER_TIMEOUT_S)
        raise RegistryUnavailableError(
            f"simulated registry: no answer within {ANSWER_TIMEOUT_S:g} s"
        )

    async def services(self) -> list[str]:
        """Return no names: the simulated world has one service, whose name is known."""
        return []

    async def aclose(self) -> None:
        """Do nothing: nothing is open."""


class PolledView(_Adapter):
    """The registry as one client polls it. Follows the SDK's `Registry` protocol."""

    async def fetch(self, service: str) -> Listing:  # noqa: ARG002 - the world has one service
        """Ask for the list."""
        await self._ask()
        listing = self._model.answer(self.rng)
        await self._pass(self._model.place, self._place)
        return listing


class WatchedView(PolledView):
    """The registry as one client watches it, by push or long polls.

    Follows the SDK's `WatchableRegistry` protocol.
    """

    async def watch(self, service: str) -> AsyncIterator[Listing]:
        """Yield the list at once and after every change."""
        model = self._model
        # A long poll without an answer asks again; a push stream has no such limit.
        wait_s = None if model.content.mode == "push" else model.content.long_poll_wait
        while True:
            seen = model.turn
            yield await self.fetch(service)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await model.wait_for_news(seen)


class Writer(_Adapter):
    """The registry as one server writes to it. Follows the SDK's `Registrar` protocol.

    Args:
        on_taken: called when the registry has accepted the registration; its answer comes later.
    """

    def __init__(
        self, model: RegistryModel, place: Place, rng: Random, *, on_taken: Callable[[], None]
    ) -> None:
        super().__init__(model, place, rng)
        self._on_taken = on_taken

    async def fetch(self, service: str) -> Listing:  # noqa: ARG002 - the world has one service
        """Ask for the list."""
        await self._ask()
        return self._model.answer(self.rng)

    async def register(self, service: str, instance: Instance, *, ttl_s: float) -> None:  # noqa: ARG002
        """Register."""
        await self._ask()
        self._model.put(instance)
        self._on_taken()
        await self._pass(self._model.place, self._place)

    async def heartbeat(self, service: str, instance: Instance) -> None:  # noqa: ARG002
        """Renew the lease."""
        await self._ask()
        self._model.renew(instance.id)
        await self._pass(self._model.place, self._place)

    async def deregister(self, service: str, instance: Instance) -> None:  # noqa: ARG002
        """Deregister."""
        await self._ask()
        self._model.drop(instance.id)
        await self._pass(self._model.place, self._place)
