"""The catalog: nodes, instances and checks, and what each change touches. No I/O, no clock.

Every method that changes something does so at once, in memory, and notes which records must be
written or deleted and which topics changed. `take_changes` returns these, for the store and for
the waiting queries. A write that changes nothing takes no index.

The index rules decide which number an answer carries, and so which change wakes which query. One
counter serves the whole registry. Every change takes the next number and stores it in the marks
that it concerns:

| change                   | service marks                | tables             |
|--------------------------|------------------------------|--------------------|
| an instance              | its service                  | services           |
| an instance's check      | its service                  | checks             |
| a node's check           | every service on the node    | services, checks   |
| a node                   | every service on the node    | services, nodes    |

A service without instances has no mark of its own: its answers carry the newest mark of the
tables, as in Consul, so a client never sees an index go backwards when the service comes or goes.
Tables and services are both *topics*; a prefix keeps their names apart.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from msgspec.structs import replace

if TYPE_CHECKING:
    from collections.abc import Iterable

    import msgspec

    from trimtab.server.records import Check, Node, Service

__all__ = ["CHECKS", "NODES", "SERVICES", "Catalog", "Changes", "Indexes", "Key", "service_topic"]

NODES, SERVICES, CHECKS = "nodes", "services", "checks"
_TABLES = (NODES, SERVICES, CHECKS)
Key = tuple[str, str]
"""A node's name and an id on it."""


def service_topic(name: str) -> str:
    """Name the topic of one service's instances and their health."""
    return f"service:{name}"


class Indexes:
    """The counter and the marks, which all start at `last`.

    Args:
        last: the last number used before a restart. Marks of services are not kept over a
            restart, so each starts at the newest number: a client is woken once too often
            rather than once too rarely.
    """

    def __init__(self, last: int = 1) -> None:
        self.last = last
        self._start = last
        self._marks = dict.fromkeys(_TABLES, last)

    def advance(self, topics: Iterable[str]) -> int:
        """Take the next number, store it in these marks, and return it."""
        self.last += 1
        for topic in topics:
            self._marks[topic] = self.last
        return self.last

    def forget(self, name: str) -> None:
        """Drop the mark of a service whose last instance was removed."""
        self._marks.pop(service_topic(name), None)

    def of(self, *topics: str) -> int:
        """Return the newest mark of some tables."""
        return max(self._marks[topic] for topic in topics)

    def of_service(self, name: str, *, known: bool) -> int:
        """Return a service's mark; if it is not `known`, the newest of all tables."""
        if not known:
            return self.of(*_TABLES)
        return self._marks.get(service_topic(name), self._start)


@dataclass(slots=True)
class Changes:
    """What changed since the last `take_changes`.

    Attributes:
        records: (table, node, id) -> the record as it is now, or None if it was removed.
        topics: the topics that changed, each once, in order.
    """

    records: dict[tuple[str, str, str], msgspec.Struct | None] = field(default_factory=dict)
    topics: dict[str, None] = field(default_factory=dict)


