"""What a load came to, as a table and as JSON."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from rich.console import Group
from rich.text import Text

from trimtab.cli.instances import plain_table

if TYPE_CHECKING:
    from trimtab.cli.load import Load, Row

__all__ = ["report_json", "report_table"]


def report_table(service: str, load: Load) -> Group:
    """Make the table, with a line that sums up and a line per kind of error."""
    table = plain_table(
        "INSTANCE", "ADDRESS", "REQUESTS", "FAILURES", "SHARE", "MEAN ms", "P50 ms", "P99 ms"
    )
    for column in table.columns[2:]:
        column.justify = "right"
    total = load.total
    for row in sorted(load.rows.values(), key=lambda row: (not row.id, row.id)):
        table.add_row(*_cells(row.id or "(no response)", row, total.requests))
    table.add_section()
    table.add_row(*_cells("total", total, total.requests), style="bold")
    rate_per_s = total.requests / load.elapsed_s
    summary = (
        f"{total.requests} requests to {service} in {load.elapsed_s:.2f} s "
        f"({rate_per_s:.0f} per second), {total.failures} failed, {load.retried} retried"
    )
    errors = (Text(f"{number} x {message}", "red") for message, number in load.errors.most_common())
    return Group(table, Text(), Text(summary), *errors)


def report_json(service: str, load: Load) -> dict[str, Any]:
    """Give the same figures as plain data; durations in seconds."""
    total = load.total
    return {
        "service": service,
        "elapsed_s": load.elapsed_s,
        "retried": load.retried,
        "errors": dict(load.errors),
        "total": _figures(total, total.requests),
        "instances": [
            {"id": row.id or None, "address": row.address or None, **_figures(row, total.requests)}
            for row in load.rows.values()
        ],
    }


def _cells(name: str, row: Row, all_requests: int) -> tuple[Text, ...]:
    return (
        Text(name),
        Text(row.address),
        Text(str(row.requests)),
        Text(str(row.failures), "red" if row.failures else ""),
        Text(f"{row.requests / all_requests:.1%}"),
        *(Text(_ms(each)) for each in (row.mean_s, row.quantile_s(0.5), row.quantile_s(0.99))),
    )


def _figures(row: Row, all_requests: int) -> dict[str, Any]:
    return {
        "requests": row.requests,
        "failures": row.failures,
        "share_ratio": row.requests / all_requests,
        "mean_s": _or_none(row.mean_s),
        "p50_s": _or_none(row.quantile_s(0.5)),
        "p99_s": _or_none(row.quantile_s(0.99)),
    }


def _ms(seconds: float) -> str:
    return "-" if math.isnan(seconds) else f"{seconds * 1000:.1f}"


def _or_none(seconds: float) -> float | None:
    return None if math.isnan(seconds) else seconds
