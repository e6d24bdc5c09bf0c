"""What people see during a run: a live board on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
from statistics import median
from typing import TYPE_CHECKING, Self

from rich.bar import Bar
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from trimtab.cli.demo.backends import SLOWDOWN
from trimtab.cli.demo.record import settled_s, shares
from trimtab.cli.demo.run import EVENTS

if TYPE_CHECKING:
    from trimtab.cli.demo.record import Event
    from trimtab.cli.demo.run import Run

__all__ = ["PHASES", "Board", "Lines", "Quiet", "effect", "took", "what"]

PHASES = {
    "before": "all healthy",
    "killed": "one killed",
    "slowed": "one slow",
    "added": "one added",
}
"""The names of the phases of a run."""
_EXACT_BELOW_S = 0.0995
_DONE = {
    "killed": "killed",
    "slowed": f"slowed {SLOWDOWN}-fold",
    "added": "added",
}
_EFFECTS = {
    "killed": "until the last attempt on it; all were retried elsewhere",
    "slowed": "until its share stayed below half of a fair share",
    "added": "until it had its fair share",
}
_WINDOW_S = 1.0
_BAR_WIDTH = 24
_FULL_BAR_RATIO = 0.4
_MANY_MS = 40.0
_MARKS = {
    None: ("●", "up", "green"),
    "killed": ("✖", "killed", "red"),
    "slowed": ("◐", "slow", "yellow"),
    "added": ("●", "new", "cyan"),
}
_AHEAD = {
    "killed": "an instance is killed",
    "slowed": "the busiest instance is slowed",
    "added": "an instance is added",
}


def what(event: Event) -> str:
    """Return an event in words."""
    return f"{event.instance_id} {_DONE[event.kind]}"


def effect(event: Event) -> str:
    """Return the meaning of the time that an event took."""
    return _EFFECTS[event.kind]


def took(seconds: float | None) -> str:
    """Return a time in words, as exactly as it is known."""
    if seconds is None:
        return "not yet"
    return f"{seconds * 1000:.0f} ms" if seconds < _EXACT_BELOW_S else f"{seconds:.1f} s"


class Board:
    """A viewer that draws a live board on a terminal: one row per instance, and the events."""

    every_s = 0.25

    def __init__(self, console: Console) -> None:
        self._live = Live(console=console, auto_refresh=False)

    def opening(self, run: Run) -> None:
        """Show that the run is being prepared."""
        text = f"Starting a registry and {len(run.ids)} backends ..."
        self._live.update(Text(text, "dim"), refresh=True)

    def event(self, _: Run, event: Event) -> None:
        """Do nothing: the next update shows it."""

    def update(self, run: Run) -> None:
        """Draw the present state."""
        self._live.update(picture(run), refresh=True)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._live.stop()


def picture(run: Run) -> Group:
    """Draw the whole board."""
    return Group(_headline(run), Text(), _instances(run), Text(), *_events(run))


def _headline(run: Run) -> Text:
    record, plan = run.record, run.plan
    failed = record.failures
    return Text.assemble(
        ("trimtab demo", "bold"),
        (f"   {record.now_s:4.1f} of {plan.duration_s:g} s", ""),
        (f"   {len(record.calls):,} calls", ""),
        (f"   {failed} failed", "bold red" if failed else "bold green"),
        (f"   {record.retried} retried", ""),
        (f"\n{plan.rate_per_s:g} calls per second, {plan.strategy}", "dim"),
    )


def _instances(run: Run) -> Table:
    now_s = run.record.now_s
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    table.add_column("INSTANCE", no_wrap=True)
    table.add_column("STATE", min_width=8, no_wrap=True)
    table.add_column("REGISTRY", min_width=8, no_wrap=True)
    # The bar alone becomes shorter on a narrow terminal.
    table.add_column("LAST SECOND", min_width=len("LAST SECOND"), max_width=_BAR_WIDTH)
    for name in ("SHARE", "P50 ms", "IN FLIGHT", "CALLS"):
        table.add_column(name, justify="right", min_width=5, no_wrap=True)
    recent = shares(run.record, max(0.0, now_s - _WINDOW_S), now_s)
    for id_ in run.ids:
        table.add_row(*_cells(run, id_, recent.get(id_, 0.0)))
    return table


def _cells(run: Run, id_: str, share: float) -> tuple[Text | Bar, ...]:
    mark, state, style = _MARKS[_last_kind(run, id_)]
    member = run.pool.members.get(id_) if run.pool else None
    shown = min(share, _FULL_BAR_RATIO)
    return (
        Text(id_, "bold"),
        Text(f"{mark} {state}", style),
        Text(member.status if member else "-", "" if member and not member.reason else "dim"),
        Bar(_FULL_BAR_RATIO, 0, shown, color=style, bgcolor="default"),
        Text(f"{share:.0%}"),
        _latency(run, id_),
        Text(str(member.in_flight) if member else "-"),
        Text(f"{sum(1 for call in run.record.calls if call.instance_id == id_):,}"),
    )


def _latency(run: Run, id_: str) -> Text:
    recent = run.record.calls_since(run.record.now_s - _WINDOW_S)
    latencies_s = [call.latency_s for call in recent if call.instance_id == id_]
    if not latencies_s:
        return Text("-", "dim")
    ms = median(latencies_s) * 1000
    return Text(f"{ms:.0f}", "yellow" if ms > _MANY_MS else "")


def _events(run: Run) -> list[Text]:
    done = [_event(run, event) for event in run.record.events]
    ahead = [
        Text(f"{run.plan.when_s(kind):5.1f} s  {_AHEAD[kind]}", "dim")
        for kind, _ in EVENTS[len(done) :]
    ]
    return done + ahead


def _event(run: Run, event: Event) -> Text:
    text = Text(f"{event.at_s:5.1f} s  {what(event)}")
    took_s = settled_s(run.record, event)
    if took_s is not None:
        text.append(f"   {took(took_s)} {effect(event)}", "green")
    return text


def _last_kind(run: Run, id_: str) -> str | None:
    kinds = [event.kind for event in run.record.events if event.instance_id == id_]
    return kinds[-1] if kinds else None


class Lines:
    """A viewer that prints lines, for files, pipes and logs."""

    every_s = 1.0

    def opening(self, run: Run) -> None:
        """Show that the run is being prepared."""
        self.line(f"Starting a registry and {len(run.ids)} backends ...")

    def event(self, _: Run, event: Event) -> None:
        """Print an event."""
        self.line(f"{event.at_s:5.1f} s  {what(event)}")

    def update(self, run: Run) -> None:
        """Print the totals, and each instance's share of the last second."""
        record, now_s = run.record, run.record.now_s
        recent = shares(record, max(0.0, now_s - self.every_s), now_s)
        parts = "  ".join(f"{id_.rpartition('-')[2]}:{recent.get(id_, 0):4.0%}" for id_ in run.ids)
        self.line(
            f"{now_s:5.1f} s  {len(record.calls):6,} calls  {record.failures} failed"
            f"  {record.retried} retried  {parts}"
        )

    def line(self, text: str) -> None:
        """Print a line at once."""
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        pass


class Quiet(Lines):
    """A viewer that prints nothing."""

    def line(self, text: str) -> None:
        """Print nothing."""
