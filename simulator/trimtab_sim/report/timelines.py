"""What pictures over time share: the axis, and the events above and across them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from trimtab_sim.report.svg import Scale, line, number, rect, text, ticks

if TYPE_CHECKING:
    from trimtab_sim.figures import EventFigures

__all__ = ["LEFT", "RIGHT", "WIDTH", "Lanes", "moments", "row_name", "seconds_axis"]

WIDTH = 960.0
LEFT = 118.0
RIGHT = 22.0
_LANE = 17.0
_MOST_LABELLED = 24
_NAME_LETTERS, _NAME_LINE = 14, 13.0
_LETTER = 6.3
"""About the width of a letter, in pixels."""


def moments(duration: float) -> Scale:
    """Return the scale of a run's seconds, shared by all pictures over time."""
    return Scale(low=0.0, high=duration, start=LEFT, end=WIDTH - RIGHT)


def row_name(name: str, y: float) -> list[str]:
    """Write a row's name before it; a long one is broken at underscores, and ends at `y`."""
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
