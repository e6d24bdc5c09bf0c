"""The results of a run: tables for people, JSON for programs, and an SVG picture.

The picture shows each instance's share of the traffic over time, and the events.
"""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

from rich.console import Group
from rich.text import Text

from trimtab.cli.consoles import Fitted, plain_table
from trimtab.cli.demo.record import phases, settled_s, share_curve, shares
from trimtab.cli.demo.viewers import PHASES, effect, took, what
from trimtab.cli.load import Row

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.table import Table

    from trimtab.cli.demo.record import Event
    from trimtab.cli.demo.run import Run

__all__ = ["draw", "summary", "summary_json"]

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


def summary(run: Run) -> Group:
    """Draw the summary."""
    return Group(Text(), _share_table(run), Text(), _event_table(run), Text(), _verdict(run))


def summary_json(run: Run) -> dict[str, Any]:
    """Return the summary as plain data; durations in seconds, shares from 0 to 1."""
    record = run.record
    return {
        "requests": len(record.calls),
        "failures": record.failures,
        "retried": record.retried,
        "duration_s": record.now_s,
        "rate_per_s": len(record.calls) / record.now_s,
        "strategy": run.plan.strategy,
        "seed": run.plan.seed,
        "errors": sorted({call.error for call in record.calls if call.error}),
        "shares": {
            name: shares(record, from_s, until_s) for name, from_s, until_s in phases(record)
        },
        "events": [
            {
                "event": event.kind,
                "instance": event.instance_id,
                "at_s": event.at_s,
                "fair_ratio": event.fair_ratio,
                "settled_s": settled_s(record, event),
            }
            for event in record.events
        ],
    }


def _share_table(run: Run) -> Fitted:
    spans = phases(run.record)
    names = [f"{PHASES[name].upper()}" for name, _, _ in spans]
    table = plain_table("INSTANCE", "CALLS", "FAILED", *names, "P50 ms", "P99 ms")
    for column in table.columns[1:]:
        column.justify = "right"
    parts = [shares(run.record, from_s, until_s) for _, from_s, until_s in spans]
    for id_ in run.ids:
        row = _row(run, id_)
        table.add_row(
            Text(id_, "bold"),
            f"{row.requests:,}",
            Text(str(row.failures), "red" if row.failures else ""),
            *(Text(f"{part[id_]:.1%}") if id_ in part else Text("-", "dim") for part in parts),
            *(
                f"{row.quantile_s(ratio) * 1000:.1f}" if row.latencies_s else Text("-", "dim")
                for ratio in (0.5, 0.99)
            ),
        )
    return Fitted(table)


def _row(run: Run, id_: str) -> Row:
    calls = [call for call in run.record.calls if call.instance_id == id_]
    return Row(
        requests=len(calls),
        failures=sum(1 for call in calls if call.error),
        latencies_s=[call.latency_s for call in calls],
    )


def _event_table(run: Run) -> Table:
    table = plain_table("AT", "EVENT", "TOOK", "")
    for column in table.columns[:3]:
        column.no_wrap = True
    table.columns[0].justify = table.columns[2].justify = "right"
    for event in run.record.events:
        took_s = settled_s(run.record, event)
        table.add_row(
            f"{event.at_s:.1f} s",
            what(event),
            Text(took(took_s), "yellow" if took_s is None else "green"),
            Text(effect(event), "dim"),
        )
    return table


def _verdict(run: Run) -> Text:
    record, failed = run.record, run.record.failures
    text = Text.assemble(
        (f"{len(record.calls):,} calls in {record.now_s:.1f} s", "bold"),
        f" ({len(record.calls) / record.now_s:.0f} per second), ",
        (f"{failed} failed", "bold red" if failed else "bold green"),
        f", {record.retried} retried on another instance",
    )
    for error in sorted({call.error for call in record.calls if call.error})[:5]:
        text.append(f"\n{error}", "red")
    return text


