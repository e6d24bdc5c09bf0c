"""How long the last client took to follow each change, against the bound of its kind."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trimtab_sim.report.svg import Scale, document, line, number, path, rect, steps, text, ticks
from trimtab_sim.report.timelines import LEFT, RIGHT, WIDTH

if TYPE_CHECKING:
    from trimtab_sim.figures import ChangeFigures
    from trimtab_sim.result import Result

__all__ = ["changes_by_kind", "draw_convergence"]

_ROW = 84.0
_GAP = 40.0
_WORDS = {"add": "joined", "remove": "left", "death": "died"}


def changes_by_kind(result: Result, strategy: str) -> dict[str, list[ChangeFigures]]:
    """Return the changes of all replications: who joined, left in good order, died.

    Those who were there before anybody looked have joined nothing.
    """
    changes = [
        one for run in result.runs[strategy] for one in run.convergence.changes if one.at > 0
    ]
    by_kind = {kind: [one for one in changes if one.kind == kind] for kind in _WORDS}
    return {kind: found for kind, found in by_kind.items() if found}


def draw_convergence(result: Result, *, css: str = "") -> str:
    """Draw the share of changes that every client had followed by a time; "" without changes.

    Views depend on the registry and the polls, hardly on the strategy: the first one's.
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
