"""The agent: registrations on this node and the life of their checks. No I/O, takes `now`.

It turns definitions into instances and checks in the catalog, renews and expires TTLs, records
the results of probes, and removes instances that were critical for too long. Times are seconds
on any steady clock; the caller asks `next_at` and calls `expire` at that time.

Source: Consul 1.8's agent; answers, defaults and order of checks are the same.
"""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING

from msgspec.structs import replace

from trimtab.server.decoding import Refusal
from trimtab.server.definitions import check_record, identified_checks, service_record
from trimtab.server.records import Check

if TYPE_CHECKING:
    from collections.abc import Iterable

    from trimtab.server.catalog import Catalog
    from trimtab.server.definitions import CheckDefinition, ServiceDefinition

__all__ = ["Agent", "Deadlines"]

_SCRIPTS_ARE_OFF = (
    "Scripts are disabled on this agent from remote calls; "
    "to enable, configure 'enable_script_checks' to true"
)


class Agent:
    """The local registrations of one node.

    Args:
        catalog: where instances and checks are kept.
        node: the name of the agent's own node, which the catalog must know.
        enable_script_checks: whether check definitions may run commands on this machine.

    Attributes:
        definitions: the check definitions by check id.
    """

    def __init__(self, catalog: Catalog, node: str, *, enable_script_checks: bool = False) -> None:
        self.definitions: dict[str, CheckDefinition] = {}
        self._catalog = catalog
        self._node = node
        self._scripts = enable_script_checks
        self._ttls = Deadlines()
        self._reaper = Deadlines()

    def restore(self, definitions: Iterable[CheckDefinition], now: float) -> None:
        """Add definitions that a store kept, and start every TTL anew.

        An outage of the registry is not the instances' fault: they get a whole TTL for their next
        heartbeat. Script checks that are no longer allowed become critical.
        """
        for definition in definitions:
            check = self._catalog.checks.get((self._node, definition.check_id))
            if check is None:
                self._catalog.note("definitions", (self._node, definition.check_id), None)
                continue
            self.definitions[definition.check_id] = definition
            if definition.type == "script" and not self._scripts:
                self._set_status(check, "critical", _SCRIPTS_ARE_OFF, now=now)
            self._start(definition, check.status, now)

    def register_service(
        self, definition: ServiceDefinition, now: float, *, replace_existing_checks: bool = False
    ) -> None:
        """Add or replace an instance and its checks; known checks keep their status.

        Args:
            definition: a checked one.
            now: the time, seconds.
            replace_existing_checks: drop the instance's checks that the definition lacks.
        """
        service_id = definition.id or definition.name
        checks = identified_checks(definition, service_id)
        for check in checks:
            self._refuse_scripts(check)
        self._catalog.put_service(self._node, service_record(definition, service_id))
        for check in checks:
            self._add_check(check, now)
        if replace_existing_checks:
            wanted = {check.check_id for check in checks}
            for check_id in list(self._catalog.checks_on.get((self._node, service_id), ())):
                if check_id not in wanted:
                    self.deregister_check(check_id)

    def deregister_service(self, service_id: str) -> None:
        """Remove an instance with its checks; one that is not there is no error."""
        if not service_id:
            raise Refusal(500, "ServiceID missing")
        for check_id in list(self._catalog.checks_on.get((self._node, service_id), ())):
            self.deregister_check(check_id)
        self._catalog.remove_service(self._node, service_id)

    def register_check(self, definition: CheckDefinition, now: float) -> None:
        """Add or replace a check of an instance, or of the node if it names no instance."""
        if not definition.name:
            raise Refusal(400, "Missing check name")
        definition = definition.checked()
        self._refuse_scripts(definition)
        service_id = definition.service_id
        if service_id and (self._node, service_id) not in self._catalog.services:
            raise Refusal(500, f'ServiceID "{service_id}" does not exist')
        self._add_check(replace(definition, check_id=definition.check_id or definition.name), now)

    def deregister_check(self, check_id: str) -> None:
        """Remove a check, if it exists."""
        self._ttls.clear(check_id)
        self._reaper.clear(check_id)
        self._catalog.remove_check(self._node, check_id)
        if self.definitions.pop(check_id, None):
            self._catalog.note("definitions", (self._node, check_id), None)

    def heartbeat(self, check_id: str, status: str, output: str, *, now: float) -> None:
        """Set a TTL check to the status that a client sends, and start its time anew. O(1).

        Raises:
            Refusal: 500, there is no such TTL check; the client must register again.
        """
        definition = self.definitions.get(check_id)
        if definition is None or definition.type != "ttl":
            raise Refusal(500, f'CheckID "{check_id}" does not have associated TTL')
        self._ttls.set(check_id, now + definition.ttl_s)
        output = output[: definition.output_max_size]
        self._set_status(self._catalog.checks[self._node, check_id], status, output, now=now)

    def probed(self, check_id: str, status: str, output: str, *, now: float) -> None:
        """Record a probe's result, if the check still exists."""
        check = self._catalog.checks.get((self._node, check_id))
        if check is not None and check_id in self.definitions:
            output = output[: self.definitions[check_id].output_max_size]
            self._set_status(check, status, output, now=now)

    def maintain(self, service_id: str, *, enable: bool, reason: str = "") -> None:
        """Take an instance out of service by a critical check, or remove that check."""
        service = self._catalog.services.get((self._node, service_id))
        if service is None:
            raise Refusal(404, f'No service registered with ID "{service_id}"')
        check_id = f"_service_maintenance:{service_id}"
        if not enable:
            self._catalog.remove_check(self._node, check_id)
            return
        self._catalog.put_check(
            Check(
                node=self._node,
                check_id=check_id,
                name="Service Maintenance Mode",
                notes=reason
                or "Maintenance mode is enabled for this service, "
                "but no reason was provided. This is a default message.",
                service_id=service_id,
                service_name=service.service,
                service_tags=service.tags,
                type="maintenance",
            )
        )

    def next_at(self) -> float | None:
        """Return the earliest time at which `expire` has something to do, or None."""
        times = [at for at in (self._ttls.next_at(), self._reaper.next_at()) if at is not None]
        return min(times, default=None)

    def expire(self, now: float) -> list[str]:
        """Make overdue TTL checks critical, and remove instances critical for too long.

        Returns:
            the ids of the instances removed.
        """
        for check_id in self._ttls.pop_expired(now):
            check = self._catalog.checks[self._node, check_id]
            self._set_status(check, "critical", "TTL expired", now=now)
        removed = []
        for check_id in self._reaper.pop_expired(now):
            # Two checks of one instance may be due at once: the first takes both away.
            if check_id in self.definitions:
                removed.append(self.definitions[check_id].service_id)
                self.deregister_service(removed[-1])
        return removed

    def _refuse_scripts(self, definition: CheckDefinition) -> None:
        if definition.type == "script" and not self._scripts:
            raise Refusal(500, _SCRIPTS_ARE_OFF)

    def _add_check(self, definition: CheckDefinition, now: float) -> None:
        service = self._catalog.services.get((self._node, definition.service_id))
        old = self._catalog.checks.get((self._node, definition.check_id))
        check = check_record(definition, self._node, service, old)
        self._catalog.put_check(check)
        if self.definitions.get(definition.check_id) != definition:
            self.definitions[definition.check_id] = definition
            self._catalog.note("definitions", (self._node, definition.check_id), definition)
        self._start(definition, check.status, now)

    def _start(self, definition: CheckDefinition, status: str, now: float) -> None:
        if definition.type == "ttl":
            self._ttls.set(definition.check_id, now + definition.ttl_s)
        else:
            self._ttls.clear(definition.check_id)
        self._reaper.clear(definition.check_id)
        self._watch_for_removal(definition.check_id, status, now)

    def _set_status(self, check: Check, status: str, output: str, *, now: float) -> None:
        if check.status != status or check.output != output:
            self._catalog.put_check(replace(check, status=status, output=output))
        self._watch_for_removal(check.check_id, status, now)

    def _watch_for_removal(self, check_id: str, status: str, now: float) -> None:
        definition = self.definitions[check_id]
        after_s = definition.deregister_critical_service_after_s
        if status != "critical" or not definition.service_id or after_s <= 0:
            self._reaper.clear(check_id)
        elif check_id not in self._reaper:
            self._reaper.set(check_id, now + after_s)


