"""Health: which instances may be picked, by the registry's report and by this client's own view.

`settings` is what users choose; `monitor` applies it for a pool, and has the reasons. `envoy` and
`grpc` are the two variants of outlier ejection, over `outliers`, which they share. `probing` says
when to probe and when to believe the results. No I/O, no clock.
"""

from __future__ import annotations

from trimtab.health.envoy import EnvoyOutliers
from trimtab.health.grpc import GrpcOutliers
from trimtab.health.monitor import Monitor, Reason, reason_against
from trimtab.health.settings import OUTLIER_VARIANTS, OVERLOADED, HealthSettings, SlowStart

__all__ = [
    "OUTLIER_VARIANTS",
    "OVERLOADED",
    "EnvoyOutliers",
    "GrpcOutliers",
    "HealthSettings",
    "Monitor",
    "Reason",
    "SlowStart",
    "reason_against",
]
