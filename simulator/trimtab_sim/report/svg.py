"""Just enough SVG: numbers kept short, a few elements, scales and their ticks.

Colours are CSS classes (see `charts.css`), so that one picture serves light, dark and paper.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["Scale", "document", "line", "number", "path", "rect", "steps", "text", "ticks"]

_NICE = (1.0, 2.0, 2.5, 5.0, 10.0)


def number(value: float) -> str:
    """Write a coordinate or a tick: at most two decimals, no trailing zeros."""
    written = f"{value:.2f}".rstrip("0").rstrip(".")
    return "0" if written == "-0" else written


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """From figures to pixels.

    Attributes:
        low, high: the figures at the ends; above 0 on a logarithmic scale.
        start, end: the pixels there; `end` may be the smaller, as upwards is.
    """

    low: float
    high: float
    start: float
    end: float
    is_log: bool = False

    def __call__(self, value: float) -> float:
        """Return the pixel of a figure, not beyond the ends."""
        value = min(max(value, self.low), self.high)
        if self.is_log:
            part = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            part = (value - self.low) / (self.high - self.low)
        return self.start + part * (self.end - self.start)


def ticks(low: float, high: float, count: int = 6) -> list[float]:
    """Return round figures from `low` to `high`, some `count` of them."""
    rough = (high - low) / max(1, count)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(nice * power for nice in _NICE if nice * power >= rough * (1 - 1e-9))
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [place * step for place in range(first, last + 1)]


def text(x: float, y: float, words: str, *, style: str = "", anchor: str = "start") -> str:
    """Write words at a place; `anchor` is "start", "middle" or "end"."""
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
    """Return the commands of a line that goes sideways to each place, then up or down to it."""
    (x, y), *others = places
    return [f"M{number(x)} {number(y)}", *(f"H{number(x)}V{number(y)}" for x, y in others)]


def document(
    width: float, height: float, parts: Iterable[str], *, title: str, css: str = ""
) -> str:
    """Put a picture together.

    Args:
        width: in pixels of its own; it is scaled to where it stands.
        height: likewise.
        parts: its elements.
        title: what it shows, for those who cannot see it.
        css: taken into the picture, for one that stands alone.
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