class Deadlines:
    """Named points in time, soonest first. It has no clock: callers pass the time.

    Made for heartbeats, which move most deadlines before they are reached. Moving one further
    away is one dictionary write: the heap keeps the old, earlier time, and the deadline is put
    back when that time is reached. Setting and clearing cost O(1), or O(log n) for a deadline
    that comes nearer.
    """

    def __init__(self) -> None:
        self._at: dict[str, float] = {}
        self._queued: dict[str, float] = {}
        self._heap: list[tuple[float, str]] = []

    def set(self, name: str, at: float) -> None:
        """Put a deadline at `at`, in seconds, replacing an earlier one of that name."""
        self._at[name] = at
        if name not in self._queued or at < self._queued[name]:
            self._push(name, at)

    def clear(self, name: str) -> None:
        """Remove a deadline, if it exists."""
        self._at.pop(name, None)

    def __contains__(self, name: str) -> bool:
        return name in self._at

    def next_at(self) -> float | None:
        """Return when to call `pop_expired`: never after the soonest deadline, sometimes before."""
        return self._heap[0][0] if self._heap else None

    def pop_expired(self, now: float) -> list[str]:
        """Take out all deadlines at or before `now`, soonest first."""
        expired = []
        while self._heap and self._heap[0][0] <= now:
            queued_at, name = heapq.heappop(self._heap)
            if self._queued.get(name) != queued_at:
                continue  # a nearer deadline of the same name took its place in the heap
            del self._queued[name]
            at = self._at.get(name)
            if at is None:
                continue
            if at > queued_at:
                self._push(name, at)  # it was moved: its turn is after what is due before
            else:
                del self._at[name]
                expired.append(name)
        return expired

    def _push(self, name: str, at: float) -> None:
        self._queued[name] = at
        heapq.heappush(self._heap, (at, name))
