"""Blocking queries: which ones wake, which wait, and which end."""

import asyncio
import random

import pytest

from trimtab.server.blocking import Waiters, wait_with_jitter_s
from trimtab.server.decoding import Refusal

pytestmark = pytest.mark.anyio


async def never():
    await asyncio.Event().wait()


def waiting(waiters, *topics, changed=lambda: True, timeout_s=30.0, receive=never):
    """Start a wait whose condition holds only from when it is woken."""
    asked = iter([False])
    return asyncio.create_task(
        waiters.wait(
            topics,
            lambda: next(asked, None) is None and changed(),
            timeout_s=timeout_s,
            receive=receive,
        )
    )


async def settled():
    for _ in range(5):
        await asyncio.sleep(0)


async def test_wakes_only_the_topic_that_changed():
    waiters = Waiters(10)
    first, second = waiting(waiters, "a", "c"), waiting(waiters, "b")
    await settled()
    assert waiters.count == 2
    waiters.wake(["c", "a", "unknown"])
    assert await first
    await settled()
    assert not second.done()
    waiters.wake(["b"])
    assert await second
    assert waiters.count == 0
    assert waiters._by_topic == {}


async def test_a_change_that_is_not_enough_does_not_wake():
    waiters, enough = Waiters(10), []
    task = waiting(waiters, "a", changed=lambda: bool(enough))
    await settled()
    waiters.wake(["a"])
    await settled()
    assert not task.done()
    enough.append(1)
    waiters.wake(["a"])
    assert await task


async def test_an_earlier_change_does_not_wait():
    assert await Waiters(0).wait(["a"], lambda: True, timeout_s=30.0, receive=never)


async def test_the_wait_ends_at_its_timeout():
    assert await waiting(Waiters(10), "a", timeout_s=0.01)


async def test_a_client_that_disconnects_stops_waiting():
    messages = iter([{"type": "http.request"}, {"type": "http.disconnect"}])

    async def receive():
        return next(messages)

    waiters = Waiters(10)
    assert not await waiting(waiters, "a", receive=receive)
    assert waiters.count == 0


async def test_waiters_above_the_limit_are_refused():
    waiters = Waiters(1)
    first = waiting(waiters, "a")
    await settled()
    with pytest.raises(Refusal, match="Too many blocking queries") as caught:
        await waiting(waiters, "a")
    assert (caught.value.status, caught.value.headers) == (429, {"Retry-After": "1"})
    waiters.wake(["a"])
    await first
    waiters.close()
    assert await waiting(waiters, "a")


async def test_closing_answers_all_waiters():
    waiters = Waiters(10)
    tasks = [waiting(waiters, "a", "b"), waiting(waiters, "b")]
    await settled()
    waiters.close()
    assert await asyncio.gather(*tasks) == [True, True]


async def test_a_cancelled_wait_leaves_nothing_behind():
    waiters = Waiters(10)
    task = waiting(waiters, "a")
    await settled()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (waiters.count, waiters._by_topic) == (0, {})


@pytest.mark.parametrize(
    ("asked_s", "least_s"), [(0.0, 300.0), (-1.0, 300.0), (8.0, 8.0), (9999.0, 600.0)]
)
async def test_the_wait_is_bounded_and_spread(asked_s, least_s):
    rng = random.Random(1)
    waits = [wait_with_jitter_s(asked_s, rng) for _ in range(100)]
    assert all(least_s <= wait <= least_s * 17 / 16 for wait in waits)
    assert len(set(waits)) > 90
