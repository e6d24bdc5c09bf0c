"""The digest: folds events into few messages, and decides when each is due. No I/O, takes `now`.

Per service, the first event after a silence opens a window of `quiet_s`; everything that happens
in it is one message. The next message comes at least `min_interval_s` later. A change that is
undone before the next message is reported as one line. Nothing is lost: a message counts what it
leaves out.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING, Literal

from trimtab.alerts.conditions import Condition, read_event
from trimtab.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trimtab.alerts.conditions import Reading
    from trimtab.events import Event

__all__ = ["Alert", "AlertSettings", "Digest"]

_MAX_KEPT = 4096
"""How many reported faults are remembered per service; the oldest are forgotten first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertSettings:
    """How events become messages.

    Attributes:
        quiet_s: everything that happens within this time after the first event goes into one
            message; 0 or more.
        min_interval_s: the least time between two messages about one service, 0 or more. The
            second sums up what happened in between.
        removals: whether an instance that leaves its registry is a fault. Set it for registries
            that remove dead instances (etcd, ZooKeeper), not for those that mark them critical.
        max_lines: the most lines of a message, 1 or more; further ones are counted.
        flaps: an instance that changed this often since the last message is called flapping; 2
            or more.

    Raises:
        ConfigurationError: a value is out of range; the message names it.
    """

    quiet_s: float = 5.0
    min_interval_s: float = 60.0
    removals: bool = False
    max_lines: int = 20
    flaps: int = 4

    def __post_init__(self) -> None:
        for name, least in (("quiet_s", 0), ("min_interval_s", 0), ("max_lines", 1), ("flaps", 2)):
            # Written so that a NaN fails.
            if not least <= getattr(self, name) < float("inf"):
                raise ConfigurationError(
                    f"{name} is {getattr(self, name)!r}; it must be {least} or more and finite"
                )


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """A message: what happened to one service since the last message about it.

    Attributes:
        service: its name.
        kind: `fault`: a new fault; `recovery`: the last fault has ended; `notice`: neither.
        title: the message in one line.
        lines: one line per instance (or other thing) whose state changed.
        events: how many events the lines sum up.
    """

    service: str
    kind: Literal["fault", "recovery", "notice"]
    title: str
    lines: tuple[str, ...]
    events: int

    @property
    def body(self) -> str:
        """The lines as one text."""
        return "\n".join(self.lines)


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
        """When the next message is due; infinity if there is none."""
        return min((service.due_at for service in self._services.values()), default=inf)

    def add(self, event: Event, now: float) -> None:
        """Add an event. O(1)."""
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
        """Return all messages, due or not, before the end."""
        return [each.take(now) for each in self._services.values() if each.due_at < inf]


class _Service:
    """The conditions of one service, and which of them are news."""

    def __init__(self, name: str, settings: AlertSettings) -> None:
        self._name = name
        self._settings = settings
        self._conditions: dict[tuple[str, str], Condition] = {}
        self._news: dict[tuple[str, str], Condition] = {}
        self._reported_at = -inf
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
                after_last = self._reported_at + self._settings.min_interval_s
                self.due_at = max(now + self._settings.quiet_s, after_last)

    def take(self, now: float) -> Alert:
        """Return a message of all news."""
        # The present faults first; the rest in the order in which it happened.
        news = sorted(self._news.values(), key=lambda each: not each.is_fault)
        known = sum(each.is_fault for each in self._conditions.values()) - sum(
            each.is_fault for each in news
        )
        events = sum(each.changes for each in news)
        lines = self._lines(news, known, events)
        title = lines[0] if len(news) == 1 else _counts(news)
        alert = Alert(
            service=self._name,
            kind=_kind(news, known),
            title=f"{self._name}: {title}",
            lines=tuple(lines),
            events=events,
        )
        self._reported(news, now)
        return alert

    def is_forgettable(self, now: float) -> bool:
        """Whether nothing is at fault, and the next message may come at any time."""
        return not self._conditions and now - self._reported_at >= self._settings.min_interval_s

    def _lines(self, news: Sequence[Condition], known: int, events: int) -> list[str]:
        most, flaps = self._settings.max_lines, self._settings.flaps
        lines = [each.line(flaps=flaps) for each in news[:most]]
        if news[most:]:
            lines.append(f"and {len(news) - most} more: {_counts(news[most:])}")
        if events > len(news):
            lines.append(f"{events} events in all")
        if known:
            lines.append(f"{_plural(known, 'earlier fault')} not over yet")
        return lines

    def _reported(self, news: Sequence[Condition], now: float) -> None:
        for each in news:
            each.reported()
        self._news.clear()
        kept = [each for each in self._conditions.items() if not each[1].is_forgettable]
        self._conditions = dict(kept[-_MAX_KEPT:])
        self._reported_at, self.due_at = now, inf


def _kind(news: Sequence[Condition], known: int) -> Literal["fault", "recovery", "notice"]:
    if any(each.is_fault for each in news):
        return "fault"
    return "recovery" if not known and any(each.was_fault for each in news) else "notice"


def _counts(news: Sequence[Condition]) -> str:
    faults = sum(each.is_fault for each in news)
    recoveries = sum(each.was_fault and not each.is_fault for each in news)
    brief = len(news) - faults - recoveries
    counts = ((faults, "fault"), (recoveries, "recovery"), (brief, "brief fault"))
    return ", ".join(_plural(count, what) for count, what in counts if count)


def _plural(count: int, what: str) -> str:
    if count == 1:
        return f"1 {what}"
    return f"{count} {'recoveries' if what == 'recovery' else what + 's'}"
