"""Calls of a `Balancer` with random ends: whatever happens, each has one end, and nothing is left.

The user's function succeeds, fails, hangs, swallows or replaces its cancellation; the caller has a
deadline, an anyio scope or asyncio's time-out around it; hedges and the queue for room join in.
"""

from __future__ import annotations

import asyncio
from random import Random

import anyio
import pytest

from trimtab import Balancer, ConcurrencyLimits, HedgePolicy, TrimtabError

WORKERS, CALLS = 20, 25
HEDGES = {
    "plain": None,
    "hedged": HedgePolicy(after_s=0.002),
    "hedged at once": HedgePolicy(after_s=0.0, min_s=0.0),
}
LIMITS = {
    "unbounded": ConcurrencyLimits(),
    "bounded": ConcurrencyLimits(max_in_flight=4, max_pending=10, max_wait_s=0.02),
}


class MineError(Exception):
    """An error of the caller's own."""


class Program:
    """Callers and the function that they call, with one source of chance."""

    def __init__(self, seed):
        self.rng = Random(seed)
        self.unexpected = []

    async def send(self, instance):
        """Do one of the things that clients do."""
        await asyncio.sleep(self.rng.choice([0.0, 0.001, 0.005]))
        ends = [self._answers] * 6
        ends += [self._fails, self._hangs, self._replaces_cancellation, self._turns_cancellation]
        return await self.rng.choice(ends)(instance)

    async def _answers(self, instance):
        return instance.port

    async def _fails(self, instance):
        raise self.rng.choice(
            [ConnectionResetError, ConnectionRefusedError, TimeoutError, MineError]
        )

    async def _hangs(self, instance):
        await asyncio.sleep(1.0)

    async def _replaces_cancellation(self, instance):
        is_cancelled = False
        try:
            await asyncio.sleep(1.0)
        except asyncio.CancelledError:
            is_cancelled = True
        if is_cancelled:
            raise asyncio.CancelledError

    async def _turns_cancellation(self, instance):
        try:
            await asyncio.sleep(1.0)
        except asyncio.CancelledError as error:
            raise OSError("the client's own error") from error

    async def calls(self, balancer):
        """Make calls one after the other."""
        for _ in range(CALLS):
            try:
                await self.rng.choice([self._in_scope, self._in_timeout])(balancer)
            except (TrimtabError, OSError, MineError):
                pass
            except BaseException as error:  # noqa: BLE001 - looked at by the test
                self.unexpected.append(error)
            if asyncio.current_task().cancelling():
                self.unexpected.append("a cancellation is left")

    async def _in_scope(self, balancer):
        with anyio.move_on_after(self.rng.choice([0.0, 0.002, 0.01, 0.05])):
            await self._call(balancer)

    async def _in_timeout(self, balancer):
        async with asyncio.timeout(self.rng.choice([0.0, 0.002, 0.01, 0.05])):
            await self._call(balancer)

    async def _call(self, balancer):
        await balancer.call(
            "orders",
            self.send,
            idempotent=self.rng.random() < 0.8,
            deadline_s=self.rng.choice([None, 0.002, 0.01, 0.03]),
        )


@pytest.mark.parametrize("limits", LIMITS.values(), ids=[*LIMITS])
@pytest.mark.parametrize("hedge", HEDGES.values(), ids=[*HEDGES])
@pytest.mark.parametrize("seed", [1, 2])
def test_every_call_has_one_end_and_nothing_is_left(seed, hedge, limits):
    async def main():
        program = Program(seed)
        async with Balancer(
            "static://h:1,h:2,h:3", hedge=hedge, concurrency=limits, rng=Random(seed)
        ) as balancer:
            await balancer.ready("orders")
            await asyncio.gather(*(program.calls(balancer) for _ in range(WORKERS)))
            figures = balancer.statistics()["orders"]
            assert program.unexpected == [], f"seed {seed}"
            assert figures.in_flight == 0
            for each in figures.members.values():
                assert each.picks == each.successes + each.failures + each.cancelled
            # No call keeps a place in the queue for room.
            assert [await balancer.call("orders", self_port) for _ in range(3)]
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(main())


async def self_port(instance):
    return instance.port
