"""Many requests, some at a time, and their figures per instance, as a table or JSON."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from dataclasses import dataclass, field
from itertools import repeat
from time import perf_counter
from typing import TYPE_CHECKING, Any

import httpx
from rich.console import Group
from rich.text import Text

from trimtab.cli.consoles import Fitted, plain_table, visible

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator
    from typing import Any

__all__ = ["FIRST_FAILING_STATUS", "Load", "Row", "report_json", "report_table", "run_load"]

FIRST_FAILING_STATUS = 500


@dataclass(slots=True, kw_only=True)
class Row:
    """The requests that one instance answered; with an empty `id`, those without a response.

    Attributes:
        latencies_s: the time of each from the request to the end of the body, retries included.
    """

    id: str = ""
    address: str = ""
    requests: int = 0
    failures: int = 0
    latencies_s: list[float] = field(default_factory=list)

    @property
    def mean_s(self) -> float:
        """The mean latency; NaN without responses."""
        return math.fsum(self.latencies_s) / len(self.latencies_s) if self.latencies_s else math.nan

    def quantile_s(self, ratio: float) -> float:
        """The latency that `ratio` of the responses, 0 to 1, do not exceed; NaN without any."""
        if not self.latencies_s:
            return math.nan
        ordered = sorted(self.latencies_s)
        return ordered[max(0, math.ceil(ratio * len(ordered)) - 1)]


@dataclass(slots=True, kw_only=True)
class Load:
    """All requests of a load, and their figures.

    Attributes:
        rows: one per instance, by id; "" for requests without a response.
        retried: how many requests took more than one attempt.
        errors: the messages of requests without a response, with their number.
        elapsed_s: from the first request to the last response.
        is_interrupted: whether Ctrl-C ended it before all requests were sent.
    """

    rows: dict[str, Row] = field(default_factory=dict)
    retried: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    elapsed_s: float = 0.0
    is_interrupted: bool = False

    @property
    def total(self) -> Row:
        """All rows added up."""
        rows = self.rows.values()
        return Row(
            requests=sum(row.requests for row in rows),
            failures=sum(row.failures for row in rows),
            latencies_s=[latency_s for row in rows for latency_s in row.latencies_s],
        )

    @property
    def failures(self) -> int:
        """Requests without a response, or with one of status 500 or above."""
        return sum(row.failures for row in self.rows.values())


async def run_load(
    send: Callable[[], Coroutine[Any, Any, httpx.Response]], *, count: int, concurrency: int
) -> Load:
    """Call `send` `count` times, at most `concurrency` at a time.

    A cancellation, which is what Ctrl-C becomes, ends it with what was done by then.
    """
    load, started_at = Load(), perf_counter()
    # One iterator feeds all workers: a free worker takes the next request.
    turns = repeat(None, count)
    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(min(concurrency, count)):
                group.create_task(_work(turns, send, load))
    except asyncio.CancelledError:
        load.is_interrupted = True
        if task := asyncio.current_task():
            task.uncancel()
    load.elapsed_s = perf_counter() - started_at
    return load


async def _work(
    turns: Iterator[None], send: Callable[[], Coroutine[Any, Any, httpx.Response]], load: Load
) -> None:
    for _ in turns:
        started_at = perf_counter()
        try:
            response = await send()
        except httpx.HTTPError as error:
            row = load.rows.setdefault("", Row())
            row.requests += 1
            row.failures += 1
            load.errors[str(error) or type(error).__name__] += 1
        else:
            _note(load, response, perf_counter() - started_at)


def _note(load: Load, response: httpx.Response, latency_s: float) -> None:
    info = response.extensions["trimtab"]
    row = load.rows.setdefault(
        info.instance.id, Row(id=info.instance.id, address=info.instance.address)
    )
    row.requests += 1
    row.failures += response.status_code >= FIRST_FAILING_STATUS
    row.latencies_s.append(latency_s)
    load.retried += info.attempts > 1


def report_table(service: str, load: Load) -> Group:
    """Make a table, a summary line, and a line per kind of error."""
    table = plain_table(
        "INSTANCE", "ADDRESS", "REQUESTS", "FAILURES", "SHARE", "MEAN ms", "P50 ms", "P99 ms"
    )
    for column in table.columns[2:]:
        column.justify = "right"
    total = load.total
    for row in sorted(load.rows.values(), key=lambda row: (not row.id, row.id)):
        table.add_row(*_cells(visible(row.id) or "(no response)", row, total.requests))
    table.add_section()
    table.add_row(*_cells("total", total, total.requests), style="bold")
    rate_per_s = total.requests / load.elapsed_s
    summary = (
        f"{total.requests} requests to {service} in {load.elapsed_s:.2f} s "
        f"({rate_per_s:.0f} per second), {total.failures} failed, {load.retried} retried"
    )
    errors = (Text(f"{number} x {message}", "red") for message, number in load.errors.most_common())
    return Group(Fitted(table), Text(), Text(summary), *errors)


def report_json(service: str, load: Load) -> dict[str, Any]:
    """Return the same figures as plain data; durations in seconds."""
    total = load.total
    return {
        "service": service,
        "interrupted": load.is_interrupted,
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
        Text(f"{row.requests / all_requests:.1%}" if all_requests else "-"),
        *(Text(_ms(each)) for each in (row.mean_s, row.quantile_s(0.5), row.quantile_s(0.99))),
    )


def _figures(row: Row, all_requests: int) -> dict[str, Any]:
    return {
        "requests": row.requests,
        "failures": row.failures,
        "share_ratio": row.requests / all_requests if all_requests else None,
        "mean_s": _or_none(row.mean_s),
        "p50_s": _or_none(row.quantile_s(0.5)),
        "p99_s": _or_none(row.quantile_s(0.99)),
    }


def _ms(seconds: float) -> str:
    return "-" if math.isnan(seconds) else f"{seconds * 1000:.1f}"


def _or_none(seconds: float) -> float | None:
    return None if math.isnan(seconds) else seconds
