"""Outlier ejection, the variant of gRPC (gRFC A50)."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

from trimtab.health.ejections import Counts, Ejections, outlier_threshold, percent

if TYPE_CHECKING:
    from collections.abc import Iterable

    from trimtab.health.ejections import Record
    from trimtab.health.outliers import GrpcOutliers

__all__ = ["GrpcDetector"]


class GrpcDetector:
    """Judges and ends ejections at intervals only.

    Args:
        settings: see `GrpcOutliers`.
    """

    def __init__(self, settings: GrpcOutliers) -> None:
        self._settings = settings
        self._members = Ejections(base_s=settings.base_ejection_s, max_s=settings.max_ejection_s)
        self.next_at = inf

    def update(self, ids: Iterable[str], now: float) -> None:
        """Know exactly these members; the first interval begins with the first of them."""
        self._members.keep(ids)
        if self.next_at == inf:
            self.next_at = now + self._settings.interval_s

    def note(self, id_: str, status: int | None, now: float) -> bool:  # noqa: ARG002 - the protocol's
        """Take an outcome, None for no response; nothing is decided before the interval ends."""
        record = self._members.get(id_)
        if record is not None:
            if status is None or status in self._settings.failing_statuses:
                record.answers.failures += 1
            else:
                record.answers.successes += 1
        return False

    def sweep(self, now: float) -> bool:
        """Judge the interval, end what is over, begin the next; say whether anything changed."""
        changed = self._judge_success_rates(now) | self._judge_failure_ratios(now)
        for record in self._members:
            record.answers = Counts()
            if record.ejected_at is None:
                record.times = max(record.times - 1, 0)
            elif self._members.ends_at(record) < now:
                self._members.release(record, now)
                changed = True
        self.next_at = now + self._settings.interval_s
        return changed

    def ejected(self, id_: str) -> str | None:
        """Return the rule by which a member is ejected; None when it is not."""
        return self._members.cause(id_)

    def release(self, id_: str, now: float) -> None:
        """Take a member back before its time."""
        self._members.release_early(id_, now)

    def _judge_success_rates(self, now: float) -> bool:
        settings, changed = self._settings, False
        judged = self._with_volume(settings.success_rate_min_requests)
        if not settings.success_rate or len(judged) < max(settings.success_rate_min_hosts, 1):
            return False
        ratios = [record.answers.success_ratio for record in judged]
        least = outlier_threshold(ratios, settings.success_rate_stdev_factor)
        for record, ratio in zip(judged, ratios, strict=True):
            if ratio < least:
                changed |= self._eject(record, now, "success rate")
        return changed

    def _judge_failure_ratios(self, now: float) -> bool:
        settings, changed = self._settings, False
        if not settings.failure_ratio or len(self._members) < settings.failure_ratio_min_hosts:
            return False
        for record in self._with_volume(settings.failure_ratio_min_requests):
            if record.answers.failure_percent > percent(settings.failure_ratio_threshold):
                changed |= self._eject(record, now, "failure ratio")
        return changed

    def _with_volume(self, volume: int) -> list[Record]:
        return [record for record in self._members if record.answers.volume >= max(volume, 1)]

    def _eject(self, record: Record, now: float, cause: str) -> bool:
        share = self._members.count * 100 / len(self._members)
        if record.ejected_at is not None or share >= percent(self._settings.max_ejected_ratio):
            return False
        self._members.eject(record, now, cause)
        return True
