"""How long requests took: the nines over the seconds, a line per strategy.

Failed requests count as never answered: a line that goes flat shows what part failed. A picture
of the successful ones alone would flatter the strategy that fails most.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from trimtab_sim.metrics import written
from trimtab_sim.report.svg import Scale, document, line, path, rect, steps, text
from trimtab_sim.report.timelines import LEFT, RIGHT, WIDTH

if TYPE_CHECKING:
    from trimtab_sim.result import Result
    from trimtab_sim.sketches import Quantiles

__all__ = ["draw_latency"]

_HEIGHT = 260.0
_KEY_ROW = 18.0
_LETTER = 7.6
"""At most the width of a letter of a name, in pixels."""
_NINES = ((0.5, "50 %"), (0.1, "90 %"), (0.01, "99 %"), (0.001, "99.9 %"), (0.0001, "99.99 %"))
_FEWEST_S = 1e-6


def draw_latency(result: Result, *, css: str = "") -> str:
    """Draw, for each share of all requests, the time within which they had succeeded."""
    pooled = {name: result.latency(name) for name in result.strategies}
    counts = [sum(run.requests for run in result.runs[name]) for name in pooled]
    parts, top = _keys(list(pooled))
    low, high = _ends([found for found in pooled.values() if found.count])
    across = Scale(low=low, high=high, start=LEFT, end=WIDTH - RIGHT, is_log=True)
    up = Scale(low=1e-4, high=1.0, start=top, end=top + _HEIGHT, is_log=True)
    for rest, word in _NINES:
        parts.append(line(LEFT, up(rest), across.end, up(rest), style="grid"))
        parts.append(text(LEFT - 8, up(rest) + 4, word, style="tick", anchor="end"))
    parts += _seconds(across, top, top + _HEIGHT)
    for place, (found, count) in enumerate(zip(pooled.values(), counts, strict=True)):
        if found.count:
            curve = _curve(found, count, across, up)
            parts.append(path(steps(curve), style=f"line s{place % 6}"))
    return document(
        WIDTH, top + _HEIGHT + 30, parts, title="Time within which requests succeeded", css=css
    )


def _keys(names: list[str]) -> tuple[list[str], float]:
    """Name the curves above the picture, in as many rows as it takes; say where those end."""
    parts, x, y = [], LEFT, 14.0
    for place, name in enumerate(names):
        width = 22 + _LETTER * len(name)
        if x > LEFT and x + width > WIDTH - RIGHT:
            x, y = LEFT, y + _KEY_ROW
        parts.append(rect(x, y - 6, 16, 4, style=f"fill s{place % 6}"))
        parts.append(text(x + 22, y, name, style="name"))
        x += width + 24
    return parts, y + 20.0


def _ends(pooled: list[Quantiles]) -> tuple[float, float]:
    """Return where the axis of time begins and ends: round, and not of the rarest."""
    if not pooled:
        return 0.001, 1.0
    low = max(_FEWEST_S, min(found.quantile(0.02) for found in pooled))
    high = max(found.largest for found in pooled)
    return _round_down(low), max(_round_up(high), low * 10)


def _round_down(value: float) -> float:
    power = 10.0 ** math.floor(math.log10(value))
    return max(step * power for step in (1, 2, 5) if step * power <= value * 1.000001)


def _round_up(value: float) -> float:
    power = 10.0 ** math.floor(math.log10(max(value, _FEWEST_S)))
    return min(step * power for step in (1, 2, 5, 10) if step * power >= value * 0.999999)


def _seconds(across: Scale, top: float, y: float) -> list[str]:
    parts = [line(LEFT, y, across.end, y, style="axis")]
    power = 10.0 ** math.floor(math.log10(across.low))
    while power <= across.high * 1.000001:
        for step in (1, 2, 5):
            value = step * power
            if across.low * 0.999999 <= value <= across.high * 1.000001:
                x = across(value)
                parts.append(line(x, top, x, y + 4, style="grid"))
                parts.append(text(x, y + 18, written(value, "s"), style="tick", anchor="middle"))
        power *= 10
    return parts


def _curve(found: Quantiles, count: int, across: Scale, up: Scale) -> list[tuple[float, float]]:
    """Return the line of one strategy; `count` is of all its requests, failed ones too."""
    places, left = [(across(across.low), up(1.0))], count
    for value, here in found.buckets():
        left -= here
        if value >= across.low:
            places.append((across(value), up(max(left / count, up.low))))
        if left <= up.low * count:
            return places
    places.append((across.end, places[-1][1]))
    return places
