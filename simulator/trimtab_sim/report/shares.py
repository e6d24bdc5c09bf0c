"""A picture of each instance's share: rows of instances over time, a strip per strategy.

The colour shows how much of its fair share an instance got; the fair share is its weight among the
available instances. So it is easy to see a new instance that is flooded, a slow one that is avoided
and a dead one that is still called, whatever the number of instances.
"""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

import numpy as np

from trimtab_sim.recorder import BINS
from trimtab_sim.report.drawing import (
    LEFT,
    RIGHT,
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
    text,
)

if TYPE_CHECKING:
    import numpy.typing as npt

    from trimtab_sim.figures import Figures
    from trimtab_sim.result import Result

__all__ = ["draw_shares"]

LEVELS = (
    ("h0", 0.0, "nothing"),
    ("h1", 0.1, "to 0.1"),
    ("h2", 0.4, "to 0.4"),
    ("h3", 0.7, "to 0.7"),
    ("h4", 1.4, "fair"),
    ("h5", 2.0, "to 2"),
    ("h6", 3.0, "to 3"),
    ("h7", float("inf"), "more"),
)
"""Class, upper end in fair shares, and a word."""
_LEAST_IN_CELL = 30
"""The least requests of a fair share in one cell: fewer would show random noise."""
_COLUMNS = (120, 80, 60, 48, 40, 30)
_MUCH = 0.1
"""A dead instance that gets more than this part of its share is called, not just tried."""
_MOST_ROWS = 120
_STATES = (_ABSENT, _THERE, _LEAVING, _DEAD) = (0, 1, 2, 3)
_GAP = 18.0


def draw_shares(result: Result, *, replication: int = 0, css: str = "") -> str:
    """Draw each instance's share over time, for every strategy.

    Args:
        result: of one or more strategies.
        replication: its place in the result; faults hit other instances in each, so that a mean
            over all would show nothing.
        css: as for `document`.
    """
    runs = {name: found[replication] for name, found in result.runs.items()}
    scale = moments(float(result.scenario.about.duration))
    first = next(iter(runs.values()))
    lanes = Lanes(first.events, scale)
    parts, top = list(lanes.parts), lanes.height
    for name, run in runs.items():
        rows = min(len(run.servers), _MOST_ROWS)
        height = min(12.0, max(2.0, 150.0 / rows))
        parts += _strip(run, scale, top=top, row=height)
        parts += lanes.across(top, top + rows * height)
        parts += _names(name, run, top, rows * height)
        top += rows * height + _GAP
    parts += seconds_axis(scale, top - _GAP + 6)
    parts += _legend(top + 22)
    return document(WIDTH, top + 42, parts, title="Each instance's share over time", css=css)


def _strip(run: Figures, scale: Scale, *, top: float, row: float) -> list[str]:
    styles = _styles(run)
    x = np.linspace(scale.start, scale.end, len(styles[0]) + 1)
    boxes: dict[str, list[str]] = {}
    for place, cells in enumerate(styles):
        y, column = top + place * row, 0
        for style, same in groupby(cells):
            start, column = column, column + len(list(same))
            if style:
                box = f"M{number(x[start])} {number(y)}H{number(x[column])}v{number(row)}"
                boxes.setdefault(style, []).append(f"{box}H{number(x[start])}z")
    return [path(found, style=style) for style, found in sorted(boxes.items())]


def _styles(run: Figures) -> list[list[str]]:
    """Return the CSS class of every cell: servers by columns."""
    servers = [one for one in run.servers if one.sent_by_bin][:_MOST_ROWS]
    sent = np.array([one.sent_by_bin[:BINS] for one in servers], dtype=float)
    states = _states(run, [one.id for one in servers])
    columns = next(
        (c for c in _COLUMNS if sent.mean() * (BINS // c) >= _LEAST_IN_CELL), _COLUMNS[-1]
    )
    shape = (len(servers), columns, -1)
    sent, states = sent.reshape(shape).sum(axis=2), states.reshape(shape)
    weights = np.array([[one.weight] for one in servers])
    claims = (states == _THERE).mean(axis=2) * weights
    whole, taken = claims.sum(axis=0), np.where(claims > 0, sent, 0.0).sum(axis=0)
    each = np.divide(taken, whole, out=np.zeros(columns), where=whole > 0)
    # An instance that is gone has no fair share; it is judged by the share that it would have had.
    fair = np.where(claims > 0, claims, weights) * each
    # A column shows the state that an instance had for most of it.
    mostly = np.argmax([(states == one).sum(axis=2) for one in _STATES], axis=0)
    return [
        [_style(*cell) for cell in zip(*row, strict=True)]
        for row in zip(sent, fair, mostly, strict=True)
    ]


def _states(run: Figures, names: list[str]) -> npt.NDArray[np.int64]:
    """Return the state of each instance in each bin, by the changes of the truth."""
    row = {name: place for place, name in enumerate(names)}
    found = np.full((len(names), BINS), _THERE)
    seen: list[str] = []
    for change in run.convergence.changes:
        if change.instance in row:
            place, since = row[change.instance], round(change.at / run.bin_s)
            if change.kind == "add" and change.instance not in seen:
                found[place] = _ABSENT
            found[place, since:] = {"add": _THERE, "remove": _LEAVING, "death": _DEAD}[change.kind]
            seen.append(change.instance)
    for server in run.servers:
        for ended, _ in server.ends if server.id in row else ():
            # One that deregistered works on for a while, until it ends.
            rest = found[row[server.id], round(ended / run.bin_s) :]
            rest[rest == _LEAVING] = _DEAD
    return found


def _style(sent: float, fair: float, state: int) -> str:
    if state == _THERE:
        return next(style for style, most, _ in LEVELS if not fair or sent / fair <= most)
    if not sent or state == _ABSENT:
        return ""
    if state == _LEAVING:
        return "leaving"
    return "late" if sent > _MUCH * fair else "late few"


def _names(name: str, run: Figures, top: float, height: float) -> list[str]:
    shown = run.servers[:_MOST_ROWS]
    middle = top + height / 2
    count = f"{len(run.servers)} instances"
    if len(shown) < len(run.servers):
        count = f"{len(shown)} of {len(run.servers)}"
    return [
        rect(LEFT, top, WIDTH - LEFT - RIGHT, height, style="frame"),
        *row_name(name, middle),
        text(LEFT - 8, middle + 15, count, style="tick", anchor="end"),
        line(LEFT, top + height, WIDTH - RIGHT, top + height, style="axis"),
    ]


def _legend(y: float) -> list[str]:
    parts = [text(LEFT, y + 10, "of its share:", style="tick")]
    x = LEFT + 78
    others = (
        ("leaving", 0.0, "drains"),
        ("late few", 0.0, "dead, tried"),
        ("late", 0.0, "dead, called"),
    )
    for style, _, word in (*LEVELS, *others):
        parts.append(rect(x, y, 14, 12, style=style))
        parts.append(text(x + 19, y + 10, word, style="tick"))
        x += 30 + len(word) * 5.6
    return parts
