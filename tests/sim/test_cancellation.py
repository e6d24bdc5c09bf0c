"""A request may be cancelled at any moment: nothing leaks, and all counts stay right."""

from __future__ import annotations

import asyncio
import types
from collections import Counter
from random import Random

import anyio
import httpcore  # noqa: F401 - looks around the machine when imported: before the fences go up
import httpcore2  # noqa: F401 - so does this
import httpx
import httpx2
import pytest
from memory_network import Network

from trimtab import (
    BalancedTransport,
    ConcurrencyLimits,
    DiscoverySettings,
    Instance,
    RetryPolicy,
)
from trimtab.calls import HedgePolicy
from trimtab.http.families import Family
from trimtab.http.making import Maker
from trimtab.testing import FakeRegistry
from trimtab_sim.loop import run

INSTANCES = [
    Instance(host=f"10.0.0.{number}", port=80, scheme=("http", "https")[number % 2])
    for number in range(1, 6)
]
HEDGE_S, WAIT_S, DEADLINE_S = 0.003, 0.004, 0.006
DUE_S = [HEDGE_S, WAIT_S, DEADLINE_S, 0.001, 0.002, HEDGE_S + WAIT_S]
HEDGED = HedgePolicy(quantile=None, after_s=HEDGE_S)
CLIENTS = {
    "alone": {},
    "hedged": {"hedge": HEDGED},
    "bounded": {
        "deadline_s": DEADLINE_S,
        "concurrency": ConcurrencyLimits(max_in_flight=1, max_pending=2, max_wait_s=WAIT_S),
    },
    "hedged and bounded": {
        "hedge": HEDGED,
        "deadline_s": DEADLINE_S,
        "concurrency": ConcurrencyLimits(max_in_flight=1, max_pending=2, max_wait_s=WAIT_S),
    },
}
MEAN_STEP = 8  # of a dozen places at which a request waits, or many more with its retries


@types.coroutine
def cancelled_at(step, cancel, coroutine):
    """Run a coroutine, and call `cancel` at the so-manieth place at which it waits."""
    waits, error, result = 0, None, None
    try:
        while True:
            waiting = coroutine.throw(error) if error else coroutine.send(result)
            waits += 1
            if waits == step:
                cancel()
            error = None
            try:
                result = yield waiting
            except BaseException as thrown:  # noqa: BLE001 - goes on inside
                error = thrown
    except StopIteration as done:
        return done.value


async def by_task(step, coroutine):
    """Cancel as `asyncio.wait_for` does; say whether it came to that."""
    task = asyncio.current_task()
    try:
        await cancelled_at(step, task.cancel, coroutine)
    except asyncio.CancelledError:
        task.uncancel()
        return True
    return False


async def by_scope(step, coroutine):
    """Cancel as `anyio.move_on_after` does."""
    with anyio.CancelScope() as scope:
        await cancelled_at(step, scope.cancel, coroutine)
    return scope.cancelled_caught


async def by_timeout(step, coroutine):
    """Cancel by `asyncio.timeout`, in the very moment in which something of ours is due."""
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(DUE_S[step % len(DUE_S)]) as scope:
            await coroutine
    except TimeoutError:
        return True
    # It ended in that same moment, or else the cancellation was swallowed.
    assert not scope.expired() or loop.time() == scope.when()
    return False


