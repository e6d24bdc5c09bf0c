"""A picture of requests over time, a strip per strategy: successful upwards, failed downwards."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from trimtab_sim.recorder import BINS
from trimtab_sim.report.drawing import (
    LEFT,
    WIDTH,
    Lanes,
    Scale,
    document,
    line,
    moments,
    number,
    path,
    rect,
    row_name,
    seconds_axis,
    steps,
    text,
)

if TYPE_CHECKING:
    import numpy.typing as npt

    from trimtab_sim.result import Result

__all__ = ["draw_outcomes"]

_UP = 62.0
_DOWN = 40.0
_GAP = 14.0
_TOGETHER = 2
"""Bins drawn as one, to reduce the noise."""


def draw_outcomes(result: Result, *, css: str = "") -> str:
    """Draw successful and failed requests per second, the mean over the replications."""
    runs = {name: _rates(result, name) for name in result.strategies}
    most_good = max(float(good.max()) for good, _ in runs.values()) or 1.0
    most_bad = max(float(bad.max()) for _, bad in runs.values())
    scale = moments(float(result.scenario.about.duration))
    warmup = float(result.scenario.about.warmup)
    lanes = Lanes(result.runs[result.strategies[0]][0].events, scale)
    parts, top = list(lanes.parts), lanes.height
    down = _DOWN if most_bad else 8.0
    for name, (good, bad) in runs.items():
        middle = top + _UP
        parts.append(
            rect(scale.start, top, scale(warmup) - scale.start, _UP + down, style="warmup")
        )
        parts += _area(good, scale, Scale(low=0, high=most_good, start=middle, end=top), "good")
        if most_bad:
            below = Scale(low=0, high=most_bad, start=middle, end=middle + down)
            parts += _area(bad, scale, below, "bad")
        parts.append(line(LEFT, middle, scale.end, middle, style="axis"))
        parts += lanes.across(top, middle + down)
        parts += _names(name, top, middle, down, (most_good, most_bad))
        top = middle + down + _GAP
    parts += seconds_axis(scale, top - _GAP + 6)
    return document(
        WIDTH, top + 16, parts, title="Successful and failed requests per second", css=css
    )


def _rates(
    result: Result, strategy: str
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    runs = result.runs[strategy]
    together = runs[0].bin_s * _TOGETHER * len(runs)

    def rate(name: str) -> npt.NDArray[np.float64]:
        whole = np.sum([getattr(run, name)[:BINS] for run in runs], axis=0)
        per_s: npt.NDArray[np.float64] = whole.reshape(-1, _TOGETHER).sum(axis=1) / together
        return per_s

    return rate("good"), rate("bad")


def _area(rates: npt.NDArray[np.float64], across: Scale, upwards: Scale, style: str) -> list[str]:
    if not rates.any():
        return []
    edges = np.linspace(across.low, across.high, len(rates) + 1)
    places = [(across(edges[0]), upwards(0))]
    for place, rate in enumerate(rates):
        places.append((across(edges[place]), upwards(rate)))
    places += [(across(edges[-1]), upwards(rates[-1])), (across(edges[-1]), upwards(0))]
    return [path([*steps(places), "Z"], style=style)]


def _names(
    name: str, top: float, middle: float, down: float, most: tuple[float, float]
) -> list[str]:
    good, bad = most
    parts = [
        text(LEFT - 8, top + 10, f"{number(round(good))}/s good", style="tick", anchor="end"),
        *row_name(name, middle - 8),
    ]
    if bad:
        words = f"{number(bad) if bad < 10 else number(round(bad))}/s failed"  # noqa: PLR2004 - two digits
        parts.append(text(LEFT - 8, middle + down, words, style="tick bad-text", anchor="end"))
    return parts
