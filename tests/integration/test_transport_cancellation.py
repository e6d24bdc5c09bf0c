"""Over real sockets: a caller's cancellation in the turn of the loop in which something is due.

The test stalls the loop until the caller's time-out and the hedge, the deadline, the end of a wait
for room or of a pause are all due, and lets them come in one turn, at every place at which a
request waits. The instance never answers, so a cancellation that is swallowed shows as a request
that goes on.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import threading
from random import Random

import anyio
import httpx
import httpx2
import pytest
import trio

from transport_kit import RawServer, figures, listing
from trimtab import (
    BalancedTransport,
    ConcurrencyLimits,
    DiscoverySettings,
    HedgePolicy,
    RetryPolicy,
)
from trimtab.testing import FakeRegistry

WHO = "http://orders/who"
SOON_S = 0.004
STALL_S = 0.012
STEPS = 24
GOES_ON_S = 20.0
"""No request may go on for so long: nothing but the caller's time-out ends it, or what is due."""

DUE = {
    "hedge": {"hedge": HedgePolicy(quantile=None, after_s=SOON_S)},
    "deadline": {"deadline_s": SOON_S},
    "hedge and deadline": {
        "hedge": HedgePolicy(quantile=None, after_s=SOON_S),
        "deadline_s": 1.5 * SOON_S,
    },
    "room": {
        "concurrency": ConcurrencyLimits(max_in_flight=1, max_pending=9, max_wait_s=SOON_S),
    },
    "pause": {"retry": RetryPolicy(backoff_first_s=SOON_S, backoff_max_s=SOON_S)},
    "list": {"discovery": DiscoverySettings(startup_timeout_s=SOON_S, grace_s=0)},
}
ENDS = (httpx.TransportError, httpx2.TransportError, TimeoutError, asyncio.CancelledError)


async def by_cancel(call, after_s):
    task = asyncio.ensure_future(call())
    asyncio.get_running_loop().call_later(after_s, task.cancel)
    await task


async def by_timeout(call, after_s):
    async with asyncio.timeout(after_s):
        await call()


async def by_wait_for(call, after_s):
    await asyncio.wait_for(call(), after_s)


async def by_task_group(call, after_s):
    async def fail():
        await asyncio.sleep(after_s)
        raise TimeoutError

    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(call())
            group.create_task(fail())
    except ExceptionGroup as both:  # the request may have ended in that same turn
        raise both.exceptions[0] from None


async def by_anyio(call, after_s):
    with anyio.fail_after(after_s):
        await call()


def make(family, due, servers):
    registry = FakeRegistry("hung", delay_s=3600.0) if due == "list" else None
    options = {"discovery": DiscoverySettings(grace_s=0), **DUE[due]}
    return BalancedTransport(
        registry or listing(*(server.instance() for server in servers)),
        rng=Random(5),
        trust_env=False,
        drain_timeout_s=0.01,
        **options,
    )


async def stall(steps):
    """Let the request come to its `steps`-th place, and then let everything be due at once."""
    for _ in range(steps):
        await anyio.lowlevel.checkpoint()
    threading.Event().wait(STALL_S)


async def send(how, client, after_s, steps):
    """Return how a request ended."""

    async def call():
        await client.get(WHO)

    async def run():
        try:
            await how(call, after_s)
        except ENDS as error:
            ended.append(error)
        else:
            ended.append(None)

    ended = []
    with anyio.fail_after(GOES_ON_S):
        async with anyio.create_task_group() as group:
            group.start_soon(run)
            await stall(steps)
    return ended[0]


@contextlib.asynccontextmanager
async def full(client, transport, due):
    """With a request in flight on each instance, if it is for room that the others wait."""
    if due != "room":
        yield 0
        return
    async with anyio.create_task_group() as group:
        for _ in range(2):
            group.start_soon(client.get, WHO)
        while not transport.statistics() or figures(transport).in_flight < 2:  # noqa: ASYNC110 - figures have no event
            await anyio.sleep(0.001)
        yield 2
        group.cancel_scope.cancel()


def nothing_is_left(transport, held=0):
    for side in transport._sides():
        assert side.connections.in_use == held
        for service in side.services.all():
            assert service.under_way == held
            assert service.calls.queue.count == 0
    if "orders" in transport.statistics():
        busy = figures(transport)
        assert busy.in_flight == held
        for member in busy.members.values():
            ended = member.successes + member.failures + member.cancelled
            assert member.picks == ended + member.in_flight


async def cancel_when_due(family, due, how, check):
    """Cancel calls around the turn in which something is due; `check` how each of them ended."""
    kind = "hang_up" if due == "pause" else "silent"
    with RawServer(kind, "one") as one, RawServer(kind, "two") as two:
        for steps in range(STEPS):
            # The caller's time-out comes first, or last, of those that are due in one turn.
            for after_s in (0.9 * SOON_S, 1.6 * SOON_S):
                transport = make(family, due, [one, two])
                async with family.AsyncClient(
                    transport=transport, timeout=None, trust_env=False
                ) as client:
                    async with full(client, transport, due) as held:
                        end = await send(how, client, after_s, steps)
                        assert end is not None, "a silent instance has answered"
                        nothing_is_left(transport, held)
                        check(end)
                    nothing_is_left(transport)


@pytest.mark.parametrize("how", [by_cancel, by_timeout, by_wait_for, by_task_group, by_anyio])
@pytest.mark.parametrize("due", DUE)
@pytest.mark.parametrize("family", [httpx, httpx2], ids=["httpx", "httpx2"])
def test_a_cancellation_in_the_turn_in_which_something_is_due_is_never_swallowed(family, due, how):
    def check(end):
        assert isinstance(end, asyncio.CancelledError) or "cancel scope" not in str(end)
        assert not [each for each in asyncio.all_tasks() if "_try" in repr(each)]

    asyncio.run(cancel_when_due(family, due, how, check))


@pytest.mark.parametrize("due", DUE)
@pytest.mark.parametrize("family", [httpx, httpx2], ids=["httpx", "httpx2"])
def test_the_same_under_trio(family, due):
    def check(end):
        assert "cancel scope" not in str(end)

    trio.run(cancel_when_due, family, due, by_anyio, check)


# asyncio says so of tasks that were cancelled before their first step.
@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")
@pytest.mark.parametrize("due", ["hedge", "deadline", "hedge and deadline"])
def test_when_all_tasks_of_a_loop_are_cancelled_a_race_ends_in_that(due):
    """As `asyncio.run` does at its end: the attempts' own tasks are cancelled, too."""

    async def main():
        with RawServer("silent", "one") as one, RawServer("silent", "two") as two:
            for steps in range(STEPS):
                transport = make(httpx, due, [one, two])
                async with httpx.AsyncClient(
                    transport=transport, timeout=None, trust_env=False
                ) as client:
                    before = asyncio.all_tasks()
                    task = asyncio.ensure_future(client.get(WHO))
                    await stall(steps)
                    for _ in range(steps % 5):
                        await asyncio.sleep(0)
                    for each in asyncio.all_tasks() - before:
                        if "supervisor" not in each.get_name():
                            each.cancel()
                    with pytest.raises((asyncio.CancelledError, httpx.TransportError)):
                        await asyncio.wait_for(asyncio.shield(task), GOES_ON_S)
                    nothing_is_left(transport)

    asyncio.run(main())
    gc.collect()
