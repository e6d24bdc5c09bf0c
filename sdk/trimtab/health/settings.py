"""How a client judges instances by itself: `HealthSettings`, and `SlowStart` within it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from trimtab.errors import ConfigurationError
from trimtab.health.envoy import EnvoyOutliers
from trimtab.health.grpc import GrpcOutliers

if TYPE_CHECKING:
    from collections.abc import Collection
    from random import Random

    from trimtab.health.outliers import OutlierDetector

__all__ = [
    "FAILING",
    "OUTLIER_VARIANTS",
    "OVERLOADED",
    "HealthSettings",
    "OutlierSettings",
    "SlowStart",
]

OutlierSettings: TypeAlias = EnvoyOutliers | GrpcOutliers

OUTLIER_VARIANTS = {"envoy": EnvoyOutliers, "grpc_a50": GrpcOutliers}
"""The variants of outlier ejection by name."""

FAILING = frozenset({429, *range(500, 1000)})
"""The statuses that count against an instance, unless `HealthSettings.caller_statuses` has them."""

OVERLOADED = frozenset({429, 503, 504})
"""Those of them that say that it has too much to do, and whose `Retry-After` is read."""

_ERRORS = range(400, 600)

_STEPS = 60
"""In how many steps a slow start raises the weight."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SlowStart:
    """Raise the weight of a newcomer, or of one that returns, from `min_ratio` to 1 in a window.

    `weight * max(min_ratio, (max(t, 1) / window)^(1 / aggression))`, t seconds after it came. It
    acts on the weights, so strategies without weights (`random`, `round_robin`) ignore it. The
    instances of the very first list have their whole weight at once, because the start of a client
    tells nothing about the age of its servers.

    Attributes:
        window_s: how long it takes, in seconds, above 0.
        aggression: above 0; values above 1 are faster at first.
        min_ratio: the least share, from 0 to 1.

    Raises:
        ConfigurationError: a value is out of range.

    Source: Envoy's slow start mode.
    """

    window_s: float = 60.0
    aggression: float = 1.0
    min_ratio: float = 0.1

    def __post_init__(self) -> None:
        for name in ("window_s", "aggression"):
            if not getattr(self, name) > 0:
                raise ConfigurationError(f"{name} is {getattr(self, name)!r}; it must be above 0")
        if not 0 <= self.min_ratio <= 1:
            raise ConfigurationError(f"min_ratio is {self.min_ratio!r}; it must be from 0 to 1")

    def factor(self, age_s: float) -> float:
        """Return the factor of an instance's weight, `age_s` seconds after it came."""
        if age_s >= self.window_s:
            return 1.0
        grown: float = (max(age_s, 1.0) / self.window_s) ** (1.0 / self.aggression)
        return min(max(self.min_ratio, grown), 1.0)

    @property
    def step_s(self) -> float:
        """How often weights are worked out again while an instance is starting."""
        return self.window_s / _STEPS


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthSettings:
    """What a client does about instances that fail while the registry lists them as healthy.

    Attributes:
        outliers: ejection of outliers: "envoy", "grpc_a50", settings of either, or None.
        panic_ratio: with fewer than this share of the instances left, all are used, because a bad
            instance does less harm than overloading the few good ones. 0: never. Source: Envoy.
        panic_includes_critical: whether panic also uses, and counts, instances that the registry
            lists as critical, as Envoy does. By default they stay out.
        slow_start: how newcomers and those that return get their share; None: at once.
        max_pause_s: an instance that answers 429, 503 or 504 with `Retry-After` gets no request for
            as long as it asks, and no longer than this. 0: `Retry-After` is ignored.
        caller_statuses: statuses from 400 to 599 that are about the caller and not about the
            instance, such as {429} where each tenant has a quota. They count as any good answer:
            no failure, no pause, no ejection, no smaller limit. Where `RetryPolicy` repeats them,
            their `Retry-After` applies to every instance.

    Raises:
        ConfigurationError: a value is out of range, or there is no such variant.
    """

    outliers: OutlierSettings | str | None = None
    panic_ratio: float = 0.5
    panic_includes_critical: bool = False
    slow_start: SlowStart | None = None
    max_pause_s: float = 60.0
    caller_statuses: Collection[int] = frozenset()

    def __post_init__(self) -> None:
        if not 0 <= self.panic_ratio <= 1:
            raise ConfigurationError(f"panic_ratio is {self.panic_ratio!r}; it must be from 0 to 1")
        if not self.max_pause_s >= 0:
            raise ConfigurationError(f"max_pause_s is {self.max_pause_s!r}; it must be 0 or more")
        if not isinstance(self.slow_start, SlowStart | None):
            raise ConfigurationError(f"slow_start is {self.slow_start!r}; write SlowStart(...)")
        object.__setattr__(self, "caller_statuses", frozenset(self.caller_statuses))
        for status in self.caller_statuses:
            if status not in _ERRORS:
                raise ConfigurationError(
                    f"caller_statuses has {status!r}; each must be from 400 to 599"
                )
        if isinstance(self.outliers, str):
            if self.outliers not in OUTLIER_VARIANTS:
                raise ConfigurationError(
                    f"outliers is {self.outliers!r}; known are {', '.join(OUTLIER_VARIANTS)}"
                )
            object.__setattr__(self, "outliers", OUTLIER_VARIANTS[self.outliers]())
        elif not isinstance(self.outliers, EnvoyOutliers | GrpcOutliers | None):
            raise ConfigurationError(
                f"outliers is {self.outliers!r}; write 'envoy', 'grpc_a50', EnvoyOutliers(...) or "
                "GrpcOutliers(...)"
            )

    @property
    def failing(self) -> frozenset[int]:
        """The statuses that count against an instance."""
        return FAILING.difference(self.caller_statuses)

    @property
    def overloaded(self) -> frozenset[int]:
        """The statuses that say that an instance has too much to do."""
        return OVERLOADED.difference(self.caller_statuses)

    def detector(self, rng: Random) -> OutlierDetector | None:
        """Make the detector of outliers, or None without one."""
        outliers = self.outliers
        return None if outliers is None or isinstance(outliers, str) else outliers.detector(rng)
