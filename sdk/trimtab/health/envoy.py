"""Outlier ejection, the variant of Envoy."""

from __future__ import annotations

from math import ceil, inf
from typing import TYPE_CHECKING

from trimtab.health.ejections import Counts, Ejections, outlier_threshold, percent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from random import Random

    from trimtab.health.ejections import Record
    from trimtab.health.outliers import EnvoyOutliers

__all__ = ["EnvoyDetector"]

_GATEWAY_STATUSES = frozenset({502, 503, 504})


class EnvoyDetector:
    """Ejects at once after failures in a row; judges ratios and ends ejections at intervals.

    Args:
        settings: see `EnvoyOutliers`.
        rng: the source of chance, for the jitter.
    """

    def __init__(self, settings: EnvoyOutliers, rng: Random) -> None:
        self._settings = settings
        self._rng = rng
        self._members = Ejections(
            base_s=settings.base_ejection_s,
            max_s=settings.max_ejection_s,
            # One beyond where the longest begins, as Envoy counts: a first healthy interval after
            # it does not shorten the next.
            max_times=max(ceil(settings.max_ejection_s / settings.base_ejection_s), 1) + 1,
        )
        self.next_at = inf

    def update(self, ids: Iterable[str], now: float) -> None:
        """Know exactly these members; the first interval begins with the first of them."""
        self._members.keep(ids)
        if self.next_at == inf:
            self.next_at = now + self._settings.interval_s

    def note(self, id_: str, status: int | None, now: float) -> bool:
        """Take an outcome, None for no response; say whether that ejected the member."""
        record = self._members.get(id_)
        if record is None:
            return False
        if self._settings.split_local:
            if status is None:
                return self._local_failure(record, now)
            record.connects.successes += 1
            record.in_a_row["local"] = 0
        if status is None or status in self._settings.failing_statuses:
            return self._failure(record, now, gateway=status in {None, *_GATEWAY_STATUSES})
        record.answers.successes += 1
        record.in_a_row["failures"] = record.in_a_row["gateway"] = 0
        return False

    def sweep(self, now: float) -> bool:
        """End what is over, judge the interval, begin the next; say whether anything changed."""
        changed = self._end_ejections(now)
        changed |= self._judge(lambda record: record.answers, now)
        if self._settings.split_local:
            changed |= self._judge(lambda record: record.connects, now)
        for record in self._members:
            record.answers, record.connects = Counts(), Counts()
            # A healthy interval is a whole one since the last ejection ended.
            if record.ejected_at is None and record.returned_at + self._settings.interval_s <= now:
                record.times = max(record.times - 1, 0)
        self.next_at = now + self._settings.interval_s
        return changed

    def ejected(self, id_: str) -> str | None:
        """Return the rule by which a member is ejected; None when it is not."""
        return self._members.cause(id_)

    def release(self, id_: str, now: float) -> None:
        """Take a member back before its time."""
        self._members.release_early(id_, now)

    def _local_failure(self, record: Record, now: float) -> bool:
        record.connects.failures += 1
        limit = self._settings.consecutive_local_failures
        return record.fails("local", limit) and self._eject(record, now, "no response in a row")

    def _failure(self, record: Record, now: float, *, gateway: bool) -> bool:
        settings = self._settings
        record.answers.failures += 1
        is_out = False
        if not gateway:
            record.in_a_row["gateway"] = 0
        elif record.fails("gateway", settings.consecutive_gateway_failures):
            is_out = self._eject(record, now, "gateway failures in a row")
        if record.fails("failures", settings.consecutive_failures):
            is_out |= self._eject(record, now, "failures in a row")
        return is_out

    def _end_ejections(self, now: float) -> bool:
        changed = False
        for record in self._members:
            if record.ejected_at is not None and self._members.ends_at(record) <= now:
                self._members.release(record, now)
                changed = True
        return changed

    def _judge(self, counts: Callable[[Record], Counts], now: float) -> bool:
        settings, changed = self._settings, False
        # Both are chosen before either ejects: who goes by the one rule still makes up the
        # numbers of the other.
        by_rate = self._judged(
            counts, settings.success_rate_min_requests, settings.success_rate_min_hosts
        )
        by_failures = self._judged(
            counts, settings.failure_ratio_min_requests, settings.failure_ratio_min_hosts
        )
        if settings.success_rate and by_rate:
            ratios = [counts(record).success_ratio for record in by_rate]
            least = outlier_threshold(ratios, settings.success_rate_stdev_factor)
            for record, ratio in zip(by_rate, ratios, strict=True):
                changed |= ratio < least and self._eject(record, now, "success rate")
        if settings.failure_ratio:
            for record in by_failures:
                if counts(record).failure_percent >= percent(settings.failure_ratio_threshold):
                    changed |= self._eject(record, now, "failure ratio")
        return changed

    def _judged(
        self, counts: Callable[[Record], Counts], volume: int, min_hosts: int
    ) -> list[Record]:
        """Return the members with enough requests, if those are enough members."""
        judged = [
            record
            for record in self._members
            if record.ejected_at is None and counts(record).volume >= max(volume, 1)
        ]
        return judged if len(judged) >= min_hosts else []

    def _eject(self, record: Record, now: float, cause: str) -> bool:
        if record.ejected_at is not None or not self._has_room():
            return False
        jitter_s = self._settings.max_ejection_jitter_s * self._rng.random()
        self._members.eject(record, now, cause, jitter_s=jitter_s)
        return True

    def _has_room(self) -> bool:
        if self._settings.always_eject_one and not self._members.count:
            return True
        share = (self._members.count + 1) * 100 / len(self._members)
        return share <= percent(self._settings.max_ejected_ratio)
