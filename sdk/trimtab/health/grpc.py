"""Outlier ejection as in gRPC (gRFC A50): the settings and the detector."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from trimtab.health.outliers import (
    SERVER_ERRORS,
    Counts,
    Ejections,
    OutlierDetector,
    check_settings,
    outlier_threshold,
    percent,
)

if TYPE_CHECKING:
    from collections.abc import Collection
    from random import Random

    from trimtab.health.outliers import Record

__all__ = ["GrpcDetector", "GrpcOutliers"]


@dataclass(frozen=True, slots=True, kw_only=True)
class GrpcOutliers:
    """Eject as gRPC does (gRFC A50): at intervals, by success ratio and failure ratio.

    Attributes:
        interval_s: how often members are judged, and ejections end.
        base_ejection_s, max_ejection_s: the n-th ejection lasts `min(base * n, max)`; n falls by
            one per interval without ejection.
        max_ejected_ratio: once this share is ejected, no more are.
        success_rate: eject members with a success ratio below `mean - factor * stdev` of the
            interval.
        success_rate_stdev_factor, success_rate_min_hosts, success_rate_min_requests: the factor;
            how many members must have how many requests within the interval.
        failure_ratio: eject members with a failure ratio above `failure_ratio_threshold`.
        failure_ratio_threshold, failure_ratio_min_hosts, failure_ratio_min_requests: as above;
            here all members count towards the number, whatever their requests.
        failing_statuses: the statuses that are failures; no response always is one.

    Raises:
        ConfigurationError: a value is out of range.

    Source: grpc/proposal, A50-xds-outlier-detection. Where its text and grpc-go differ (`>`
    and `>=` at the limit), grpc-go is followed. Deviations: enforcement is all or nothing; a member
    that is ejected is not judged a second time.
    """

    interval_s: float = 10.0
    base_ejection_s: float = 30.0
    max_ejection_s: float = 300.0
    max_ejected_ratio: float = 0.1
    success_rate: bool = True
    success_rate_stdev_factor: float = 1.9
    success_rate_min_hosts: int = 5
    success_rate_min_requests: int = 100
    failure_ratio: bool = True
    failure_ratio_threshold: float = 0.85
    failure_ratio_min_hosts: int = 5
    failure_ratio_min_requests: int = 50
    failing_statuses: Collection[int] = SERVER_ERRORS

    def __post_init__(self) -> None:
        check_settings(self)

    def detector(self, rng: Random) -> GrpcDetector:  # noqa: ARG002 - Envoy's needs it
        """Make the detector; `rng` draws the jitter of the other variant."""
        return GrpcDetector(self)


class GrpcDetector(OutlierDetector):
    """Judges and ends ejections at intervals only.

    Args:
        settings: see `GrpcOutliers`.
    """

    def __init__(self, settings: GrpcOutliers) -> None:
        members = Ejections(base_s=settings.base_ejection_s, max_s=settings.max_ejection_s)
        super().__init__(members, settings.interval_s)
        self._settings = settings

    def note(self, id_: str, status: int | None, now: float) -> bool:  # noqa: ARG002 - needed by Envoy's
        """Count an outcome, None for no response; decisions come at the end of the interval."""
        record = self._members.records.get(id_)
        if record is not None:
            if status is None or status in self._settings.failing_statuses:
                record.answers.failures += 1
            else:
                record.answers.successes += 1
        return False

    def sweep(self, now: float) -> bool:
        """Judge the interval, end ejections, begin the next; return whether anything changed."""
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