def draw(run: Run) -> str:
    """Return the picture as the text of a self-contained SVG file."""
    parts = [
        _opening(run),
        f"<style>{_STYLE}</style>",
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" rx="12" fill="#10161e"/>',
        _text(_LEFT, 40, "Traffic moves to the instances that are alive", "title"),
        _text(_LEFT, 63, f"{_setting(run)}: share of the calls per instance", "soft"),
        *_axes(run),
        *_bands(run),
        *(part for event in run.record.events for part in _marks(run, event)),
        _caption(run),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _opening(run: Run) -> str:
    events = ", ".join(what(event) for event in run.record.events)
    label = f"{len(run.record.calls)} calls, {run.record.failures} failed; {events}"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" '
        f'width="{_WIDTH}" height="{_HEIGHT}" role="img" aria-label="{escape(label)}">'
    )


def _bands(run: Run) -> Iterator[str]:
    curve = list(share_curve(run.record, window_s=_WINDOW_S))
    xs = [_x(run, at_s) for at_s, _ in curve]
    floors = [0.0] * len(curve)
    calm = iter(_CALM)
    for id_, kind in _stacked(run):
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
    """Label a band at its right end, or near its beginning if it does not reach the end."""
    if tops[-1] - floors[-1] >= _LEAST_LABELLED:
        yield _text(_RIGHT + 10, _y((tops[-1] + floors[-1]) / 2) + 4, id_, "small")
    else:
        at = len(xs) // 12
        yield _text(xs[at], _y((tops[at] + floors[at]) / 2) + 4, id_, "inside small")


def _stacked(run: Run) -> list[tuple[str, str | None]]:
    """Return the instances from the bottom up: those without an event come first."""
    kinds = {event.instance_id: event.kind for event in run.record.events}
    order = (None, "slowed", "killed", "added")
    return sorted(((id_, kinds.get(id_)) for id_ in run.ids), key=lambda row: order.index(row[1]))


def _marks(run: Run, event: Event) -> Iterator[str]:
    x, took_s = _x(run, event.at_s), settled_s(run.record, event)
    colour = _COLOURS[event.kind]
    yield (
        f'<line x1="{x:.1f}" y1="{_TOP - 52}" x2="{x:.1f}" y2="{_BOTTOM}" stroke="{colour}" '
        'stroke-width="1.5"/>'
    )
    yield _text(x + 8, _TOP - 40, what(event), "strong small")
    yield _text(x + 8, _TOP - 23, _outcome(event, took_s), "small")


def _outcome(event: Event, took_s: float | None) -> str:
    if took_s is None:
        return "not settled by the end"
    return f"{'has its share' if event.kind == 'added' else 'avoided'} after {took(took_s)}"


def _axes(run: Run) -> Iterator[str]:
    for percent in (0, 50, 100):
        y = _y(percent / 100)
        yield f'<line x1="{_LEFT}" y1="{y}" x2="{_RIGHT}" y2="{y}" stroke="#243140"/>'
        yield _text(_LEFT - 10, y + 4, f"{percent} %", "soft small", anchor="end")
    step_s = next((s for s in _TICKS_S if run.record.now_s / s <= _MOST_TICKS), _TICKS_S[-1])
    for at_s in range(0, int(run.record.now_s) + 1, step_s):
        yield _text(_x(run, at_s), _BOTTOM + 20, f"{at_s} s", "soft small", anchor="middle")


def _caption(run: Run) -> str:
    record = run.record
    mood = "bad" if record.failures else "good"
    return (
        f'<text x="{_LEFT}" y="{_HEIGHT - 22}"><tspan class="strong">{len(record.calls):,} calls'
        f'</tspan>, <tspan class="{mood}">{record.failures} failed</tspan>, {record.retried} '
        "retried on another instance</text>"
    )


def _setting(run: Run) -> str:
    return f"{run.plan.rate_per_s:g} calls per second, {run.plan.strategy}"


def _x(run: Run, at_s: float) -> float:
    return _LEFT + (_RIGHT - _LEFT) * min(at_s / run.record.now_s, 1.0)


def _y(ratio: float) -> float:
    return round(_BOTTOM - (_BOTTOM - _TOP) * ratio, 1)


def _text(x: float, y: float, words: str, style: str, *, anchor: str = "start") -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" class="{style}" text-anchor="{anchor}">'
        f"{escape(words)}</text>"
    )
