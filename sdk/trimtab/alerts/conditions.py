"""Conditions: the things that are well or at fault, and what an event says about them. No I/O.

`read_event` turns an event into readings, each about one thing (an instance's status, a service's
panic, a registry). A `Condition` keeps one thing from one message to the next.
"""

from __future__ import annotations

from typing import NamedTuple

from trimtab.events import Event, InstanceChanged, RegistryChanged, ServiceChanged
from trimtab.instance import Status

__all__ = ["Condition", "Reading", "read_event"]

_SERVICE = {
    "unavailable": ("eligibility", True, "without an eligible instance"),
    "recovered": ("eligibility", False, "recovered"),
    "panic_began": ("panic", True, "in panic, all instances used"),
    "panic_ended": ("panic", False, "out of panic"),
}
_INSTANCE = {
    "ejected": ("ejection", True, "ejected"),
    "returned": ("ejection", False, "back in use"),
    "probe_failed": ("probe", True, "failing its probes"),
    "probe_passed": ("probe", False, "passing its probes"),
    "unreachable": ("reach", True, "out of reach"),
    "reachable": ("reach", False, "in reach"),
}
_LONGEST_REASON = 200
_UNITS = ((86400.0, "d"), (3600.0, "h"), (60.0, "min"))


class Reading(NamedTuple):
    """The state of one thing, as an event gives it.

    Attributes:
        subject: identifies the thing within its service.
        name: its name in messages.
        is_fault: whether it is at fault now.
        what: its state in a few words.
        reason: the cause, for people; may be empty.
    """

    subject: tuple[str, str]
    name: str
    is_fault: bool
    what: str
    reason: str


def read_event(event: Event, *, removals: bool) -> list[Reading]:
    """Return the readings of an event; an empty list if it needs no message.

    Args:
        event: what happened.
        removals: see `AlertSettings`.
    """
    if isinstance(event, ServiceChanged):
        aspect, is_fault, what = _SERVICE[event.kind]
        share = f"{event.eligible} of {event.total}"
        reason = f"{share} eligible; {event.reason}" if event.reason else f"{share} eligible"
        return [Reading((aspect, ""), "the service", is_fault, what, reason)]
    if isinstance(event, RegistryChanged):
        is_fault = event.kind == "unavailable"
        subject = ("registry", event.registry)
        return [Reading(subject, event.registry, is_fault, event.kind, event.reason)]
    if event.kind in _INSTANCE:
        aspect, is_fault, what = _INSTANCE[event.kind]
        return [_of_instance(event, aspect, is_fault, what)]
    return _of_list(event, removals=removals)


def _of_list(event: InstanceChanged, *, removals: bool) -> list[Reading]:
    """Read a change of the registry's list: an instance was added or removed, or its status."""
    if event.kind == "removed":
        removed = [_of_instance(event, "listed", True, "removed")] if removals else []
        # Every other fault of the instance ends with its removal.
        aspects = ("status", *dict.fromkeys(each[0] for each in _INSTANCE.values()))
        return removed + [_of_instance(event, each, False, "removed") for each in aspects]
    status = event.instance.status
    reading = _of_instance(event, "status", status is Status.CRITICAL, status.value)
    if event.kind == "added":
        return [_of_instance(event, "listed", False, "listed"), reading]
    return [reading] if event.kind == "status" else []


def _of_instance(event: InstanceChanged, aspect: str, is_fault: bool, what: str) -> Reading:  # noqa: FBT001 - read from a table
    instance = event.instance
    name = instance.id if instance.id == instance.address else f"{instance.id} ({instance.address})"
    zone = f" in {instance.zone}" if instance.zone else ""
    return Reading((aspect, instance.id), name + zone, is_fault, what, event.reason)


class Condition:
    """One thing: its state now, and its state in the last message.

    Attributes:
        was_fault: whether it was at fault in the last message.
        is_fault: whether it is at fault now.
        changes: how often that changed since the last message.
    """

    __slots__ = (
        "_changed_at",
        "_fault",
        "_lasted_s",
        "_latest",
        "changes",
        "is_fault",
        "was_fault",
    )

    def __init__(self, first: Reading) -> None:
        self.was_fault = self.is_fault = False
        self.changes = 0
        self._latest = self._fault = first
        self._changed_at = self._lasted_s = 0.0

    @property
    def is_forgettable(self) -> bool:
        """Whether it is well, and was so in the last message."""
        return not (self.changes or self.is_fault)

    def take(self, reading: Reading, now: float) -> bool:
        """Note a reading; return whether it changed the state."""
        if reading.is_fault == self.is_fault:
            return False
        if reading.is_fault:
            self._fault = reading
        else:
            self._lasted_s = now - self._changed_at
        self.is_fault, self._changed_at, self._latest = reading.is_fault, now, reading
        self.changes += 1
        return True

    def line(self, *, flaps: int) -> str:
        """Describe in one line what happened since the last message; `flaps`: see the settings."""
        fault, what = self._fault, self._latest.what
        if self.changes >= flaps:
            text = f"flapping, {self.changes} changes, now {what}"
        elif self.is_fault:
            text = f"{what} again" if self.changes > 1 else what
        else:
            text = f"{what} after {_duration(self._lasted_s)} {fault.what}"
        # The message about the fault had its reason already.
        is_known = self.was_fault and not self.is_fault
        return f"{fault.name}: {text}{'' if is_known else _in_brackets(fault.reason)}"

    def reported(self) -> None:
        """Note that a message has the present state."""
        self.was_fault, self.changes = self.is_fault, 0


def _in_brackets(reason: str) -> str:
    words = " ".join(reason.split())
    if len(words) > _LONGEST_REASON:
        words = words[:_LONGEST_REASON] + "..."
    return f" ({words})" if words else ""


def _duration(seconds: float) -> str:
    for unit_s, unit in _UNITS:
        if seconds >= unit_s:
            return f"{seconds / unit_s:.3g} {unit}"
    return f"{seconds:.0f} s"
