"""Outlier ejection: what the two variants, `envoy` and `grpc`, have in common.

They differ where it matters, so each follows its source exactly, and the user chooses. Envoy ejects
at once after failures in a row, and never beyond its limit: with the default of 10 % it ejects
no instance in a fleet of fewer than ten. gRPC judges at intervals only, and stops ejecting once
the limit is reached: it may always eject one.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field, fields
from math import inf, sqrt
from typing import TYPE_CHECKING, Any

from trimtab.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

__all__ = [
    "SERVER_ERRORS",
    "Counts",
    "Ejections",
    "OutlierDetector",
    "Record",
    "check_settings",
    "outlier_threshold",
    "percent",
]

SERVER_ERRORS = frozenset(range(500, 600))
"""The statuses that count as failures by default."""


class OutlierDetector(ABC):
    """Decides who is ejected, on the caller's clock. O(1) per outcome, O(n) per interval.

    Args:
        members: the ledger.
        interval_s: how often `sweep` is due.

    Attributes:
        next_at: when `sweep` is due.
    """

    def __init__(self, members: Ejections, interval_s: float) -> None:
        self._members = members
        self._interval_s = interval_s
        self.next_at = inf

    def update(self, ids: Iterable[str], now: float) -> None:
        """Take the present members; the first interval begins with the first of them."""
        self._members.keep(ids)
        if self.next_at == inf:
            self.next_at = now + self._interval_s

    @abstractmethod
    def note(self, id_: str, status: int | None, now: float) -> bool:
        """Take an outcome, None for no response; return whether it ejected the member."""

    @abstractmethod
    def sweep(self, now: float) -> bool:
        """End ejections, judge the interval, begin the next; return whether anything changed."""

    def ejected(self, id_: str) -> str | None:
        """Return the rule by which a member is ejected; None if it is not."""
        return self._members.cause(id_)

    def release(self, id_: str, now: float) -> None:
        """Take a member back early: an active probe has found it healthy."""
        self._members.release_early(id_, now)


@dataclass(slots=True)
class Counts:
    """Numbers of outcomes in the present interval."""

    successes: int = 0
    failures: int = 0

    @property
    def volume(self) -> int:
        """The number of outcomes."""
        return self.successes + self.failures

    @property
    def success_ratio(self) -> float:
        """The share of successes; the volume must be above 0."""
        return self.successes / self.volume

    @property
    def failure_percent(self) -> float:
        """The share of failures in percent; the volume must be above 0."""
        return self.failures * 100 / self.volume


@dataclass(slots=True)
class Record:
    """One member's outcomes and ejections.

    Attributes:
        answers: outcomes of requests in the present interval.
        connects: whether requests got any response, if that is counted separately.
        in_a_row: failures in a row, by kind.
        ejected_at: the begin of the present ejection; None without one.
        returned_at: the end of the last ejection; infinite without one.
        times: the number of ejections, minus one per healthy interval; makes the next one longer.
        jitter_s: the random part of the present ejection's duration.
        cause: the rule that ejected it.
    """

    answers: Counts = field(default_factory=Counts)
    connects: Counts = field(default_factory=Counts)
    in_a_row: dict[str, int] = field(default_factory=dict)
    ejected_at: float | None = None
    returned_at: float = inf
    times: int = 0
    jitter_s: float = 0.0
    cause: str = ""

    def fails(self, kind: str, limit: int) -> bool:
        """Count one more failure in a row; return whether `limit` is reached (0: never)."""
        count = self.in_a_row[kind] = self.in_a_row.get(kind, 0) + 1
        if limit and count >= limit:
            self.in_a_row[kind] = 0
            return True
        return False


class Ejections:
    """The ledger of both variants: who is ejected, since when and how often. O(1) per member.

    Args:
        base_s: duration of the first ejection; the n-th takes n times as long.
        max_s: the longest duration, unless `base_s` is longer.
        max_times: the greatest number of ejections that is counted.

    Attributes:
        records: each present member's record, by id.
        count: how many are ejected.
    """

    def __init__(self, *, base_s: float, max_s: float, max_times: float = inf) -> None:
        self._base_s = base_s
        self._max_times = max_times
        self.max_s = max(base_s, max_s)
        self.records: dict[str, Record] = {}
        self.count = 0

    def __len__(self) -> int:
        return len(self.records)

    def __iter__(self) -> Iterator[Record]:
        return iter(self.records.values())

    def keep(self, ids: Iterable[str]) -> None:
        """Take the present members; those that stay keep their records."""
        self.records = {id_: self.records.get(id_) or Record() for id_ in ids}
        self.count = sum(record.ejected_at is not None for record in self)

    def eject(self, record: Record, now: float, cause: str, *, jitter_s: float = 0.0) -> None:
        """Eject a member that is not ejected."""
        record.ejected_at, record.cause, record.jitter_s = now, cause, jitter_s
        if record.times < self._max_times:
            record.times += 1
        self.count += 1

    def release(self, record: Record, now: float) -> None:
        """Take an ejected member back, and forget its failures in a row."""
        record.ejected_at, record.returned_at, record.cause = None, now, ""
        record.in_a_row.clear()
        self.count -= 1

    def cause(self, id_: str) -> str | None:
        """Return the rule by which a member is ejected; None if it is not."""
        record = self.records.get(id_)
        return (record.cause or None) if record else None

    def release_early(self, id_: str, now: float) -> None:
        """Take a member back before its time, if it is ejected."""
        record = self.records.get(id_)
        if record is not None and record.ejected_at is not None:
            self.release(record, now)

    def ends_at(self, record: Record) -> float:
        """Return when the ejection of a member ends."""
        assert record.ejected_at is not None
        return record.ejected_at + min(self._base_s * record.times, self.max_s) + record.jitter_s


def outlier_threshold(ratios: Collection[float], stdev_factor: float) -> float:
    """Return `mean - factor * stdev` of success ratios, with the population's deviation."""
    mean = sum(ratios) / len(ratios)
    variance = sum((ratio - mean) ** 2 for ratio in ratios) / len(ratios)
    return mean - stdev_factor * sqrt(variance)


def percent(ratio: float) -> float:
    """Return a share in percent, as both sources count, without the rounding of `0.07 * 100`."""
    return round(ratio * 100, 9)


_RATIOS = ("max_ejected_ratio", "failure_ratio_threshold")


def check_settings(settings: Any) -> None:
    """Refuse settings of outlier ejection that are out of range.

    Raises:
        ConfigurationError: naming the field, its value and its range.
    """
    for each in fields(settings):
        value = getattr(settings, each.name)
        if each.name == "failing_statuses" or isinstance(value, bool):
            continue
        if not value >= 0:  # so that a NaN fails too
            raise ConfigurationError(f"{each.name} is {value!r}; it must be 0 or more")
        if each.name in _RATIOS and value > 1:
            raise ConfigurationError(f"{each.name} is {value!r}; it must be from 0 to 1")
        if each.name in {"interval_s", "base_ejection_s"} and not value > 0:
            raise ConfigurationError(f"{each.name} is {value!r}; it must be above 0")
