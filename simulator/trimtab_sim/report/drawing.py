"""Just enough SVG for the pictures: elements, scales and ticks, the axis of time and its events.

Colours are CSS classes (see `charts.css`), so that one picture serves light, dark and paper.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from trimtab_sim.figures import EventFigures

__all__ = [
    "LEFT",
    "RIGHT",
    "WIDTH",
    "Lanes",
    "Scale",
    "document",
    "line",
    "moments",
    "number",
    "path",
    "rect",
    "row_name",
    "seconds_axis",
    "steps",
    "text",
    "ticks",
]

WIDTH = 960.0
LEFT = 118.0
RIGHT = 22.0
_LANE = 17.0
_MOST_LABELLED = 24
_NAME_LETTERS, _NAME_LINE = 14, 13.0
_LETTER = 6.3
"""About the width of a letter, in pixels."""
_NICE = (1.0, 2.0, 2.5, 5.0, 10.0)


def number(value: float) -> str:
    """Format a coordinate or a tick: at most two decimals, no trailing zeros."""
    text_ = f"{value:.2f}".rstrip("0").rstrip(".")
    return "0" if text_ == "-0" else text_


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """Map figures to pixels.

    Attributes:
        low, high: the figures at the ends; above 0 on a logarithmic scale.
        start, end: the pixels there; `end` is the smaller one on an upward scale.
    """

    low: float
    high: float
    start: float
    end: float
    is_log: bool = False

    def __call__(self, value: float) -> float:
        """Return the pixel of a figure; figures beyond the ends are moved to them."""
        value = min(max(value, self.low), self.high)
        if self.is_log:
            part = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            part = (value - self.low) / (self.high - self.low)
        return self.start + part * (self.end - self.start)


def ticks(low: float, high: float, count: int = 6) -> list[float]:
    """Return about `count` round figures from `low` to `high`."""
    rough = (high - low) / max(1, count)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(nice * power for nice in _NICE if nice * power >= rough * (1 - 1e-9))
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [place * step for place in range(first, last + 1)]


def text(x: float, y: float, words: str, *, style: str = "", anchor: str = "start") -> str:
    """Draw a text; `anchor` is "start", "middle" or "end"."""
    where = "" if anchor == "start" else f' text-anchor="{anchor}"'
    return f'<text x="{number(x)}" y="{number(y)}"{where}{_class(style)}>{escape(words)}</text>'


def line(x1: float, y1: float, x2: float, y2: float, *, style: str) -> str:
    """Draw a straight line."""
    ends = (("x1", x1), ("y1", y1), ("x2", x2), ("y2", y2))
    return f"<line {_numbers(ends)}{_class(style)}/>"


def rect(x: float, y: float, width: float, height: float, *, style: str) -> str:
    """Draw a rectangle."""
    parts = (("x", x), ("y", y), ("width", max(0.0, width)), ("height", max(0.0, height)))
    return f"<rect {_numbers(parts)}{_class(style)}/>"


def path(commands: Iterable[str], *, style: str) -> str:
    """Draw a path from its commands."""
    return f'<path d="{"".join(commands)}"{_class(style)}/>'


def steps(places: Sequence[tuple[float, float]]) -> list[str]:
    """Return the commands of a line of steps: sideways to each place, then up or down to it."""
    (x, y), *others = places
    return [f"M{number(x)} {number(y)}", *(f"H{number(x)}V{number(y)}" for x, y in others)]


def document(
    width: float, height: float, parts: Iterable[str], *, title: str, css: str = ""
) -> str:
    """Make a whole picture.

    Args:
        width: in its own pixels; the page scales it.
        height: likewise.
        parts: its elements.
        title: what it shows, for screen readers.
        css: included in the picture, for one in a file of its own.
    """
    size = f"{number(width)} {number(height)}"
    style = f"<style>{css}</style>" if css else ""
    name = f"<title>{escape(title)}</title>"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {size}" role="img" class="chart">'
        f"{name}{style}{''.join(parts)}</svg>"
    )


def _class(style: str) -> str:
    return f' class="{style}"' if style else ""


def _numbers(pairs: Iterable[tuple[str, float]]) -> str:
    return " ".join(f'{name}="{number(value)}"' for name, value in pairs)


def moments(duration: float) -> Scale:
    """Return the scale of a run's seconds, shared by all pictures over time."""
    return Scale(low=0.0, high=duration, start=LEFT, end=WIDTH - RIGHT)


def row_name(name: str, y: float) -> list[str]:
    """Draw a row's name to its left; a long one is broken at underscores, and ends at `y`."""
    lines = [""]
    for word in name.replace("_", "_ ").split():
        if lines[-1] and len(lines[-1]) + len(word) > _NAME_LETTERS:
            lines.append("")
        lines[-1] += word
    first = y - _NAME_LINE * (len(lines) - 1)
    return [
        text(LEFT - 8, first + _NAME_LINE * row, words, style="name", anchor="end")
        for row, words in enumerate(lines)
    ]


def seconds_axis(scale: Scale, y: float) -> list[str]:
    """Draw the axis of seconds below a picture."""
    parts = [line(scale.start, y, scale.end, y, style="axis")]
    for second in ticks(scale.low, scale.high, 10):
        x = scale(second)
        parts.append(line(x, y, x, y + 4, style="axis"))
        parts.append(text(x, y + 17, f"{number(second)} s", style="tick", anchor="middle"))
    return parts


@dataclass(slots=True)
class _Lane:
    free_from: float
    parts: list[str]


class Lanes:
    """Events as labelled bars above a picture, in as few lanes as their labels allow.

    Attributes:
        height: of all lanes, in pixels.
        parts: the drawing, from y = 0 down.
    """

    def __init__(self, events: list[EventFigures], scale: Scale) -> None:
        lanes: list[_Lane] = []
        self._marks: list[tuple[float, bool]] = []
        for event in events[:_MOST_LABELLED]:
            self._put(event, scale, lanes)
        for event in events:
            self._marks.append((scale(event.at), False))
            if event.until is not None:
                self._marks.append((scale(event.until), True))
        self.height = _LANE * len(lanes) + 4
        self.parts = [part for lane in lanes for part in lane.parts]

    def across(self, top: float, bottom: float) -> list[str]:
        """Draw a line for every beginning and, dotted, every end of an event."""
        return [
            line(x, top, x, bottom, style="event undone" if is_end else "event")
            for x, is_end in self._marks
        ]

    @staticmethod
    def _put(event: EventFigures, scale: Scale, lanes: list[_Lane]) -> None:
        words = event.label.replace("_", " ")
        start = scale(event.at)
        end = scale(scale.high if event.until is None else event.until)
        width = len(words) * _LETTER + 6
        # A label that would run over the right edge stands to the left of its event.
        left = start if start + width <= scale.end else start - width
        lane = next((one for one in lanes if one.free_from <= left), None)
        if lane is None:
            lane = _Lane(0.0, [])
            lanes.append(lane)
        y = _LANE * lanes.index(lane)
        lane.free_from = max(left + width, end if event.until is not None else 0.0) + 6
        if event.until is not None:
            lane.parts.append(rect(start, y + 1, max(2.0, end - start), _LANE - 4, style="span"))
        lane.parts.append(rect(start - 1, y + 1, 2.5, _LANE - 4, style="begin"))
        lane.parts.append(text(left + 5, y + 11.5, words, style="label"))
