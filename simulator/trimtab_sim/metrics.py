"""The figures by which replications are compared: one number per run each."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from trimtab_sim.errors import ScenarioError

if TYPE_CHECKING:
    from collections.abc import Callable

    from trimtab_sim.figures import Figures

__all__ = ["METRICS", "Metric", "Unit", "formatted", "metric"]

Unit: TypeAlias = Literal["s", "share", "number"]

_MANY_NINES = 0.999


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One number of a run.

    Attributes:
        name: in the Python API and for `--metric`.
        label: in tables and pictures.
        unit: seconds, a share of one, or a plain number.
        value: reads it from a run's figures; None where the run has no value.
        is_skewed: whether its intervals are bootstrapped; Student's otherwise.
        is_better_high: whether higher is better.
    """

    name: str
    label: str
    unit: Unit
    value: Callable[[Figures], float | None]
    is_skewed: bool = False
    is_better_high: bool = False


def _failed(run: Figures) -> float:
    return float(run.requests - run.successes)


_ALL = (
    Metric(
        name="success_ratio",
        label="success",
        unit="share",
        value=lambda run: run.success_ratio,
        is_better_high=True,
    ),
    Metric(name="failed", label="failed", unit="number", value=_failed),
    Metric(name="mean", label="mean", unit="s", value=lambda run: run.mean),
    Metric(name="p50", label="p50", unit="s", value=lambda run: run.p50),
    Metric(name="p90", label="p90", unit="s", value=lambda run: run.p90),
    Metric(name="p99", label="p99", unit="s", value=lambda run: run.p99, is_skewed=True),
    Metric(name="p999", label="p99.9", unit="s", value=lambda run: run.p999, is_skewed=True),
    Metric(name="max", label="max", unit="s", value=lambda run: run.max, is_skewed=True),
    Metric(
        name="retries_per_request",
        label="retries/request",
        unit="number",
        value=lambda run: run.retries_per_request,
    ),
    Metric(
        name="fairness",
        label="busiest/fair",
        unit="number",
        value=lambda run: run.fairness,
        is_skewed=True,
    ),
    Metric(
        name="converged",
        label="last view right",
        unit="s",
        value=lambda run: run.convergence.slowest_s if run.convergence.changes else None,
        is_skewed=True,
    ),
    Metric(
        name="traffic_off_dead",
        label="traffic off dead",
        unit="s",
        value=lambda run: run.traffic_off_dead_s if any(s.ends for s in run.servers) else None,
        is_skewed=True,
    ),
    Metric(
        name="late_sends",
        label="sent to dead",
        unit="number",
        value=lambda run: float(run.late_sends) if any(s.ends for s in run.servers) else None,
    ),
)
METRICS: dict[str, Metric] = {one.name: one for one in _ALL}
"""All of them by name, in the order of tables."""


def metric(name: str) -> Metric:
    """Return the metric of this name.

    Raises:
        ScenarioError: the name is unknown.
    """
    if name not in METRICS:
        raise ScenarioError(f"unknown figure {name!r}; known are {', '.join(METRICS)}")
    return METRICS[name]


def formatted(value: float | None, unit: Unit, *, half_width: float | None = None) -> str:
    """Format a number for people: `12.3 ms`, `99.95 %`, `1.07`, `14 ±0.52 ms`, or a dash."""
    if value is None or math.isnan(value):
        return "-"
    scale, sign = _scale(value, unit)
    number = f"{value * scale:.{_digits(value, unit)}g}"
    if half_width is not None and math.isfinite(half_width):
        # More than two digits of an uncertainty mean nothing.
        number += f" ±{half_width * scale:.2g}"
    return f"{number} {sign}".rstrip()


def _scale(value: float, unit: Unit) -> tuple[float, str]:
    if unit == "s":
        return (1000.0, "ms") if abs(value) < 1 else (1.0, "s")
    return (100.0, "%") if unit == "share" else (1.0, "")


def _digits(value: float, unit: Unit) -> int:
    if unit == "s":
        return 3
    # In a share of successes the digits after the nines matter.
    return 6 if unit == "share" and _MANY_NINES < value < 1 else 4
