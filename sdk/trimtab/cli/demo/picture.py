"""The run as one SVG: each instance's share of the traffic over time, and what was done when."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from trimtab.cli.demo.measure import settled_s, share_curve
from trimtab.cli.demo.words import took, what

if TYPE_CHECKING:
    from collections.abc import Iterator

    from trimtab.cli.demo.record import Event
    from trimtab.cli.demo.scene import Stage

__all__ = ["draw"]

_WIDTH, _HEIGHT = 920, 470
_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 808, 150, 400
_WINDOW_S = 0.5
_LEAST_LABELLED = 0.04
_CALM = ("#3b6ea5", "#4a80b8", "#5c92c8", "#72a5d6", "#8bb8e2", "#a6cbec")
_COLOURS = {"killed": "#e5646e", "slowed": "#e9b44c", "added": "#58c29b"}
_TICKS_S = (1, 2, 5, 10, 20, 60)
_MOST_TICKS = 10
_STYLE = """
text { font: 13px ui-sans-serif, system-ui, -apple-system, "Segoe UI", sans-serif; fill: #c9d4e0 }
.title { font-size: 19px; font-weight: 600; fill: #f2f6fa }
.soft { fill: #8b9aab } .small { font-size: 12px } .strong { font-weight: 600; fill: #f2f6fa }
.inside { font-weight: 600; fill: #10161e }
.good { font-weight: 600; fill: #58c29b } .bad { font-weight: 600; fill: #e5646e }
"""


def draw(stage: Stage) -> str:
    """Draw it, as the text of an SVG file that needs nothing else."""
    parts = [
        _opening(stage),
        f"<style>{_STYLE}</style>",
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" rx="12" fill="#10161e"/>',
        _text(_LEFT, 40, "Traffic moves to the instances that are alive", "title"),
        _text(_LEFT, 63, f"{_setting(stage)}: share of the calls per instance", "soft"),
        *_axes(stage),
        *_bands(stage),
        *(part for event in stage.record.events for part in _marks(stage, event)),
        _verdict(stage),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _opening(stage: Stage) -> str:
    events = ", ".join(what(event) for event in stage.record.events)
    label = f"{len(stage.record.calls)} calls, {stage.record.failures} failed; {events}"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" '
        f'width="{_WIDTH}" height="{_HEIGHT}" role="img" aria-label="{escape(label)}">'
    )


def _bands(stage: Stage) -> Iterator[str]:
    curve = list(share_curve(stage.record, window_s=_WINDOW_S))
    xs = [_x(stage, at_s) for at_s, _ in curve]
    floors = [0.0] * len(curve)
    calm = iter(_CALM)
    for id_, kind in _stacked(stage):
        tops = [floor + at[1].get(id_, 0.0) for floor, at in zip(floors, curve, strict=True)]
        yield _band(xs, floors, tops, _COLOURS[kind] if kind else next(calm))
        yield from _label(id_, xs, floors, tops)
        floors = tops


def _band(xs: list[float], floors: list[float], tops: list[float], colour: str) -> str:
    up = [f"{x:.1f},{_y(top)}" for x, top in zip(xs, tops, strict=True)]
    down = [f"{x:.1f},{_y(floor)}" for x, floor in zip(xs, floors, strict=True)]
    return (
        f'<polygon points="{" ".join(up + down[::-1])}" fill="{colour}" '
        'stroke="#10161e" stroke-width="1"/>'
    )


def _label(id_: str, xs: list[float], floors: list[float], tops: list[float]) -> Iterator[str]:
    """Name a band at its right end; one that has none is named inside, near its beginning."""
    if tops[-1] - floors[-1] >= _LEAST_LABELLED:
        yield _text(_RIGHT + 10, _y((tops[-1] + floors[-1]) / 2) + 4, id_, "small")
    else:
        at = len(xs) // 12
        yield _text(xs[at], _y((tops[at] + floors[at]) / 2) + 4, id_, "inside small")


def _stacked(stage: Stage) -> list[tuple[str, str | None]]:
    """Give the instances from the bottom up: first those to whom nothing happens."""
    kinds = {event.instance_id: event.kind for event in stage.record.events}
    order = (None, "slowed", "killed", "added")
    return sorted(((id_, kinds.get(id_)) for id_ in stage.ids), key=lambda row: order.index(row[1]))


def _marks(stage: Stage, event: Event) -> Iterator[str]:
    x, took_s = _x(stage, event.at_s), settled_s(stage.record, event)
    colour = _COLOURS[event.kind]
    yield (
        f'<line x1="{x:.1f}" y1="{_TOP - 52}" x2="{x:.1f}" y2="{_BOTTOM}" stroke="{colour}" '
        'stroke-width="1.5"/>'
    )
    yield _text(x + 8, _TOP - 40, what(event), "strong small")
    yield _text(x + 8, _TOP - 23, _news(event, took_s), "small")


def _news(event: Event, took_s: float | None) -> str:
    if took_s is None:
        return "not settled by the end"
    return f"{'has its share' if event.kind == 'added' else 'avoided'} after {took(took_s)}"


def _axes(stage: Stage) -> Iterator[str]:
    for percent in (0, 50, 100):
        y = _y(percent / 100)
        yield f'<line x1="{_LEFT}" y1="{y}" x2="{_RIGHT}" y2="{y}" stroke="#243140"/>'
        yield _text(_LEFT - 10, y + 4, f"{percent} %", "soft small", anchor="end")
    step_s = next((s for s in _TICKS_S if stage.record.now_s / s <= _MOST_TICKS), _TICKS_S[-1])
    for at_s in range(0, int(stage.record.now_s) + 1, step_s):
        yield _text(_x(stage, at_s), _BOTTOM + 20, f"{at_s} s", "soft small", anchor="middle")


def _verdict(stage: Stage) -> str:
    record = stage.record
    mood = "bad" if record.failures else "good"
    return (
        f'<text x="{_LEFT}" y="{_HEIGHT - 22}"><tspan class="strong">{len(record.calls):,} calls'
        f'</tspan>, <tspan class="{mood}">{record.failures} failed</tspan>, {record.retried} '
        "tried again on another instance</text>"
    )


def _setting(stage: Stage) -> str:
    return f"{stage.plan.rate_per_s:g} calls per second, {stage.plan.strategy}"


def _x(stage: Stage, at_s: float) -> float:
    return _LEFT + (_RIGHT - _LEFT) * min(at_s / stage.record.now_s, 1.0)


def _y(ratio: float) -> float:
    return round(_BOTTOM - (_BOTTOM - _TOP) * ratio, 1)


def _text(x: float, y: float, words: str, style: str, *, anchor: str = "start") -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" class="{style}" text-anchor="{anchor}">'
        f"{escape(words)}</text>"
    )
