"""Many requests, some at a time, and what became of them per instance."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from dataclasses import dataclass, field
from itertools import repeat
from time import perf_counter
from typing import TYPE_CHECKING

import httpx

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator
    from typing import Any

__all__ = ["FIRST_FAILING_STATUS", "Load", "Row", "run_load"]

FIRST_FAILING_STATUS = 500


@dataclass(slots=True, kw_only=True)
class Row:
    """What came of the requests that one instance answered; none did if `id` is "".

    Attributes:
        latencies_s: from the request to the end of the body, retries included.
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
    """All of them.

    Attributes:
        rows: by the instance's id; under "" those without a response.
        retried: how many requests took more than one attempt.
        errors: the messages of requests without a response, with their number.
        elapsed_s: from the first request to the last response.
    """

    rows: dict[str, Row] = field(default_factory=dict)
    retried: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    elapsed_s: float = 0.0

    @property
    def total(self) -> Row:
        """All rows in one."""
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
    """Call `send` `count` times, at most `concurrency` at a time."""
    load, started_at = Load(), perf_counter()
    # One iterator feeds all workers: whoever is free takes the next turn.
    turns = repeat(None, count)
    async with asyncio.TaskGroup() as group:
        for _ in range(min(concurrency, count)):
            group.create_task(_work(turns, send, load))
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
