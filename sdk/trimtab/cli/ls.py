"""`trimtab ls`: list the services of a registry, or the instances of one."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from rich.text import Text

from trimtab.cli.consoles import (
    Fitted,
    as_json,
    for_output,
    instance_table,
    plain_table,
    status_text,
    visible,
)
from trimtab.cli.ending import DONE, warn
from trimtab.cli.inputs import LOCAL, Json, Source
from trimtab.instance import Status
from trimtab.networks import NetworkPolicy
from trimtab.registries import connect

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from trimtab.registries import Registry

__all__ = ["ls"]

_AT_ONCE = 8


async def ls(service: str | None = None, /, *, json_: Json = False, source: Source = LOCAL) -> int:
    """List the services of a registry, or the instances of one service.

    It lists all instances, healthy or not.

    ```
    trimtab ls
    trimtab ls orders --registry consul://10.0.0.1:8500
    trimtab ls orders --json | jq -r '.[] | select(.status == "passing") | .address'
    ```

    Args:
        service: The service whose instances are listed; all services by default.
        json_: Print JSON: an array of objects.
        source: The registry.
    """
    async with _connected(source.registry) as registry:
        if service is None:
            await _list_services(registry, json_=json_)
        else:
            await _list_instances(registry, service, json_=json_)
    return DONE


async def _list_instances(registry: Registry, service: str, *, json_: bool) -> None:
    listing = await registry.fetch(service)
    for message in listing.skipped:
        warn(message)
    policy = NetworkPolicy()
    for each in listing.instances:
        if (why := policy.refusal_of(each.host)) is not None:
            warn(f"clients do not call {each.id} ({each.address}): {why}")
    if json_:
        print(json.dumps([as_json(each) for each in listing.instances], indent=2))
    elif listing.instances:
        for_output().print(instance_table(listing.instances))
    else:
        warn(f"{registry.url} lists no instance of {service!r}; `trimtab ls` lists its services")


async def _list_services(registry: Registry, *, json_: bool) -> None:
    names = await registry.services()
    counts = await _counts(registry, names)
    if json_:
        rows = [
            {"service": name, "instances": {status.value: n for status, n in counts[name].items()}}
            for name in names
        ]
        print(json.dumps(rows, indent=2))
    elif names:
        table = plain_table("SERVICE", "INSTANCES")
        for name in names:
            parts = [_count(counts[name], status) for status in Status if counts[name][status]]
            table.add_row(Text(visible(name)), Text("  ").join(parts))
        for_output().print(Fitted(table))
    else:
        warn(f"{registry.url} lists no service; `trimtab register` adds one")


async def _counts(registry: Registry, names: list[str]) -> dict[str, Counter[Status]]:
    gate = asyncio.Semaphore(_AT_ONCE)

    async def count(name: str) -> Counter[Status]:
        async with gate:
            return Counter(each.status for each in (await registry.fetch(name)).instances)

    return dict(zip(names, await asyncio.gather(*map(count, names)), strict=True))


def _count(counts: Counter[Status], status: Status) -> Text:
    return Text(f"{counts[status]} ").append_text(status_text(status))


@asynccontextmanager
async def _connected(url: str) -> AsyncIterator[Registry]:
    registry = connect(url)
    try:
        yield registry
    finally:
        await registry.aclose()
