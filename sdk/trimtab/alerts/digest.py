"""When to tell people, and what: events folded into few messages. No I/O, takes `now`.

Per service: the first event after a silence opens a window of `quiet_s`, and all that happens
in it is one message; the next message is at least `min_interval_s` later. A thing that turns and
turns back before anybody was told is told in one line. Nothing is lost: what a message leaves out
it counts.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Literal

from trimtab.alerts.alert import Alert
from trimtab.alerts.conditions import Condition
from trimtab.alerts.readings import read_event

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trimtab.alerts.readings import Reading
    from trimtab.alerts.settings import AlertSettings
    from trimtab.events import Event

__all__ = ["Digest"]

_MAX_KEPT = 4096
"""How many faults that people know are remembered per service; the oldest go first."""


class Digest:
    """Folds the events of any number of services into messages.

    Args:
        settings: how events become messages.
    """

    def __init__(self, settings: AlertSettings) -> None:
        self._settings = settings
        self._services: dict[str, _Service] = {}

    @property
    def next_at(self) -> float:
        """When `take` has something to give at the earliest; infinity when nothing waits."""
        return min((service.due_at for service in self._services.values()), default=inf)

    def add(self, event: Event, now: float) -> None:
        """Take in an event. O(1)."""
        for reading in read_event(event, removals=self._settings.removals):
            if event.service not in self._services:
                self._services[event.service] = _Service(event.service, self._settings)
            self._services[event.service].add(reading, now)

    def take(self, now: float) -> list[Alert]:
        """Return the messages that are due."""
        alerts = [each.take(now) for each in self._services.values() if each.due_at <= now]
        for name in [name for name, each in self._services.items() if each.is_forgettable(now)]:
            del self._services[name]
        return alerts

    def flush(self, now: float) -> list[Alert]:
        """Return a message of whatever waits, due or not: there will be no other."""
        return [each.take(now) for each in self._services.values() if each.due_at < inf]


class _Service:
    """What is known and not yet told of one service."""

    def __init__(self, name: str, settings: AlertSettings) -> None:
        self._name = name
        self._settings = settings
        self._conditions: dict[tuple[str, str], Condition] = {}
        self._news: dict[tuple[str, str], Condition] = {}
        self._told_at = -inf
        self.due_at = inf

    def add(self, reading: Reading, now: float) -> None:
        condition = self._conditions.get(reading.subject)
        if condition is None:
            if not reading.is_fault:
                return
            condition = self._conditions[reading.subject] = Condition(reading)
        if condition.take(reading, now):
            self._news[reading.subject] = condition
            if self.due_at == inf:
                settings = self._settings
                self.due_at = max(now + settings.quiet_s, self._told_at + settings.min_interval_s)

    def take(self, now: float) -> Alert:
        """Tell all that is new."""
        # The present faults first; the rest in the order in which it happened.
        news = sorted(self._news.values(), key=lambda each: not each.is_fault)
        known = sum(each.is_fault for each in self._conditions.values()) - sum(
            each.is_fault for each in news
        )
        events = sum(each.turns for each in news)
        lines = self._lines(news, known, events)
        title = lines[0] if len(news) == 1 else _counts(news)
        alert = Alert(
            service=self._name,
            kind=_kind(news, known),
            title=f"{self._name}: {title}",
            lines=tuple(lines),
            events=events,
        )
        self._forget(news, now)
        return alert

    def is_forgettable(self, now: float) -> bool:
        """Whether nothing is wrong, and the next message may come at any time."""
        return not self._conditions and now - self._told_at >= self._settings.min_interval_s

    def _lines(self, news: Sequence[Condition], known: int, events: int) -> list[str]:
        most, flaps = self._settings.max_lines, self._settings.flaps
        lines = [each.line(flaps=flaps) for each in news[:most]]
        if news[most:]:
            lines.append(f"and {len(news) - most} more: {_counts(news[most:])}")
        if events > len(news):
            lines.append(f"{events} events in all")
        if known:
            lines.append(f"still as told before: {_plural(known, 'fault')}")
        return lines

    def _forget(self, news: Sequence[Condition], now: float) -> None:
        for each in news:
            each.told()
        self._news.clear()
        kept = [each for each in self._conditions.items() if not each[1].is_forgettable]
        self._conditions = dict(kept[-_MAX_KEPT:])
        self._told_at, self.due_at = now, inf


def _kind(news: Sequence[Condition], known: int) -> Literal["fault", "recovery", "notice"]:
    if any(each.is_fault for each in news):
        return "fault"
    return "recovery" if not known and any(each.was_fault for each in news) else "notice"


def _counts(news: Sequence[Condition]) -> str:
    faults = sum(each.is_fault for each in news)
    recoveries = sum(each.was_fault and not each.is_fault for each in news)
    brief = len(news) - faults - recoveries
    counts = ((faults, "fault"), (recoveries, "recovery"), (brief, "fault come and gone"))
    return ", ".join(_plural(count, what) for count, what in counts if count)


def _plural(count: int, what: str) -> str:
    plurals = {
        "fault": "faults",
        "recovery": "recoveries",
        "fault come and gone": "faults come and gone",
    }
    return f"{count} {what if count == 1 else plurals[what]}"