class Program:
    """A client over a moody network, and what must hold whenever it rests."""

    def __init__(self, module, rng, client):
        self.family, self.rng = Family(module), rng
        self.network = Network(self.family.core, rng)
        self.registry = FakeRegistry()
        self.registry.set("orders", INSTANCES)
        limits = module.Limits(keepalive_expiry=None)
        self._maker = Maker(limits=limits, trust_env=False, network=self.network)
        self.transport = BalancedTransport(
            self.registry,
            inner=self._inner,
            discovery=DiscoverySettings(grace_s=0),
            retry=RetryPolicy(statuses={503}, max_attempts=4, backoff_first_s=0.002),
            connection_max_age_s=0.2,
            rng=rng,
            **CLIENTS[client],
        )
        self.is_bounded = "bounded" in client
        self.client = module.AsyncClient(transport=self.transport, timeout=5.0, trust_env=False)
        self.sent = self.cancelled = 0
        self.messages = set()
        self.asked = Counter()

    async def open(self):
        """Make the list known; from now on picks and the retry budget are counted."""
        await self.request()
        (service,) = self.transport._sides()[0].services.all()
        self.service, self.sent = service, 0
        self._count(service.calls.pool, "pick")
        self._count(service.calls.budget, "request")
        self._count(service.calls.budget, "take")

    def _count(self, owner, name):
        function = getattr(owner, name)

        def counted(*args, **options):
            result = function(*args, **options)
            self.asked[name] += result is not False
            return result

        setattr(owner, name, counted)

    def _inner(self, instance):
        return self._maker.make(self.family, instance, is_async=True)

    async def request(self):
        """Send one, of any kind, and read it in any way."""
        self.sent += 1
        kind = self.rng.randrange(4)
        try:
            if kind == 0:
                await self.client.post("http://orders/", content=b"parcel")
            elif kind == 1:
                async with self.client.stream("GET", "http://orders/") as response:
                    async for _ in response.aiter_bytes():
                        await asyncio.sleep(self.rng.choice([0, 0.001]))
            elif kind == 2:
                async with self.client.stream("GET", "http://orders/"):
                    await asyncio.sleep(0.001)
            else:
                await self.client.get("http://orders/")
        except self.family.module.TransportError as error:
            self.messages.add(str(error))

    async def batch(self, how):
        """Send some at a time, and cancel each somewhere on its way."""
        cancelled = await asyncio.gather(
            *(
                how(1 + int(self.rng.expovariate(1 / MEAN_STEP)), self.request())
                for _ in range(self.rng.randrange(1, 5))
            )
        )
        self.cancelled += sum(cancelled)
        self.registry.set("orders", self.rng.sample(INSTANCES, 4))

    async def rests(self, background):
        """Wait until what is closed is closed; then nothing may be left over."""
        await asyncio.sleep(1.0)
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        assert {task.get_name() for task in tasks} <= background
        figures = self.transport.statistics()["orders"]
        assert figures.in_flight == 0
        for member in figures.members.values():
            assert member.picks == member.successes + member.failures + member.cancelled
        (side,) = self.transport._sides()
        assert side.connections.in_use == 0
        assert not side.connections._leaving
        transports = [inner.transport for inner in side.connections._inner.values()]
        assert all(each.is_quiet for each in transports)
        pools = [pool for each in transports for pool in each._pools()]
        for pool in pools:
            assert pool._requests == []
            assert all(each.is_idle() or each.is_closed() for each in pool.connections), pool
        asked = self.asked
        assert asked["request"] == self.sent, "each request earns its share of the budget, once"
        assert asked["pick"] <= self.sent + asked["take"] + self.network.refused
        assert self.sent <= asked["pick"] or self.is_bounded
        assert (self.service.under_way, self.service.calls.queue.count) == (0, 0)
        kept = sum(not each.is_closed() for pool in pools for each in pool.connections)
        assert len(self.network.open) == kept


@pytest.mark.parametrize(
    "points",
    # 24 kinds of clients make 1,200.
    [pytest.param(50, id="short"), pytest.param(2500, id="soak", marks=pytest.mark.soak)],
)
@pytest.mark.parametrize("how", [by_task, by_scope, by_timeout])
@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("module", [httpx, httpx2], ids=["httpx", "httpx2"])
def test_a_request_cancelled_at_any_moment_leaves_nothing_in_flight(module, client, how, points):
    async def main():
        program = Program(module, Random(f"{module.__name__} {client} {how.__name__}"), client)
        async with program.client:
            await program.open()
            background = {task.get_name() for task in asyncio.all_tasks()}
            while program.cancelled < points:
                await program.batch(how)
                await program.rests(background)
        assert program.network.open == []
        assert not [each for each in program.messages if "cancel scope" in each]
        return program

    program = run(main())
    assert program.registry.watching == 0
