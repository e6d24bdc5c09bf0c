"""The text of the committed report, computed from its figures alone."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from trimtab_sim import ready
from trimtab_sim.metrics import formatted
from trimtab_sim.report.cells import half_width
from trimtab_sim.statistics import student_interval

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from trimtab_sim.metrics import Unit
    from trimtab_sim.report.committed import Kept, Row

__all__ = ["introduction", "prose"]

_HEAD = """\
# What the simulator shows

The scenarios that come with the simulator, under four strategies or more, in virtual time, with
the code that ships. `make sim-report` makes this page, and a test checks it: when a strategy
changes, this page changes. Every row can be repeated, with a report of its own:

    trimtab-sim run black_hole --report report

Each figure is the mean of {count} replications (root seed {seed}) and half of its 95 % interval;
all strategies get the same random draws. *Failed* is the share of all requests that did not
succeed, after the retries that a scenario's settings allow. *Last view right* is the time from a
change of the instances until the last client's list agreed with it; it depends on the registry and
the poll interval, not on the strategy. *Traffic off dead* is the time until the last attempt was
sent to an instance that had ended.

## Failed requests

Bold: the lowest of the row, and those that do not differ from it significantly.
"""
_POLLS = """\
### Which poll interval?

The bad day again. With a shorter interval every client learns sooner of replaced and dead
instances, and that is all: requests that fail before a client can know depend on the strategy, and
while the registry is away no interval helps.
"""
_COLUMNS = (
    "strategy",
    "failed",
    "p50",
    "p99",
    "p99.9",
    "retries per request",
    "last view right",
    "traffic off dead",
    "expectations",
)


def prose(kept: Kept) -> str:
    """Return the text of the report."""
    scenarios = kept.scenarios
    count = len(next(iter(scenarios.values()))[0].runs)
    # The most realistic scenario comes first.
    order = sorted(scenarios, key=lambda name: (name != "bad_day", name))
    parts = [_HEAD.format(count=count, seed=kept.seed), _overview(kept, order)]
    for name in order:
        parts.append(_section(name, scenarios[name]))
        if name == "bad_day":
            parts += [_POLLS, _polls(kept.polls)]
    return "\n".join(parts)


def introduction(name: str) -> str:
    """Return the comment at the head of a ready scenario, as prose."""
    lines = []
    for line in ready.text(name).splitlines():
        if not line.startswith("#"):
            break
        lines.append(line.removeprefix("#").removeprefix(" "))
    # Indented lines are a command line or a setting to try.
    return "\n".join(f"  {line}" if line.startswith("  ") else line for line in lines)


def _overview(kept: Kept, order: Sequence[str]) -> str:
    strategies = [row.strategy for row in kept.scenarios[order[0]]]
    rows = []
    for name in order:
        found = {row.strategy: row for row in kept.scenarios[name]}
        least = min(strategies, key=lambda one: _failed(found[one])[0])
        mean, half = _failed(found[least])
        cells = []
        for strategy in strategies:
            text = _failed_text(found[strategy])
            is_best = _failed(found[strategy])[0] <= mean + half
            cells.append(f"**{text}**" if is_best else text)
        rows.append([f"[{name}](#{_anchor(name)})", *cells])
    return _table(["scenario", *strategies], rows)


def _section(name: str, rows: Sequence[Row]) -> str:
    about = ready.load(name).about
    return "\n".join(
        [
            f"## {about.name}",
            "",
            introduction(name),
            "",
            _table(_COLUMNS, [_cells(row) for row in rows]),
            f"![Successful and failed requests per second](report/{name}_outcomes.svg)",
            "",
            f"![Each instance's share over time](report/{name}_shares.svg)",
            "",
        ]
    )


def _polls(rows: Sequence[Row]) -> str:
    columns = ("poll interval", *_COLUMNS[:2], *_COLUMNS[6:8])
    cells = []
    for row in rows:
        all_of_them = _cells(row)
        cells.append([f"{row.setting:g} s", *all_of_them[:2], *all_of_them[6:8]])
    return _table(columns, cells)


def _cells(row: Row) -> list[str]:
    runs = row.runs
    verdict = "hold" if not row.fails else "fails " + ", ".join(row.fails).replace("_", " ")
    return [
        f"`{row.strategy}`",
        _failed_text(row),
        _value([run.p50 for run in runs], "s"),
        _value([run.p99 for run in runs], "s"),
        _value([run.p999 for run in runs], "s"),
        _value([run.retries_per_request for run in runs], "number"),
        _value([run.converged for run in runs], "s"),
        _value([run.traffic_off_dead for run in runs], "s"),
        verdict,
    ]


def _failed(row: Row) -> tuple[float, float]:
    """Return the share of failed requests, and half of its interval; 0 with one replication."""
    found = student_interval([run.failed / max(1, run.requests) for run in row.runs])
    return found.estimate, found.half_width if math.isfinite(found.half_width) else 0.0


def _failed_text(row: Row) -> str:
    mean, half = _failed(row)
    if not mean:
        return "0"
    digits = 2 if mean >= 0.001 else 4  # noqa: PLR2004 - a tenth of a per cent
    # A spread below the last digit of the mean is left out.
    spread = f" ± {float(f'{half * 100:.2g}'):g}" if half >= 1e-6 else ""  # noqa: PLR2004
    return f"{mean * 100:.{digits}f} %{spread}"


def _value(values: Sequence[float | None], unit: Unit) -> str:
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        return "-"
    found = student_interval(known)
    half = half_width(found, unit)
    return formatted(found.estimate, unit) + (f" ± {half}" if half else "")


def _table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [headings, ["---", *("---:" for _ in headings[1:])], *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines) + "\n"


def _anchor(name: str) -> str:
    return ready.load(name).about.name.lower().replace(" ", "-")
