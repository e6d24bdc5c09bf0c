"""What an event means to people: of what it speaks, and whether that is a fault. No I/O."""

from __future__ import annotations

from typing import NamedTuple

from trimtab.events import Event, InstanceChanged, RegistryChanged, ServiceChanged
from trimtab.instance import Status

__all__ = ["Reading", "read_event"]

_SERVICE = {
    "unavailable": ("eligibility", True, "without an eligible instance"),
    "recovered": ("eligibility", False, "with eligible instances"),
    "panic_began": ("panic", True, "in panic, all instances used"),
    "panic_ended": ("panic", False, "out of panic"),
}
_INSTANCE = {
    "ejected": ("ejection", True, "ejected"),
    "returned": ("ejection", False, "back in use"),
    "probe_failed": ("probe", True, "failing its probes"),
    "probe_passed": ("probe", False, "passing its probes"),
}


class Reading(NamedTuple):
    """One thing that is well or not.

    Attributes:
        subject: what it is about, within the service; equal ones are the same thing.
        name: how a line names it.
        is_fault: whether it is wrong now.
        what: what it is now, in a few words.
        reason: why, for people; may be empty.
    """

    subject: tuple[str, str]
    name: str
    is_fault: bool
    what: str
    reason: str


def read_event(event: Event, *, removals: bool) -> list[Reading]:
    """Return what an event says of which things; nothing where it is not worth a message.

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
    """Read the registry's word: who is on the list, and as what."""
    if event.kind == "removed":
        gone = [_of_instance(event, "listed", True, "removed")] if removals else []
        # Whatever was wrong with it is over with it.
        aspects = ("status", *dict.fromkeys(each[0] for each in _INSTANCE.values()))
        return gone + [_of_instance(event, each, False, "removed") for each in aspects]
    status = event.instance.status
    turn = _of_instance(event, "status", status is Status.CRITICAL, status.value)
    if event.kind == "added":
        return [_of_instance(event, "listed", False, "listed"), turn]
    return [turn] if event.kind == "status" else []


def _of_instance(event: InstanceChanged, aspect: str, is_fault: bool, what: str) -> Reading:  # noqa: FBT001 - read from a table
    instance = event.instance
    name = instance.id if instance.id == instance.address else f"{instance.id} ({instance.address})"
    zone = f" in {instance.zone}" if instance.zone else ""
    return Reading((aspect, instance.id), name + zone, is_fault, what, event.reason)
