"""A service without any discovery: its list is given, its clock is moved by hand."""

from __future__ import annotations

from random import Random

from trimtab.discovery.service import Service

from trimtab import Instance, Snapshot
from trimtab.discovery import Policies
from trimtab.discovery.settings import DiscoveryState
from trimtab.testing import ManualClock


class Given:
    """A lease on a list that the test gives."""

    def __init__(self):
        self.snapshot = None
        self.take = None
        self.last_error = ""

    def subscribe(self, take):
        self.take = take

    def set(self, *ids):
        listed = [each if isinstance(each, Instance) else instance(each) for each in ids]
        self.snapshot = Snapshot(service="orders", instances=tuple(listed))
        self.take(self.snapshot)

    def state(self):
        return DiscoveryState(
            service="orders",
            registry="static://",
            instances=len(self.snapshot.instances) if self.snapshot else None,
            age_s=2.0 if self.snapshot else None,
            source="registry",
            failures=1 if self.last_error else 0,
            last_error=self.last_error,
            held=None,
        )


class Always(Random):
    """Draws one number for ever."""

    def __init__(self, value):
        super().__init__(0)
        self.value = value

    def random(self):
        return self.value


def instance(id_, **fields):
    return Instance(host="10.0.0.1", port=80, id=id_, **fields)


def service_of(ids="abc", *, draw=1.0, **policies):
    """Make a service of these instances, on a clock of its own; waits are `draw` of their bound."""
    removed = []
    service = Service(
        "orders",
        policies=Policies(**({"strategy": "round_robin"} | policies)),
        lease=Given(),
        rng=Always(draw),
        clock=ManualClock(100.0),
        on_removed=removed.extend,
    )
    service.removed = removed
    if ids is not None:
        service.lease.set(*ids)
    return service
