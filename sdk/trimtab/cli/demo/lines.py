"""The run as plain lines, for files, pipes and logs: one a second, and one per event."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Self

from trimtab.cli.demo.measure import shares
from trimtab.cli.demo.words import what

if TYPE_CHECKING:
    from trimtab.cli.demo.record import Event
    from trimtab.cli.demo.scene import Stage

__all__ = ["Lines", "Silence"]


class Lines:
    """A viewer that prints."""

    every_s = 1.0

    def opening(self, stage: Stage) -> None:
        """Say what is being prepared."""
        self.say(f"Starting a registry and {len(stage.ids)} backends ...")

    def event(self, _: Stage, event: Event) -> None:
        """Say what was done."""
        self.say(f"{event.at_s:5.1f} s  {what(event)}")

    def look(self, stage: Stage) -> None:
        """Say how the run stands: totals, and each instance's share of the last second."""
        record, now_s = stage.record, stage.record.now_s
        recent = shares(record, max(0.0, now_s - self.every_s), now_s)
        parts = "  ".join(
            f"{id_.rpartition('-')[2]}:{recent.get(id_, 0):4.0%}" for id_ in stage.ids
        )
        self.say(
            f"{now_s:5.1f} s  {len(record.calls):6,} calls  {record.failures} failed"
            f"  {record.retried} retried  {parts}"
        )

    def say(self, text: str) -> None:
        """Print a line at once."""
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        pass


class Silence(Lines):
    """A viewer that says nothing."""

    def say(self, text: str) -> None:
        """Say nothing."""
