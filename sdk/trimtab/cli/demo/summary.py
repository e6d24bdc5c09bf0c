"""What a run came to, as tables for people and as JSON for programs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.console import Group
from rich.text import Text

from trimtab.cli.demo.measure import phases, settled_s, shares
from trimtab.cli.demo.words import PHASES, effect, took, what
from trimtab.cli.instances import plain_table
from trimtab.cli.load import Row

if TYPE_CHECKING:
    from rich.table import Table

    from trimtab.cli.demo.scene import Stage

__all__ = ["summary", "summary_json"]


def summary(stage: Stage) -> Group:
    """Draw the summary."""
    return Group(Text(), _share_table(stage), Text(), _event_table(stage), Text(), _verdict(stage))


def summary_json(stage: Stage) -> dict[str, Any]:
    """Give the summary as plain data; durations in seconds, shares from 0 to 1."""
    record = stage.record
    return {
        "requests": len(record.calls),
        "failures": record.failures,
        "retried": record.retried,
        "duration_s": record.now_s,
        "rate_per_s": len(record.calls) / record.now_s,
        "strategy": stage.plan.strategy,
        "seed": stage.plan.seed,
        "errors": sorted({call.error for call in record.calls if call.error}),
        "shares": {
            name: shares(record, from_s, until_s) for name, from_s, until_s in phases(record)
        },
        "events": [
            {
                "event": event.kind,
                "instance": event.instance_id,
                "at_s": event.at_s,
                "fair_ratio": event.fair_ratio,
                "settled_s": settled_s(record, event),
            }
            for event in record.events
        ],
    }


def _share_table(stage: Stage) -> Table:
    spans = phases(stage.record)
    names = [f"{PHASES[name].upper()}" for name, _, _ in spans]
    table = plain_table("INSTANCE", "CALLS", "FAILED", *names, "P50 ms", "P99 ms")
    for column in table.columns[1:]:
        column.justify = "right"
    parts = [shares(stage.record, from_s, until_s) for _, from_s, until_s in spans]
    for id_ in stage.ids:
        row = _row(stage, id_)
        table.add_row(
            Text(id_, "bold"),
            f"{row.requests:,}",
            Text(str(row.failures), "red" if row.failures else ""),
            *(Text(f"{part[id_]:.1%}") if id_ in part else Text("-", "dim") for part in parts),
            *(f"{row.quantile_s(ratio) * 1000:.1f}" for ratio in (0.5, 0.99)),
        )
    return table


def _row(stage: Stage, id_: str) -> Row:
    calls = [call for call in stage.record.calls if call.instance_id == id_]
    return Row(
        requests=len(calls),
        failures=sum(1 for call in calls if call.error),
        latencies_s=[call.latency_s for call in calls],
    )


def _event_table(stage: Stage) -> Table:
    table = plain_table("AT", "EVENT", "TOOK", "")
    table.columns[0].justify = table.columns[2].justify = "right"
    for event in stage.record.events:
        took_s = settled_s(stage.record, event)
        table.add_row(
            f"{event.at_s:.1f} s",
            what(event),
            Text(took(took_s), "yellow" if took_s is None else "green"),
            Text(effect(event), "dim"),
        )
    return table


def _verdict(stage: Stage) -> Text:
    record, failed = stage.record, stage.record.failures
    text = Text.assemble(
        (f"{len(record.calls):,} calls in {record.now_s:.1f} s", "bold"),
        f" ({len(record.calls) / record.now_s:.0f} per second), ",
        (f"{failed} failed", "bold red" if failed else "bold green"),
        f", {record.retried} retried on another instance",
    )
    for error in sorted({call.error for call in record.calls if call.error})[:5]:
        text.append(f"\n{error}", "red")
    return text
