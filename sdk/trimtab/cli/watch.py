"""`trimtab watch`: show a service's instances as they change.

There are three views: a live table, lines for people, and lines of JSON for programs.
"""

from __future__ import annotations

import json
from collections import deque
from contextlib import aclosing, nullcontext
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Protocol, Self

from cyclopts import Parameter
from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from trimtab.alerts import Alerter, AlertSettings
from trimtab.cli.consoles import as_json, counted, for_output, instance_table, is_live, visible
from trimtab.cli.ending import DONE, shown_log
from trimtab.cli.inputs import LOCAL, Json, Seconds, Source
from trimtab.discovery import Directory, DiscoverySettings
from trimtab.discovery.changes import EventEmitter, changes, observe

if TYPE_CHECKING:
    from trimtab.discovery import DiscoveryState
    from trimtab.discovery.changes import Change
    from trimtab.events import Event
    from trimtab.instance import Instance, Snapshot

__all__ = ["JsonLines", "Lines", "LiveTable", "View", "watch"]

_FIRST_LIST_S = 3.0
_RECENT = 6


async def watch(
    service: str,
    /,
    *,
    json_: Json = False,
    alert: Annotated[tuple[str, ...], Parameter(show_default=False)] = (),
    alert_every_s: Annotated[Seconds, Parameter(name="--alert-every")] = 60.0,
    alert_removals: bool = False,
    source: Source = LOCAL,
) -> int:
    """Follow the instances of a service: a live table on a terminal, one line per change elsewhere.

    It continues through failures of the registry, and shows them with the age of the list.

    ```
    trimtab watch orders
    trimtab watch orders --json | jq -r 'select(.event == "added") | .instance.address'
    trimtab watch orders --alert mailto://me:secret@example.com --alert https://example.com/hook
    ```

    Args:
        service: The service's name.
        json_: Print one JSON object per change.
        alert: Where to send alerts about faults and recoveries: an apprise URL (mailto://,
            slack://, ...) or a webhook (https://); may be repeated. Other users of this machine
            can read flags, so use TRIMTAB_WATCH_ALERT or the file.
        alert_every_s: The least time between two alerts, in seconds; the second sums up the rest.
        alert_removals: Also alert when an instance leaves the registry. Some registries remove
            dead instances instead of marking them critical.
        source: The registry.
    """
    settings = DiscoverySettings(startup_timeout_s=_FIRST_LIST_S)
    console = for_output()
    view: View = JsonLines(service) if json_ else Lines(console)
    if is_live(console) and not json_:
        view = LiveTable(console)
    alerts = AlertSettings(min_interval_s=alert_every_s, removals=alert_removals)
    with shown_log("trimtab.alerts"):
        async with (
            Alerter(*alert, settings=alerts) if alert else nullcontext() as alerter,
            Directory(source.registry, settings=settings) as directory,
        ):
            await directory.snapshot(service)
            emitter = EventEmitter(service, alerter or _ignore)
            with view:
                async with aclosing(observe(directory, service)) as observed:  # type: ignore[type-var]
                    async for snapshot, state in observed:
                        view.show(snapshot, state)
                        emitter.update(snapshot, state)
    return DONE


def _ignore(_: Event) -> None:
    """Do nothing: there is no alerter."""


class View(Protocol):
    """A view of a service, open for a block."""

    def show(self, snapshot: Snapshot | None, state: DiscoveryState) -> None:
        """Show the new list, if there is one, and the state of discovery."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *exc_info: object) -> None: ...


class Lines:
    """One line per change, failure of the registry and recovery."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._instances: tuple[Instance, ...] = ()
        self._fails = False
        self._held: int | None = None
        self._has_list = False

    def show(self, snapshot: Snapshot | None, state: DiscoveryState) -> None:
        """Print the changes since the last call."""
        if bool(state.failures) != self._fails:
            self._fails = bool(state.failures)
            self.registry(state)
        if state.held != self._held:
            self._held = state.held
            if state.held is not None:
                self.held(state.held)
        if snapshot is not None:
            for change in changes(self._instances, snapshot.instances):
                self.change(change)
            if not snapshot.instances and (self._instances or not self._has_list):
                self.none(state)
            self._instances, self._has_list = snapshot.instances, True

    def change(self, change: Change) -> None:
        """Print one change."""
        self._line(str(change))

    def none(self, state: DiscoveryState) -> None:
        """Print that no instance is listed."""
        self._line(f"! {state.registry} lists no instance of {state.service!r}")

    def registry(self, state: DiscoveryState) -> None:
        """Print that the registry is unavailable, or available again."""
        if self._fails:
            self._line(
                f"! the registry is unavailable; the last list stays in use: {state.last_error}"
            )
        else:
            self._line(f"! {state.registry} is available again")

    def held(self, size: int) -> None:
        """Print that a list waits for confirmation."""
        listed = counted(size, "instance")
        self._line(f"! a list of only {listed} is held back until it is confirmed")

    def _line(self, text: str) -> None:
        self._console.print(Text(f"{_clock()}  {visible(text)}"), soft_wrap=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        pass


class JsonLines(Lines):
    """One JSON object per change, failure of the registry and recovery."""

    def __init__(self, service: str) -> None:
        super().__init__(Console(quiet=True))
        self._service = service

    def change(self, change: Change) -> None:
        """Print one change."""
        before = as_json(change.before) if change.before else None
        self._object(change.kind, instance=as_json(change.instance), before=before)

    def registry(self, state: DiscoveryState) -> None:
        """Print that the registry is unavailable, or available again."""
        event = "registry_unavailable" if self._fails else "registry_available"
        self._object(event, registry=state.registry, error=state.last_error)

    def none(self, state: DiscoveryState) -> None:
        """Print that no instance is listed."""
        self._object("list_empty", registry=state.registry)

    def held(self, size: int) -> None:
        """Print that a list waits for confirmation."""
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
        """Draw the present list and state."""
        if snapshot is not None:
            if not self._is_first:
                news = changes(self._instances, snapshot.instances)
                self._recent.extend(f"{_clock()}  {visible(str(change))}" for change in news)
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
        (visible(state.service), "bold"),
        (f"  {counted(state.instances or 0, 'instance')}", ""),
        (f"  {state.registry}", "dim"),
        (f"  confirmed {state.age_s or 0:.0f} s ago", "dim"),
    )
    if state.source == "disk":
        text.append("  from disk", "yellow")
    if state.held is not None:
        text.append(
            f"  a list of {counted(state.held, 'instance')} is held back until it is confirmed",
            "yellow",
        )
    if state.failures:
        text.append(f"  {counted(state.failures, 'failure')}: {visible(state.last_error)}", "red")
    return text


def _clock() -> str:
    return datetime.now().astimezone().strftime("%H:%M:%S")
