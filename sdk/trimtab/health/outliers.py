"""Outlier ejection: settings of the two named variants, and what a detector is.

They differ where it matters, so each is exact and the choice is the user's. Envoy ejects at once
after failures in a row, and never beyond its limit: with the default of 10 % it ejects nobody in
a fleet of fewer than ten. gRPC judges at intervals only, and stops ejecting once the limit is
reached: it always may eject one.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from trimtab.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

__all__ = ["SERVER_ERRORS", "EnvoyOutliers", "GrpcOutliers", "OutlierDetector", "OutlierSettings"]

SERVER_ERRORS = frozenset(range(500, 600))
"""The statuses that count as failures unless told otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvoyOutliers:
    """Eject as Envoy does.

    Attributes:
        consecutive_failures: ejected at once after so many failing statuses in a row, with
            requests that got no response among them unless those are counted apart; 0: never.
        consecutive_gateway_failures: the same for 502, 503, 504 and no response; 0: never,
            which is Envoy's default (detected, not enforced).
        split_local: count requests that got no response (refused, broken, timed out) apart.
        consecutive_local_failures: ejected after so many of those in a row; only with
            `split_local`. 0: never.
        interval_s: how often ejections end, and ratios are judged.
        base_ejection_s, max_ejection_s: the n-th ejection lasts `min(base * n, max)`; n falls by
            one per whole interval without ejection.
        max_ejection_jitter_s: chance adds up to so much.
        max_ejected_ratio: nobody is ejected who would make the ejected more than this share.
        always_eject_one: one may be ejected whatever the share.
        success_rate: eject whose success ratio is below `mean - factor * stdev` of the interval.
        success_rate_stdev_factor, success_rate_min_hosts, success_rate_min_requests: the factor;
            how many members must have how many requests within the interval.
        failure_ratio: eject whose failure ratio is at least `failure_ratio_threshold`; off by
            default.
        failure_ratio_threshold, failure_ratio_min_hosts, failure_ratio_min_requests: as above.
        failing_statuses: which statuses are failures.

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
        _check(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class GrpcOutliers:
    """Eject as gRPC does (gRFC A50): at intervals, by success ratio and failure ratio.

    Attributes:
        interval_s: how often members are judged, and ejections end.
        base_ejection_s, max_ejection_s: the n-th ejection lasts `min(base * n, max)`; n falls by
            one per interval without ejection.
        max_ejected_ratio: nobody is ejected any more once this share is.
        success_rate: eject whose success ratio is below `mean - factor * stdev` of the interval.
        success_rate_stdev_factor, success_rate_min_hosts, success_rate_min_requests: the factor;
            how many members must have how many requests within the interval.
        failure_ratio: eject whose failure ratio is above `failure_ratio_threshold`.
        failure_ratio_threshold, failure_ratio_min_hosts, failure_ratio_min_requests: as above;
            here the members count whatever their requests.
        failing_statuses: which statuses are failures; no response always is one.

    Raises:
        ConfigurationError: a value is out of range.

    Source: grpc/proposal, A50-xds-outlier-detection. Where its text and grpc-go part (`>` and
    `>=` at the limit), grpc-go is followed. Deviations: enforcement is all or nothing; a member
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
        _check(self)


OutlierSettings: TypeAlias = EnvoyOutliers | GrpcOutliers


class OutlierDetector(Protocol):
    """Decides who is ejected; pure, on the caller's clock. O(1) per outcome, O(n) per interval.

    Attributes:
        next_at: when `sweep` is due.
    """

    next_at: float

    def update(self, ids: Iterable[str], now: float) -> None:
        """Know exactly these members; those that stay keep their records."""
        ...

    def note(self, id_: str, status: int | None, now: float) -> bool:
        """Take an outcome, None for no response; say whether that ejected the member."""
        ...

    def sweep(self, now: float) -> bool:
        """End what is over, judge the interval, begin the next; say whether anything changed."""
        ...

    def ejected(self, id_: str) -> str | None:
        """Return the rule by which a member is ejected; None when it is not."""
        ...

    def release(self, id_: str, now: float) -> None:
        """Take a member back before its time: an active probe has found it well."""
        ...


_RATIOS = ("max_ejected_ratio", "failure_ratio_threshold")


def _check(settings: Any) -> None:
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
