"""The index rules: which number an answer carries, and so which change wakes whom.

One counter for the whole registry; every real change takes the next number and leaves it in
the marks that it concerns:

| change                   | service marks                | tables             |
|--------------------------|------------------------------|--------------------|
| an instance              | its service                  | services           |
| an instance's check      | its service                  | checks             |
| a node's check           | every service on the node    | services, checks   |
| a node                   | every service on the node    | services, nodes    |

A service that nobody offers has no mark of its own: it answers with the newest of the tables,
as Consul does, so that an index never goes backwards for a client, whether the service comes
or goes. Table names and service names are told apart by a prefix; together they are *topics*.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["CHECKS", "NODES", "SERVICES", "Indexes", "service_topic"]

NODES, SERVICES, CHECKS = "nodes", "services", "checks"
_TABLES = (NODES, SERVICES, CHECKS)


def service_topic(name: str) -> str:
    """Name the topic of one service's instances and their health."""
    return f"service:{name}"


class Indexes:
    """The counter and the marks. Starts at `last`, which every mark then counts as.

    Args:
        last: the last number given out before a restart; marks of services are not kept over
            a restart, so each starts at the newest number: a client is woken once too often
            rather than once too rarely.
    """

    def __init__(self, last: int = 1) -> None:
        self.last = last
        self._start = last
        self._marks = dict.fromkeys(_TABLES, last)

    def advance(self, topics: Iterable[str]) -> int:
        """Give out the next number and leave it in these marks."""
        self.last += 1
        for topic in topics:
            self._marks[topic] = self.last
        return self.last

    def forget(self, name: str) -> None:
        """Drop a service's mark: its last instance is gone."""
        self._marks.pop(service_topic(name), None)

    def of(self, *topics: str) -> int:
        """Give the newest mark of some tables."""
        return max(self._marks[topic] for topic in topics)

    def of_service(self, name: str, *, known: bool) -> int:
        """Give a service's mark; when it is not `known`, the newest of all tables."""
        if not known:
            return self.of(*_TABLES)
        return self._marks.get(service_topic(name), self._start)