class Catalog:
    """Everything that is registered, under keys of (node, id).

    Attributes:
        nodes: every node, by name.
        services: every instance, by (node, instance id).
        by_name: the same, by service name and then key.
        checks: every check, by (node, check id).
        checks_on: the checks of an instance, by (node, instance id); of a node: (node, "").
        indexes: the counter and its marks.
        generation: grows with every write, even if it takes no index (a check's output).
    """

    def __init__(self, last_index: int = 1) -> None:
        self.nodes: dict[str, Node] = {}
        self.services: dict[Key, Service] = {}
        self.by_name: dict[str, dict[Key, Service]] = {}
        self.checks: dict[Key, Check] = {}
        self.checks_on: dict[Key, dict[str, Check]] = {}
        self.indexes = Indexes(last_index)
        self.generation = 0
        self._on_node: dict[str, dict[str, int]] = {}
        self._changes = Changes()

    def put_node(self, node: Node) -> None:
        """Add or replace a node."""
        old = self.nodes.get(node.node)
        created = old.create_index if old else 0
        if old and replace(node, create_index=created, modify_index=old.modify_index) == old:
            return
        index = self._advance([NODES, *self._services_on(node.node)])
        new = replace(node, create_index=created or index, modify_index=index)
        self.nodes[node.node] = new
        self.note("nodes", (node.node, ""), new)

    def put_service(self, node: str, service: Service) -> None:
        """Add or replace an instance; under another service name it moves there."""
        key = (node, service.id)
        old = self.services.get(key)
        created = old.create_index if old else 0
        if old and replace(service, create_index=created, modify_index=old.modify_index) == old:
            return
        topics = [SERVICES, service_topic(service.service)]
        if old and old.service != service.service:
            topics.append(service_topic(old.service))
        index = self._advance(topics)
        if old and old.service != service.service:
            self._unlist(key, old)
        new = replace(service, create_index=created or index, modify_index=index)
        self._list(key, new)
        self.note("services", key, new)

    def put_check(self, check: Check) -> None:
        """Add or replace a check. A new output alone takes no index, as in Consul."""
        key = (check.node, check.check_id)
        old = self.checks.get(key)
        created = old.create_index if old else 0
        new = replace(check, create_index=created, modify_index=old.modify_index if old else 0)
        if new == old:
            return
        if old is None or replace(new, output=old.output) != old:
            index = self._advance(self._topics_of_check(check, old))
            new = replace(new, create_index=created or index, modify_index=index)
            self.note("checks", key, new)
        if old:
            self._unlink(old)
        self.generation += 1
        self._link(new)

    def remove_service(self, node: str, service_id: str) -> bool:
        """Remove an instance with its checks; return whether it existed."""
        key = (node, service_id)
        service = self.services.get(key)
        if service is None:
            return False
        self._remove_checks_on(key)
        self._advance([SERVICES, service_topic(service.service)])
        self._unlist(key, service)
        self.note("services", key, None)
        return True

    def remove_check(self, node: str, check_id: str) -> bool:
        """Remove a check; return whether it existed."""
        check = self.checks.get((node, check_id))
        if check is None:
            return False
        self._advance(self._topics_of_check(check))
        self._unlink(check)
        self.note("checks", (node, check_id), None)
        return True

    def remove_node(self, name: str) -> bool:
        """Remove a node with everything on it; return whether it existed."""
        if name not in self.nodes:
            return False
        for key in [key for key in self.services if key[0] == name]:
            self.remove_service(*key)
        self._remove_checks_on((name, ""))
        self._advance([NODES])
        del self.nodes[name]
        self.note("nodes", (name, ""), None)
        return True

    def rename_node(self, old: str, new: str) -> None:
        """Give a node another name, which no node has; instances and checks move with it."""
        node = self.nodes[old]
        services = [service for key, service in self.services.items() if key[0] == old]
        checks = [check for key, check in self.checks.items() if key[0] == old]
        self.remove_node(old)
        self.put_node(replace(node, node=new))
        for service in services:
            self.put_service(new, service)
        for check in checks:
            self.put_check(replace(check, node=new))

    def restore(
        self,
        nodes: Iterable[Node],
        services: Iterable[tuple[str, Service]],
        checks: Iterable[Check],
    ) -> None:
        """Add what a store kept, unchanged, without taking an index."""
        self.nodes.update((node.node, node) for node in nodes)
        for node, service in services:
            self._list((node, service.id), service)
        for check in checks:
            self._link(check)

    def note(self, table: str, key: Key, record: msgspec.Struct | None) -> None:
        """Note that a record must be written, or deleted if it is None."""
        self._changes.records[table, *key] = record

    def take_changes(self) -> Changes:
        """Return all that changed since the last call."""
        changes, self._changes = self._changes, Changes()
        return changes

    def _advance(self, topics: list[str]) -> int:
        self.generation += 1
        self._changes.topics.update(dict.fromkeys(topics))
        return self.indexes.advance(topics)

    def _topics_of_check(self, check: Check, old: Check | None = None) -> list[str]:
        topics = [CHECKS]
        for each in (check, old):
            if each is None:
                continue
            service = self.services.get((each.node, each.service_id))
            if service:
                topics.append(service_topic(service.service))
            elif not each.service_id:
                topics += self._services_on(each.node)
        return topics

    def _services_on(self, node: str) -> list[str]:
        names = self._on_node.get(node, {})
        return [SERVICES, *map(service_topic, names)] if names else []

    def _remove_checks_on(self, key: Key) -> None:
        for check_id in list(self.checks_on.get(key, ())):
            self.remove_check(key[0], check_id)

    def _list(self, key: Key, service: Service) -> None:
        names = self._on_node.setdefault(key[0], {})
        if key not in self.services:
            names[service.service] = names.get(service.service, 0) + 1
        self.services[key] = service
        self.by_name.setdefault(service.service, {})[key] = service

    def _unlist(self, key: Key, service: Service) -> None:
        name = service.service
        del self.services[key]
        del self.by_name[name][key]
        if not self.by_name[name]:
            del self.by_name[name]
            self.indexes.forget(name)
        names = self._on_node[key[0]]
        names[name] -= 1
        if not names[name]:
            del names[name]

    def _link(self, check: Check) -> None:
        self.checks[check.node, check.check_id] = check
        self.checks_on.setdefault((check.node, check.service_id), {})[check.check_id] = check

    def _unlink(self, check: Check) -> None:
        key = (check.node, check.service_id)
        del self.checks[check.node, check.check_id]
        del self.checks_on[key][check.check_id]
        if not self.checks_on[key]:
            del self.checks_on[key]
