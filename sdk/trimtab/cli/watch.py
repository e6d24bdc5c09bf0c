"""`trimtab watch`: a service's list as it changes."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING

from trimtab.cli.consoles import for_output, is_live
from trimtab.cli.ending import DONE
from trimtab.cli.options import LOCAL, Json, Source
from trimtab.cli.watching import JsonLines, Lines, LiveTable
from trimtab.discovery import Directory, DiscoverySettings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from trimtab.cli.watching import View
    from trimtab.discovery import DiscoveryState
    from trimtab.instance import Snapshot

__all__ = ["watch"]

_FIRST_LIST_S = 3.0
_LOOK_EVERY_S = 0.5


async def watch(service: str, /, *, json_: Json = False, source: Source = LOCAL) -> int:
    """Follow the instances of a service: a live table on a terminal, change lines elsewhere.

    It goes on through failures of the registry, and shows them with the age of the list.

    ```
    trimtab watch orders
    trimtab watch orders --json | jq -r 'select(.event == "added") | .instance.address'
    ```

    Args:
        service: The service's name.
        json_: Print one JSON object per change.
        source: The registry.
    """
    settings = DiscoverySettings(startup_timeout_s=_FIRST_LIST_S)
    console = for_output()
    view: View = JsonLines(service) if json_ else Lines(console)
    if is_live(console) and not json_:
        view = LiveTable(console)
    async with Directory(source.registry, settings=settings) as directory:
        await directory.snapshot(service)
        with view:
            async with aclosing(_looks(directory, service)) as looks:  # type: ignore[type-var]
                async for snapshot, state in looks:
                    view.show(snapshot, state)
    return DONE


async def _looks(
    directory: Directory, service: str
) -> AsyncIterator[tuple[Snapshot | None, DiscoveryState]]:
    """Yield each new list, and None in between, always with the state of discovery."""
    snapshots = directory.watch(service)
    coming = asyncio.ensure_future(anext(snapshots))
    try:
        while True:
            await asyncio.wait({coming}, timeout=_LOOK_EVERY_S)
            snapshot = None
            if coming.done():
                snapshot = coming.result()
                coming = asyncio.ensure_future(anext(snapshots))
            yield snapshot, await directory.state(service)
    finally:
        coming.cancel()
        await asyncio.wait({coming})
        await snapshots.aclose()  # type: ignore[attr-defined] # it is an async generator
