"""Make the report: the template and the contents of its page.

The template only arranges the texts, tables and pictures of `Page`. The same result gives the same
bytes: there is no date unless one is given. The page has no scripts and fetches nothing.
"""

from __future__ import annotations

import platform
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

import jinja2

from trimtab_sim.metrics import formatted
from trimtab_sim.report.cells import Cell, Grid, differences_grid, metrics_grid
from trimtab_sim.report.outcomes import draw_outcomes
from trimtab_sim.report.shares import draw_shares
from trimtab_sim.report.times import draw_convergence, draw_latency

if TYPE_CHECKING:
    from trimtab_sim.expectations import Judgement
    from trimtab_sim.figures import EventFigures
    from trimtab_sim.result import Result

__all__ = ["Page", "render", "write"]

_MOST_EVENTS = 30
_CARD = (("p50", "p50"), ("p99", "p99"), ("retries_per_request", "retries per request"))
_PACKAGES = ("trimtab", "simpy", "numpy", "scipy")


def write(result: Result, directory: str | Path, *, date: str = "") -> Path:
    """Write the report into a directory, which is made if need be; return the path of the file.

    Raises:
        OSError: it cannot be written.
    """
    folder = Path(directory)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "index.html"
    path.write_text(render(result, date=date), encoding="utf-8")
    return path


def render(result: Result, *, date: str = "") -> str:
    """Give the report as one HTML text.

    Args:
        result: of `run` or `compare`.
        date: written at the end, if given.
    """
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = environment.from_string(_read("report.html.j2"))
    return template.render(
        page=Page(result, date=date),
        charts_css=_read("charts.css"),
        page_css=_read("page.css"),
    )


@dataclass(frozen=True)
class Card:
    """The summary of one strategy."""

    strategy: str
    failed: str
    requests: str
    rows: list[tuple[str, str]]
    verdict: str
    holds: bool


@dataclass(frozen=True)
class Failure:
    """An expectation that failed, and the command that replays it."""

    strategy: str
    words: str
    replay: str
    details: list[str]


