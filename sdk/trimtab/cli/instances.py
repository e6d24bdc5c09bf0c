"""Instances as people see them in tables, and as programs read them in JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from trimtab.instance import Status

if TYPE_CHECKING:
    from collections.abc import Iterable

    from trimtab.instance import Instance

__all__ = ["as_json", "instance_table", "plain_table", "status_text"]

_LOOKS = {
    Status.PASSING: ("●", "green"),
    Status.WARNING: ("▲", "yellow"),
    Status.CRITICAL: ("✖", "red"),
    Status.DRAINING: ("○", "cyan"),
}


def as_json(instance: Instance) -> dict[str, Any]:
    """Give an instance as plain data."""
    return {
        "id": instance.id,
        "address": instance.address,
        "host": instance.host,
        "port": instance.port,
        "scheme": instance.scheme,
        "status": instance.status.value,
        "weight": instance.weight,
        "zone": instance.zone,
        "metadata": dict(instance.metadata),
    }


def status_text(status: Status) -> Text:
    """Give a status with its mark and colour."""
    mark, style = _LOOKS[status]
    return Text(f"{mark} {status.value}", style)


def plain_table(*columns: str) -> Table:
    """Make a table without frame, for eyes and for awk."""
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def instance_table(instances: Iterable[Instance]) -> Table:
    """Make the table of a service's instances, in the registry's order."""
    table = plain_table("INSTANCE", "ADDRESS", "STATUS", "WEIGHT", "ZONE", "METADATA")
    table.columns[3].justify = "right"
    for each in instances:
        table.add_row(
            Text(each.id),
            Text(each.address),
            status_text(each.status),
            f"{each.weight:g}",
            Text(each.zone or "-"),
            Text(" ".join(f"{key}={value}" for key, value in sorted(each.metadata.items()))),
        )
    return table
