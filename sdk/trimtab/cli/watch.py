"""`trimtab watch`: a service's list as it changes."""

from __future__ import annotations

from contextlib import aclosing, nullcontext
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from trimtab.alerts import Alerter, AlertSettings
from trimtab.cli.consoles import for_output, is_live
from trimtab.cli.ending import DONE
from trimtab.cli.log import shown_log
from trimtab.cli.options import LOCAL, Json, Seconds, Source
from trimtab.cli.watching import JsonLines, Lines, LiveTable
from trimtab.discovery import Directory, DiscoverySettings
from trimtab.discovery.changes import Teller, looks

if TYPE_CHECKING:
    from trimtab.cli.watching import View
    from trimtab.events import Event

__all__ = ["watch"]

_FIRST_LIST_S = 3.0


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
    """Follow the instances of a service: a live table on a terminal, change lines elsewhere.

    It goes on through failures of the registry, and shows them with the age of the list.

    ```
    trimtab watch orders
    trimtab watch orders --json | jq -r 'select(.event == "added") | .instance.address'
    trimtab watch orders --alert mailto://me:secret@example.com --alert https://example.com/hook
    ```

    Args:
        service: The service's name.
        json_: Print one JSON object per change.
        alert: Whom to tell of faults and recoveries: an apprise URL (mailto://, slack://, ...) or
            a webhook (https://), as often as wanted. Better set by TRIMTAB_WATCH_ALERT or in the
            file: other users of this machine can read a command line.
        alert_every_s: Seconds between two alerts at least; what happens meanwhile is summed up.
        alert_removals: Alert also of instances that leave the registry, as the dead do in some.
        source: The registry.
    """
    settings = DiscoverySettings(startup_timeout_s=_FIRST_LIST_S)
    console = for_output()
    view: View = JsonLines(service) if json_ else Lines(console)
    if is_live(console) and not json_:
        view = LiveTable(console)
    told = AlertSettings(min_interval_s=alert_every_s, removals=alert_removals)
    with shown_log("trimtab.alerts"):
        async with (
            Alerter(*alert, settings=told) if alert else nullcontext() as alerter,
            Directory(source.registry, settings=settings) as directory,
        ):
            await directory.snapshot(service)
            teller = Teller(service, alerter or _nobody)
            with view:
                async with aclosing(looks(directory, service)) as seen:  # type: ignore[type-var]
                    async for snapshot, state in seen:
                        view.show(snapshot, state)
                        teller.see(snapshot, state)
    return DONE


def _nobody(_: Event) -> None:
    """Tell nobody."""
