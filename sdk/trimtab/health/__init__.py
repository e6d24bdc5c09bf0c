"""Which instances may be picked: what the registry says, and what this client sees for itself.

Decisions only: no I/O, no clock of their own.
"""

from __future__ import annotations

from trimtab.health.eligibility import Reason, reason_against
from trimtab.health.monitor import Monitor
from trimtab.health.outliers import EnvoyOutliers, GrpcOutliers
from trimtab.health.settings import OUTLIER_VARIANTS, HealthSettings
from trimtab.health.slow_start import SlowStart

__all__ = [
    "OUTLIER_VARIANTS",
    "EnvoyOutliers",
    "GrpcOutliers",
    "HealthSettings",
    "Monitor",
    "Reason",
    "SlowStart",
    "reason_against",
]
