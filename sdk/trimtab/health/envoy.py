"""Outlier ejection as in Envoy: the settings and the detector."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
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
    from collections.abc import Callable, Collection
    from random import Random

    from trimtab.health.outliers import Record

__all__ = ["EnvoyDetector", "EnvoyOutliers"]

_GATEWAY_STATUSES = frozenset({502, 503, 504})


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvoyOutliers:
    """Eject as Envoy does.

    Attributes:
        consecutive_failures: eject at once after this number of failures in a row: failing
            statuses and, unless `split_local` is set, requests without a response. 0: never.
        consecutive_gateway_failures: the same for 502, 503, 504 and no response; 0: never,
            which is Envoy's default (detected, not enforced).
        split_local: count requests without a response (refused, broken, timed out) separately.
        consecutive_local_failures: eject after this number of those in a row; only with
            `split_local`. 0: never.
        interval_s: how often ejections end, and ratios are judged.
        base_ejection_s, max_ejection_s: the n-th ejection lasts `min(base * n, max)`; n falls by
            one per whole interval without ejection.
        max_ejection_jitter_s: the greatest random addition to a duration.
        max_ejected_ratio: an ejection that would raise the ejected share above this is skipped.
            With the default, none of fewer than ten members is ejected; a warning is logged once.
        always_eject_one: one may be ejected whatever the share.
        success_rate: eject members with a success ratio below `mean - factor * stdev` of the
            interval.
        success_rate_stdev_factor, success_rate_min_hosts, success_rate_min_requests: the factor;
            how many members must have how many requests within the interval.
        failure_ratio: eject members with a failure ratio of at least `failure_ratio_threshold`;
            off by default.
        failure_ratio_threshold, failure_ratio_min_hosts, failure_ratio_min_requests: as above.
        failing_statuses: the statuses that are failures.

    Raises:
        ConfigurationError: a value is out of range.

    Source: envoyproxy/envoy, outlier_detection_impl.cc, and its documentation of
    `config.cluster.v3.OutlierDetection`. Deviations: enforcement is all or nothing; a member that
    is ejected by one rule is not ejected a second time by another.
    """

    consecutive_failures: int = 5
    consecutive_gateway_failures: int = 0
    split_local: bool = False
    consecutive_local_failures: int = 5
    interval_s: float = 10.0
    base_ejection_s: float = 30.0
    max_ejection_s: float = 300.0
    max_ejection_jitter_s: float = 0.0
    max_ejected_ratio: float = 0.1
    always_eject_one: bool = False
    success_rate: bool = True
    success_rate_stdev_factor: float = 1.9
    success_rate_min_hosts: int = 5
    success_rate_min_requests: int = 100
    failure_ratio: bool = False
    failure_ratio_threshold: float = 0.85
    failure_ratio_min_hosts: int = 5
    failure_ratio_min_requests: int = 50
    failing_statuses: Collection[int] = SERVER_ERRORS

    def __post_init__(self) -> None:
        check_settings(self)

    def why_never(self, members: int) -> str | None:
        """Return why none of so many members can be ejected, or None if one can.

        A single member is never missed, and a ratio of 0 is somebody's wish.
        """
        least_percent = 100 / members if members > 1 else 0
        allowed = percent(self.max_ejected_ratio)
        if self.always_eject_one or not 0 < allowed < least_percent:
            return None
        return (
            f"Envoy's outlier ejection ejects none of {members} instances: one of them is more "
            f"than max_ejected_ratio={self.max_ejected_ratio:g}; use outliers='grpc_a50', or "
            "EnvoyOutliers(always_eject_one=True)"
        )

    def detector(self, rng: Random) -> EnvoyDetector:
        """Make the detector; `rng` draws the jitter."""
        return EnvoyDetector(self, rng)


class EnvoyDetector(OutlierDetector):
    """Ejects at once after failures in a row; judges ratios and ends ejections at intervals.

    Args:
        settings: see `EnvoyOutliers`.
        rng: draws the jitter.
    """

    def __init__(self, settings: EnvoyOutliers, rng: Random) -> None:
        # One more than the longest ejection needs, as in Envoy: the first healthy interval after it
        # does not make the next one shorter.
        max_times = max(ceil(settings.max_ejection_s / settings.base_ejection_s), 1) + 1
        members = Ejections(
            base_s=settings.base_ejection_s, max_s=settings.max_ejection_s, max_times=max_times
        )
        super().__init__(members, settings.interval_s)
        self._settings = settings
        self._rng = rng

    def note(self, id_: str, status: int | None, now: float) -> bool:
        """Take an outcome, None for no response; return whether it ejected the member."""
        record = self._members.records.get(id_)
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
        """End ejections, judge the interval, begin the next; return whether anything changed."""
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
        # Both groups are formed before either rule ejects: a member that one rule ejects still
        # counts for the other.
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
        """Return the members with enough requests; none, if they are too few members."""
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
