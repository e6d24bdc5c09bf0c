"""Tables of the report's page: cells with a text, an uncertainty and an emphasis."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from trimtab_sim.metrics import METRICS, Metric, formatted, metric

if TYPE_CHECKING:
    from trimtab_sim.metrics import Unit
    from trimtab_sim.result import Result
    from trimtab_sim.statistics import Interval

__all__ = ["Cell", "Grid", "differences_grid", "half_width", "metrics_grid"]

_NOT_SHOWN = ("max", "late_sends")


@dataclass(frozen=True, slots=True)
class Cell:
    """A text, half the width of its interval, and a CSS class."""

    text: str
    error: str = ""
    style: str = ""


@dataclass(frozen=True, slots=True)
class Grid:
    """A table of cells."""

    headings: list[str]
    rows: list[list[Cell]] = field(default_factory=list)

    @classmethod
    def of_texts(cls, headings: list[str], rows: list[list[str]]) -> Grid:
        """Make a table of plain texts."""
        return cls(headings, [[Cell(text) for text in row] for row in rows])


def metrics_grid(result: Result) -> Grid:
    """Return a table: figures by strategies, with intervals."""
    rows = [
        [Cell(one.label), *(_value(result, strategy, one) for strategy in result.strategies)]
        for one in _known(result)
    ]
    return Grid(["figure", *result.strategies], rows)


def differences_grid(result: Result) -> Grid:
    """Return a table: the paired difference of each other strategy to the first one."""
    first, *others = result.strategies
    rows = [
        [
            Cell(one.label),
            *(_difference(result.difference(other, first, one.name), one.unit) for other in others),
        ]
        for one in _known(result)
        if others
    ]
    return Grid([f"difference to {first}", *others], rows)


def _known(result: Result) -> list[Metric]:
    """Return the figures that have a value in at least one run."""
    return [
        metric(name)
        for name in METRICS
        if name not in _NOT_SHOWN
        and any(not np.isnan(result.values(one, name)).all() for one in result.strategies)
    ]


def _value(result: Result, strategy: str, one: Metric) -> Cell:
    found = result.interval(strategy, one.name)
    if found is None:
        values = result.values(strategy, one.name)
        known = values[~np.isnan(values)]
        return Cell(formatted(float(known.mean()) if len(known) else None, one.unit))
    return Cell(formatted(found.estimate, one.unit), half_width(found, one.unit))


def _difference(found: Interval | None, unit: Unit) -> Cell:
    if found is None:
        return Cell("-")
    sign = "+" if found.estimate > 0 else ""
    if unit == "share":
        text = f"{sign}{found.estimate * 100:.3g} points"
    else:
        text = sign + formatted(found.estimate, unit)
    is_sure = np.isfinite(found.half_width) and not found.contains(0.0)
    return Cell(
        text.replace("-", "\N{MINUS SIGN}"), half_width(found, unit), "sure" if is_sure else ""
    )


def half_width(found: Interval, unit: Unit) -> str:
    """Format half of an interval with two digits; "" when there is no interval."""
    half = found.half_width
    if not np.isfinite(half) or not half:
        return ""
    if unit == "share":
        return _two_digits(half * 100)
    if unit == "s":
        return f"{_two_digits(half * 1000)} ms" if half < 1 else f"{_two_digits(half)} s"
    return _two_digits(half)


def _two_digits(value: float) -> str:
    """Format a half width: more than two digits of an uncertainty mean nothing."""
    rounded = float(f"{value:.2g}")
    return f"{rounded:.0f}" if rounded >= 10 else f"{rounded:.2g}"  # noqa: PLR2004 - two digits