class Page:
    """One result, with the properties that the template uses.

    Args:
        result: the result to report.
        date: written into the footer if given; without it the same result gives the same bytes.
    """

    def __init__(self, result: Result, *, date: str = "") -> None:
        self._result = result
        self._date = date
        self._about = result.scenario.about
        self.title = self._about.name or result.source or "Simulation"
        self.description = self._about.description
        self.first = result.strategies[0]
        self.replications = _plural(len(result.replications), "replication")
        self.replication = result.replications[0]
        self.toml = result.toml.strip()
        self.overrides = ", ".join(f"{path} = {value}" for path, value in result.overrides.items())

    @cached_property
    def judgements(self) -> list[Judgement]:
        """All verdicts."""
        return self._result.judgements()

    @property
    def facts(self) -> list[str]:
        """The main settings of the experiment."""
        result, about = self._result, self._about
        return [
            f"{float(about.duration):g} s of virtual time, {float(about.warmup):g} s of it warm-up",
            self.replications,
            f"depth {result.depth}",
            f"seed {result.seed}",
            f"scenario {result.scenario_digest[:12]}",
        ]

    @property
    def cards(self) -> list[Card]:
        """The summaries of the strategies."""
        return [self._card(strategy) for strategy in self._result.strategies]

    @property
    def verdicts(self) -> Grid:
        """Clauses by strategies: the worst value, and whether it holds."""
        clauses: dict[tuple[str, str], list[Judgement]] = {}
        for one in self.judgements:
            clauses.setdefault((one.clause, one.wanted), []).append(one)
        rows = [
            [Cell(clause.replace("_", " ")), Cell(wanted), *map(_verdict, found)]
            for (clause, wanted), found in clauses.items()
        ]
        return Grid(["expectation", "wanted", *self._result.strategies], rows)

    @property
    def failures(self) -> list[Failure]:
        """The failed expectations, with their commands."""
        return [
            Failure(
                one.strategy,
                f"{one.clause.replace('_', ' ')} {one.wanted} fails in {len(one.failed)} of "
                f"{self.replications}, {one.worst} at worst",
                one.replay,
                one.details,
            )
            for one in self.judgements
            if not one.holds
        ]

    @property
    def interval_note(self) -> str:
        """A sentence on the intervals."""
        count = len(self._result.replications)
        if count == 1:
            return "One replication, so the uncertainty is unknown."
        return (
            f"The mean over {count} replications and half of its 95 % interval: Student's, or a "
            "bootstrap's for quantiles and maxima."
        )

    @cached_property
    def metrics(self) -> Grid:
        """Figures by strategies."""
        return metrics_grid(self._result)

    @cached_property
    def differences(self) -> Grid:
        """The other strategies compared with the first."""
        return differences_grid(self._result)

    @property
    def events(self) -> Grid:
        """Events by strategies: how long requests failed after each."""
        runs = self._result.runs
        shown = next(iter(runs.values()))[0].events[:_MOST_EVENTS]
        rows = [
            [
                Cell(event.label.replace("_", " ")),
                Cell(_span(event)),
                *(Cell(self._worst_after(strategy, place)) for strategy in runs),
            ]
            for place, event in enumerate(shown)
        ]
        return Grid(["event", "when", *runs], rows)

    @property
    def outcomes(self) -> str:
        """The picture of successful and failed requests."""
        return draw_outcomes(self._result)

    @property
    def shares(self) -> str:
        """The picture of each instance's share."""
        return draw_shares(self._result)

    @property
    def latency(self) -> str:
        """The picture of request times."""
        return draw_latency(self._result)

    @cached_property
    def convergence(self) -> str:
        """The picture of convergence; empty when no instance changed."""
        return draw_convergence(self._result)

    @property
    def bounds(self) -> Grid:
        """The bounds that the settings imply."""
        run = self._result.runs[self.first][0]
        return Grid.of_texts(
            ["change", "every client knows it within"],
            [[what, f"{bound_s:.3g} s"] for what, bound_s in run.bounds],
        )

    @property
    def origin(self) -> Grid:
        """Seeds, digests and versions."""
        result = self._result
        versions = [f"{name} {version(name)}" for name in _PACKAGES]
        rows = [
            ["root seed", str(result.seed)],
            ["scenario", result.scenario_digest],
            ["result", result.digest],
            ["depth", result.depth],
            ["versions", f"Python {platform.python_version()}, {', '.join(versions)}"],
        ]
        return Grid.of_texts(["name", "value"], rows)

    @property
    def runs(self) -> Grid:
        """The seed and the trace's digest of every run."""
        rows = [
            [strategy, str(number), str(run.seed), run.digest]
            for strategy, runs in self._result.runs.items()
            for number, run in zip(self._result.replications, runs, strict=True)
        ]
        return Grid.of_texts(["strategy", "replication", "seed", "digest of the trace"], rows)

    @property
    def footer(self) -> str:
        """The last line."""
        made = f"Made by trimtab-sim {version('trimtab')}"
        return f"{made}, {self._date}." if self._date else f"{made}."

    def _card(self, strategy: str) -> Card:
        runs = self._result.runs[strategy]
        requests = sum(run.requests for run in runs)
        failed = requests - sum(run.successes for run in runs)
        rows = [(label, self._mean(strategy, name)) for name, label in _CARD]
        mine = [one for one in self.judgements if one.strategy == strategy]
        fails = sum(not one.holds for one in mine)
        words = "all expectations hold"
        if fails:
            words = f"{fails} of {_plural(len(mine), 'expectation')} fail{'s' * (fails == 1)}"
        return Card(
            strategy=strategy,
            failed=_percent(failed, requests),
            requests=f"{requests:,}",
            rows=rows,
            verdict=words if mine else "",
            holds=not fails,
        )

    def _mean(self, strategy: str, name: str) -> str:
        found = self._result.interval(strategy, name)
        if found is None:
            return "-"
        return formatted(found.estimate, "number" if name == "retries_per_request" else "s")

    def _worst_after(self, strategy: str, place: int) -> str:
        worst = 0.0
        for run in self._result.runs[strategy]:
            event = run.events[place] if place < len(run.events) else None
            if event is not None and event.well_after_s is None:
                return "until the next event"
            if event is not None and event.well_after_s is not None:
                worst = max(worst, event.well_after_s)
        return f"{worst:.1f} s" if worst else "no failure"


def _verdict(one: Judgement) -> Cell:
    return Cell(f"✓ {one.worst}", style="yes") if one.holds else Cell(f"✗ {one.worst}", style="no")


def _span(event: EventFigures) -> str:
    return f"{event.at:g} s" if event.until is None else f"{event.at:g} to {event.until:g} s"


def _percent(part: int, whole: int) -> str:
    if not part:
        return "none"
    share = 100 * part / whole
    return f"{share:.2f} %" if share >= 0.01 else f"{share:.1g} %"  # noqa: PLR2004 - what two decimals still show


def _plural(count: int, word: str) -> str:
    return f"{count} {word}" if count == 1 else f"{count} {word}s"


def _read(name: str) -> str:
    return (files("trimtab_sim.report") / name).read_text(encoding="utf-8")
