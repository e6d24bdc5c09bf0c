"""The three views of `trimtab watch`: a live table, lines for people, lines for programs."""

from __future__ import annotations

import json
from collections import deque
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol, Self

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from trimtab.cli.instances import as_json, instance_table
from trimtab.discovery.changes import changes

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from trimtab.discovery import DiscoveryState
    from trimtab.discovery.changes import Change
    from trimtab.instance import Instance, Snapshot

    class View(AbstractContextManager["View"], Protocol):
        """What is shown of a service; open while it is looked at."""

        def show(self, snapshot: Snapshot | None, state: DiscoveryState) -> None:
            """Show a list, if there is a new one, and the state of discovery."""
            ...


__all__ = ["JsonLines", "Lines", "LiveTable", "View"]

_RECENT = 6


class Lines:
    """One line per change, and per failure and recovery of the registry."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._instances: tuple[Instance, ...] = ()
        self._fails = False
        self._held: int | None = None

    def show(self, snapshot: Snapshot | None, state: DiscoveryState) -> None:
        """Print what is new."""
        if bool(state.failures) != self._fails:
            self._fails = bool(state.failures)
            self.trouble(state)
        if state.held != self._held:
            self._held = state.held
            if state.held is not None:
                self.doubt(state.held)
        if snapshot is not None:
            for change in changes(self._instances, snapshot.instances):
                self.change(change)
            self._instances = snapshot.instances

    def change(self, change: Change) -> None:
        """Print one change."""
        self._line(str(change))

    def trouble(self, state: DiscoveryState) -> None:
        """Print that the registry fails, or answers again."""
        if self._fails:
            self._line(f"! the registry fails; the last list stays in use: {state.last_error}")
        else:
            self._line(f"! {state.registry} answers again")

    def doubt(self, size: int) -> None:
        """Print that a list is not believed yet."""
        self._line(f"! a list of only {size} is held back until it is confirmed")

    def _line(self, text: str) -> None:
        self._console.print(Text(f"{_clock()}  {text}"), soft_wrap=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        pass


class JsonLines(Lines):
    """One JSON object per change, and per failure and recovery of the registry."""

    def __init__(self, service: str) -> None:
        super().__init__(Console(quiet=True))
        self._service = service

    def change(self, change: Change) -> None:
        """Print one change."""
        before = as_json(change.before) if change.before else None
        self._object(change.kind, instance=as_json(change.instance), before=before)

    def trouble(self, state: DiscoveryState) -> None:
        """Print that the registry fails, or answers again."""
        event = "registry_fails" if self._fails else "registry_answers"
        self._object(event, registry=state.registry, error=state.last_error)

    def doubt(self, size: int) -> None:
        """Print that a list is not believed yet."""
        self._object("list_held", instances=size)

    def _object(self, event: str, **values: Any) -> None:
        at = datetime.now().astimezone().isoformat(timespec="milliseconds")
        print(
            json.dumps({"at": at, "event": event, "service": self._service, **values}), flush=True
        )


class LiveTable:
    """A table that is redrawn in place, with the latest changes below."""

    def __init__(self, console: Console) -> None:
        self._instances: tuple[Instance, ...] = ()
        self._recent: deque[str] = deque(maxlen=_RECENT)
        self._live = Live(console=console, auto_refresh=False, transient=False)
        self._is_first = True

    def show(self, snapshot: Snapshot | None, state: DiscoveryState) -> None:
        """Draw the list and its state as they are now."""
        if snapshot is not None:
            if not self._is_first:
                news = changes(self._instances, snapshot.instances)
                self._recent.extend(f"{_clock()}  {change}" for change in news)
            self._instances, self._is_first = snapshot.instances, False
        self._live.update(self.picture(state), refresh=True)

    def picture(self, state: DiscoveryState) -> Group:
        """Draw the whole picture."""
        return Group(
            _headline(state),
            Text(),
            instance_table(self._instances),
            *([Text()] if self._recent else []),
            *(Text(line, "dim") for line in self._recent),
        )

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._live.stop()


def _headline(state: DiscoveryState) -> Text:
    text = Text.assemble(
        (state.service, "bold"),
        (f"  {state.instances or 0} instances", ""),
        (f"  {state.registry}", "dim"),
        (f"  confirmed {state.age_s or 0:.0f} s ago", "dim"),
    )
    if state.source == "disk":
        text.append("  from disk", "yellow")
    if state.held is not None:
        text.append(f"  a list of {state.held} is held back until confirmed", "yellow")
    if state.failures:
        text.append(f"  {state.failures} failures: {state.last_error}", "red")
    return text


def _clock() -> str:
    return datetime.now().astimezone().strftime("%H:%M:%S")
