"""Who is ejected, since when and how often: the ledger that both variants of detection keep."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf, sqrt
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

__all__ = ["Counts", "Ejections", "Record", "outlier_threshold", "percent"]


@dataclass(slots=True)
class Counts:
    """Outcomes within the present interval."""

    successes: int = 0
    failures: int = 0

    @property
    def volume(self) -> int:
        """How many there were."""
        return self.successes + self.failures

    @property
    def success_ratio(self) -> float:
        """The share of successes; only where there is a volume."""
        return self.successes / self.volume

    @property
    def failure_percent(self) -> float:
        """The share of failures in percent; only where there is a volume."""
        return self.failures * 100 / self.volume


@dataclass(slots=True)
class Record:
    """One member's outcomes and ejections.

    Attributes:
        answers: outcomes of requests, in the present interval.
        connects: whether requests got any answer, where that is counted apart.
        in_a_row: failures in a row, by kind.
        ejected_at: since when it is ejected; None when it is not.
        returned_at: when the last ejection ended; never, if there was none.
        times: ejections, less one per healthy interval; they make the next one longer.
        jitter_s: what chance adds to the present ejection.
        cause: which rule ejected it.
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
        """Count one more failure in a row; say whether that makes `limit` (0: never)."""
        count = self.in_a_row[kind] = self.in_a_row.get(kind, 0) + 1
        if limit and count >= limit:
            self.in_a_row[kind] = 0
            return True
        return False


class Ejections:
    """Records by member id. O(1) but for what names all of them.

    Args:
        base_s: how long the first ejection lasts; the n-th lasts n times as long.
        max_s: the longest that one lasts, unless `base_s` is longer.
        max_times: where counting ejections stops.
    """

    def __init__(self, *, base_s: float, max_s: float, max_times: float = inf) -> None:
        self._base_s = base_s
        self._max_times = max_times
        self.max_s = max(base_s, max_s)
        self._records: dict[str, Record] = {}
        self.count = 0

    def __len__(self) -> int:
        return len(self._records)

    def __iter__(self) -> Iterator[Record]:
        return iter(self._records.values())

    def keep(self, ids: Iterable[str]) -> None:
        """Know exactly these members; those that stay keep their records."""
        self._records = {id_: self._records.get(id_) or Record() for id_ in ids}
        self.count = sum(record.ejected_at is not None for record in self)

    def get(self, id_: str) -> Record | None:
        """Return a member's record; None when it is not in the list (any more)."""
        return self._records.get(id_)

    def eject(self, record: Record, now: float, cause: str, *, jitter_s: float = 0.0) -> None:
        """Eject a member that is not."""
        record.ejected_at, record.cause, record.jitter_s = now, cause, jitter_s
        if record.times < self._max_times:
            record.times += 1
        self.count += 1

    def release(self, record: Record, now: float) -> None:
        """Take an ejected member back, with its failures in a row forgotten."""
        record.ejected_at, record.returned_at, record.cause = None, now, ""
        record.in_a_row.clear()
        self.count -= 1

    def cause(self, id_: str) -> str | None:
        """Return the rule by which a member is ejected; None when it is not."""
        record = self._records.get(id_)
        return (record.cause or None) if record else None

    def release_early(self, id_: str, now: float) -> None:
        """Take a member back before its time, if it is ejected."""
        record = self._records.get(id_)
        if record is not None and record.ejected_at is not None:
            self.release(record, now)

    def ends_at(self, record: Record) -> float:
        """Tell until when an ejected member stays out."""
        assert record.ejected_at is not None
        return record.ejected_at + min(self._base_s * record.times, self.max_s) + record.jitter_s


def outlier_threshold(ratios: Collection[float], stdev_factor: float) -> float:
    """Return `mean - factor * stdev` of success ratios, with the population's deviation."""
    mean = sum(ratios) / len(ratios)
    variance = sum((ratio - mean) ** 2 for ratio in ratios) / len(ratios)
    return mean - stdev_factor * sqrt(variance)


def percent(ratio: float) -> float:
    """Return a share in percent, as both sources reckon, free of the rounding of `0.07 * 100`."""
    return round(ratio * 100, 9)
