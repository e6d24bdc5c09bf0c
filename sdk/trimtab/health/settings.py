"""How a client judges instances for itself, as one frozen value."""

from __future__ import annotations

from dataclasses import dataclass

from trimtab.errors import ConfigurationError
from trimtab.health.outliers import EnvoyOutliers, GrpcOutliers, OutlierSettings
from trimtab.health.slow_start import SlowStart

__all__ = ["OUTLIER_VARIANTS", "HealthSettings"]

OUTLIER_VARIANTS = {"envoy": EnvoyOutliers, "grpc_a50": GrpcOutliers}
"""The variants of outlier ejection by name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthSettings:
    """What a client does about instances that the registry calls healthy and that are not.

    Attributes:
        outliers: ejection of outliers: "envoy", "grpc_a50", settings of either, or None.
        panic_ratio: when fewer than this share of the instances are left, all are used: better
            a bad instance than a few good ones crushed by everything. 0: never. Source: Envoy.
        panic_includes_critical: whether panic also uses, and counts, what the registry calls
            critical, as Envoy does. By default the registry's word stands.
        slow_start: how newcomers and those that return get their share; None: at once.
        max_pause_s: an instance that answers 429, 503 or 504 with `Retry-After` gets nothing for so
            long as it asks, and no longer than this. 0: it is not heeded.

    Raises:
        ConfigurationError: a value is out of range, or there is no such variant.
    """

    outliers: OutlierSettings | str | None = None
    panic_ratio: float = 0.5
    panic_includes_critical: bool = False
    slow_start: SlowStart | None = None
    max_pause_s: float = 60.0

    def __post_init__(self) -> None:
        if not 0 <= self.panic_ratio <= 1:
            raise ConfigurationError(f"panic_ratio is {self.panic_ratio!r}; it must be from 0 to 1")
        if not self.max_pause_s >= 0:
            raise ConfigurationError(f"max_pause_s is {self.max_pause_s!r}; it must be 0 or more")
        if not isinstance(self.slow_start, SlowStart | None):
            raise ConfigurationError(f"slow_start is {self.slow_start!r}; write SlowStart(...)")
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
