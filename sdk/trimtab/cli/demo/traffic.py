"""Open-loop traffic: calls arrive when they arrive, however slow the answers are."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import httpx

from trimtab.cli.demo.backend import SERVICE
from trimtab.cli.demo.record import Call, Record

if TYPE_CHECKING:
    from random import Random

    from trimtab.instance import Instance

__all__ = ["Clock", "RecordingTransport", "drive"]

_FIRST_FAILING_STATUS = 400


class Clock:
    """Seconds since `start` on the running loop's clock."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._started_at = self._loop.time()

    def start(self) -> None:
        """Begin at zero, now."""
        self._started_at = self._loop.time()

    def __call__(self) -> float:
        """Return the time."""
        return self._loop.time() - self._started_at


class RecordingTransport(httpx.AsyncHTTPTransport):
    """The ordinary transport to one instance, which notes each attempt on it."""

    def __init__(self, instance: Instance, record: Record, clock: Clock, **options: Any) -> None:
        super().__init__(**options)
        self._id, self._record, self._clock = instance.id, record, clock

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Note the attempt, and make it."""
        self._record.attempt(self._clock(), self._id)
        return await super().handle_async_request(request)


async def drive(
    client: httpx.AsyncClient,
    record: Record,
    clock: Clock,
    *,
    rate_per_s: float,
    duration_s: float,
    rng: Random,
) -> None:
    """Make calls, `rate_per_s` on average at random times, for `duration_s`; await their ends."""
    due_s = rng.expovariate(rate_per_s)
    async with asyncio.TaskGroup() as calls:
        while due_s < duration_s:
            # One that is late goes at once: the rate holds even when this loop lags.
            await asyncio.sleep(due_s - clock())
            calls.create_task(_call(client, record, clock))
            due_s += rng.expovariate(rate_per_s)


async def _call(client: httpx.AsyncClient, record: Record, clock: Clock) -> None:
    started_s = clock()
    try:
        response = await client.get(f"http://{SERVICE}/")
    except httpx.HTTPError as error:
        id_, attempts, why = "", 1, str(error) or type(error).__name__
    else:
        info = response.extensions["trimtab"]
        id_, attempts = info.instance.id, info.attempts
        failed = response.status_code >= _FIRST_FAILING_STATUS
        why = f"{id_} answered {response.status_code}" if failed else ""
    ended_s = clock()
    record.calls.append(
        Call(
            ended_at_s=ended_s,
            instance_id=id_,
            latency_s=ended_s - started_s,
            attempts=attempts,
            error=why,
        )
    )
