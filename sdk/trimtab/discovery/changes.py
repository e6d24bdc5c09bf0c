"""The differences between two lists of a service, as changes for people and as events.

async with Directory("consul://127.0.0.1:8500") as directory, Alerter("mailto://...") as alerter:
    await emit_events(directory, "orders", alerter)
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Literal

from trimtab.events import InstanceChanged, RegistryChanged, ServiceChanged
from trimtab.health import reason_against
from trimtab.instance import Instance

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator

    from trimtab.discovery.directory import Directory
    from trimtab.discovery.settings import DiscoveryState
    from trimtab.events import Event, Listener
    from trimtab.instance import Snapshot

__all__ = ["Change", "EventEmitter", "changes", "emit_events", "list_events", "observe"]

logger = logging.getLogger("trimtab.discovery")

_MARKS = {"added": "+", "removed": "-", "changed": "~"}
_STATE_EVERY_S = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One instance that was added, removed or changed.

    Attributes:
        instance: the instance now; if it was removed, as it was last.
        before: the instance before, if it changed.
    """

    kind: Literal["added", "removed", "changed"]
    instance: Instance
    before: Instance | None = None

    def __str__(self) -> str:
        mark, each = _MARKS[self.kind], self.instance
        if self.before is not None:
            return f"{mark} {each.id}  {', '.join(_differences(self.before, each))}"
        if self.kind == "removed":
            return f"{mark} {each.id}  {each.address}"
        zone = f" zone={each.zone}" if each.zone else ""
        tier = f" priority={each.priority}" if each.priority else ""
        words = f"{each.address} {each.status.value} weight={each.weight:g}{zone}{tier}"
        return f"{mark} {each.id}  {words}"


def changes(before: Iterable[Instance], after: Iterable[Instance]) -> list[Change]:
    """List the changes from one list to the next: removed, then added, then changed ones."""
    old, new = {each.id: each for each in before}, {each.id: each for each in after}
    return [
        *(Change(kind="removed", instance=old[id_]) for id_ in old if id_ not in new),
        *(Change(kind="added", instance=new[id_]) for id_ in new if id_ not in old),
        *(
            Change(kind="changed", instance=new[id_], before=old[id_])
            for id_ in new
            if id_ in old and new[id_] != old[id_]
        ),
    ]


def _differences(before: Instance, after: Instance) -> Iterable[str]:
    for field in fields(Instance):
        old, new = getattr(before, field.name), getattr(after, field.name)
        if old != new:
            yield f"{field.name}: {_shown(old)} -> {_shown(new)}"


def _shown(value: object) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    return str(dict(value)) if isinstance(value, Mapping) else str(value)


async def emit_events(directory: Directory, service: str, listener: Listener) -> None:
    """Call a listener with an event for each change of a service, until cancelled.

    It waits for the first list as long as it takes; its instances are emitted as added.
    """
    emitter = EventEmitter(service, listener)
    async with aclosing(observe(directory, service)) as observed:  # type: ignore[type-var]
        async for snapshot, state in observed:
            emitter.update(snapshot, state)


async def observe(
    directory: Directory, service: str
) -> AsyncIterator[tuple[Snapshot | None, DiscoveryState]]:
    """Yield each new list with the state of discovery; in between, None with the state."""
    snapshots = directory.watch(service)
    coming = asyncio.ensure_future(anext(snapshots))
    try:
        while True:
            await asyncio.wait({coming}, timeout=_STATE_EVERY_S)
            snapshot = None
            if coming.done():
                snapshot = coming.result()
                coming = asyncio.ensure_future(anext(snapshots))
            yield snapshot, await directory.state(service)
    finally:
        coming.cancel()
        await asyncio.wait({coming})
        await snapshots.aclose()  # type: ignore[attr-defined] # it is an async generator


class EventEmitter:
    """Compares each list and state of a service with the one before, and emits events.

    Args:
        service: its name.
        listener: called with each event; an error that it raises is logged.
    """

    def __init__(self, service: str, listener: Listener) -> None:
        self._service = service
        self._listener = listener
        self._instances: tuple[Instance, ...] = ()
        self._was_unavailable = self._was_failing = False

    def update(self, snapshot: Snapshot | None, state: DiscoveryState) -> None:
        """Take a new list, if there is one, and the state of discovery. Runs on the loop."""
        now = asyncio.get_running_loop().time()
        for event in self._events(snapshot, state, now):
            try:
                self._listener(event)
            except Exception:
                logger.exception("service %r: a listener to events raised an error", self._service)

    def _events(
        self, snapshot: Snapshot | None, state: DiscoveryState, now: float
    ) -> Iterator[Event]:
        if snapshot is not None:
            before, self._instances = self._instances, snapshot.instances
            yield from list_events(self._service, before, self._instances, at=now)
            yield from self._service_events(now)
        if bool(state.failures) != self._was_failing:
            self._was_failing = bool(state.failures)
            yield RegistryChanged(
                service=self._service,
                registry=state.registry,
                kind="unavailable" if self._was_failing else "available",
                reason=state.last_error,
                at=now,
            )

    def _service_events(self, now: float) -> Iterator[Event]:
        eligible = sum(reason_against(each) is None for each in self._instances)
        if (not eligible) != self._was_unavailable:
            self._was_unavailable = not eligible
            yield ServiceChanged(
                service=self._service,
                kind="recovered" if eligible else "unavailable",
                eligible=eligible,
                total=len(self._instances),
                at=now,
            )


def list_events(
    service: str, before: Iterable[Instance], after: Iterable[Instance], *, at: float
) -> Iterator[InstanceChanged]:
    """Yield the differences between two lists of a service as events."""
    for change in changes(before, after):
        yield _event(service, change, at)


def _event(service: str, change: Change, now: float) -> InstanceChanged:
    is_new_status = change.before is not None and change.before.status is not change.instance.status
    before = change.before or change.instance
    return InstanceChanged(
        service=service,
        instance=change.instance,
        kind="status" if is_new_status else change.kind,
        before="" if change.kind == "added" else before.status.value,
        after="" if change.kind == "removed" else change.instance.status.value,
        at=now,
    )
