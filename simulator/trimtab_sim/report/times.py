"""Two pictures of how long things took: requests, and changes of the instance list.

Latency: the nines over the seconds, a line per strategy. Failed requests count as never answered,
so a line that turns flat shows what part failed; a picture of the successful ones alone would
flatter the strategy that fails most. Convergence: how long the last client took to follow each
change, against the bound of its kind.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from trimtab_sim.metrics import formatted
from trimtab_sim.report.drawing import (
    LEFT,
    RIGHT,
    WIDTH,
    Scale,
    document,
    line,
    number,
    path,
    rect,
    steps,
    text,
    ticks,
)

if TYPE_CHECKING:
    from trimtab_sim.figures import ChangeFigures
    from trimtab_sim.result import Result
    from trimtab_sim.sketches import Quantiles

__all__ = ["changes_by_kind", "draw_convergence", "draw_latency"]

_HEIGHT = 260.0
_KEY_ROW = 18.0
_LETTER = 7.6
"""At most the width of a letter of a name, in pixels."""
_NINES = ((0.5, "50 %"), (0.1, "90 %"), (0.01, "99 %"), (0.001, "99.9 %"), (0.0001, "99.99 %"))
_FEWEST_S = 1e-6
_ROW = 84.0
_GAP = 40.0
_WORDS = {"add": "joined", "remove": "left", "death": "died"}


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
    """Name the curves above the picture, in rows; return the elements and the end of the rows."""
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
    """Return the ends of the axis of time: round numbers, without the rarest times."""
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
                parts.append(text(x, y + 18, formatted(value, "s"), style="tick", anchor="middle"))
        power *= 10
    return parts


def _curve(found: Quantiles, count: int, across: Scale, up: Scale) -> list[tuple[float, float]]:
    """Return the line of one strategy; `count` is the number of all its requests, failed or not."""
    places, left = [(across(across.low), up(1.0))], count
    for value, here in found.buckets():
        left -= here
        if value >= across.low:
            places.append((across(value), up(max(left / count, up.low))))
        if left <= up.low * count:
            return places
    places.append((across.end, places[-1][1]))
    return places


def changes_by_kind(result: Result, strategy: str) -> dict[str, list[ChangeFigures]]:
    """Return the changes of all replications by kind: joined, left, died.

    Servers that were there at the start are not changes.
    """
    changes = [
        one for run in result.runs[strategy] for one in run.convergence.changes if one.at > 0
    ]
    by_kind = {kind: [one for one in changes if one.kind == kind] for kind in _WORDS}
    return {kind: found for kind, found in by_kind.items() if found}


def draw_convergence(result: Result, *, css: str = "") -> str:
    """Draw the share of changes that every client had followed by a time; "" without changes.

    Views depend on the registry and the polls, hardly on the strategy, so the first strategy's
    changes are drawn.
    """
    by_kind = changes_by_kind(result, result.strategies[0])
    if not by_kind:
        return ""
    parts: list[str] = []
    top = 22.0
    for kind, changes in by_kind.items():
        parts += _panel(kind, changes, top)
        top += _ROW + _GAP
    return document(WIDTH, top - 8, parts, title="Times to converge, against the bounds", css=css)


def _panel(kind: str, changes: list[ChangeFigures], top: float) -> list[str]:
    times = sorted(one.last_s for one in changes if one.last_s is not None)
    bounds = sorted({round(one.bound_s, 3) for one in changes})
    longest = max([*times, bounds[-1]]) * 1.06
    across = Scale(low=0.0, high=longest or 1.0, start=LEFT, end=WIDTH - RIGHT)
    up = Scale(low=0.0, high=1.0, start=top + _ROW, end=top)
    parts = [
        text(LEFT - 8, top + 34, _WORDS[kind], style="name", anchor="end"),
        text(LEFT - 8, top + 50, _count(changes, len(times)), style="tick", anchor="end"),
        rect(across(bounds[0]), top, across(bounds[-1]) - across(bounds[0]), _ROW, style="bounds"),
    ]
    parts += [line(across(one), top, across(one), top + _ROW, style="bound") for one in bounds]
    span = number(bounds[0]) if len(bounds) == 1 else f"{number(bounds[0])} to {number(bounds[-1])}"
    words = f"bound: {span} s"
    parts.append(text(across(bounds[-1]), top - 5, words, style="label", anchor="end"))
    parts.append(line(LEFT, top + _ROW, across.end, top + _ROW, style="axis"))
    for second in ticks(0.0, across.high, 10):
        x = across(second)
        parts.append(line(x, top + _ROW, x, top + _ROW + 4, style="axis"))
        parts.append(text(x, top + _ROW + 17, f"{number(second)} s", style="tick", anchor="middle"))
    if times:
        places = [(across(0.0), up(0.0))]
        for place, took in enumerate(times, 1):
            places.append((across(took), up(place / len(changes))))
        parts.append(path([*steps(places), f"H{number(across(longest))}"], style="line s0"))
    return parts


def _count(changes: list[ChangeFigures], agreed: int) -> str:
    if agreed == len(changes):
        return f"{agreed} changes"
    return f"{agreed} of {len(changes)} followed"
