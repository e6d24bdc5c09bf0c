"""Public usage, as users write it. pyright checks it strictly; nothing runs it."""

from __future__ import annotations

import asyncio
import functools
import random
from typing import assert_type

import aiohttp
import httpx
import httpx2

from trimtab import (
    BalancedTransport,
    Balancer,
    CallInfo,
    Directory,
    DiscoverySettings,
    DiscoveryState,
    Failure,
    Instance,
    NoEligibleInstanceError,
    Pick,
    Pool,
    PoolStatistics,
    RequestOptions,
    RetryPolicy,
    Snapshot,
    Status,
    connect,
    register,
)


def sync_client() -> None:
    transport = BalancedTransport("consul://127.0.0.1:8500", strategy="least_latency")
    with httpx.Client(transport=transport) as client:
        response = client.get("http://orders/items/7", extensions={"trimtab": {"key": "7"}})
        info: CallInfo = response.extensions["trimtab"]
        assert_type(info.instance, Instance)
        assert_type(info.attempts, int)
    with httpx2.Client(transport=BalancedTransport("static://h:1")) as client2:
        client2.get("http://orders/")


async def async_client() -> None:
    transport = BalancedTransport(
        connect("static://h:1,h:2"),
        discovery=DiscoverySettings(poll_interval_s=1.0, last_known_good="/var/cache/lists"),
        retry=RetryPolicy(max_attempts=2),
        host_header="service",
        limits=httpx.Limits(max_connections=10),
        drain_timeout_s=1.0,
        rng=random.Random(1),
    )
    async with httpx.AsyncClient(transport=transport) as client:
        await client.get("http://orders/")
    async with httpx2.AsyncClient(transport=BalancedTransport("static://h:1")) as client2:
        await client2.get("http://orders/")
    async with transport:
        assert_type(transport.state(), dict[str, DiscoveryState])
        assert_type(transport.statistics()["orders"].in_flight, float)
        assert_type(transport.is_closed, bool)


def inner_transport_of_ones_own() -> BalancedTransport:
    def make(instance: Instance) -> httpx.MockTransport:
        return httpx.MockTransport(lambda request: httpx.Response(200, text=instance.address))

    return BalancedTransport("static://h:1", inner=make)


async def requests_of_ones_own() -> None:
    transport = BalancedTransport("static://h:1", strategy="ring_hash", key_from="X-Customer")
    BalancedTransport("static://h:1", key_from=lambda request: request.headers.get("x"))
    BalancedTransport("static://h:1", cost_from="X-Tokens")
    BalancedTransport("static://h:1", cost_from=lambda request: len(request.content) / 1000 or None)
    await transport.ready("orders", "bills")
    options: RequestOptions = {
        "key": "7",
        "cost": 12,
        "deadline_s": 0.5,
        "retry": False,
        "hedge": False,
    }
    async with httpx.AsyncClient(transport=transport) as client:
        await client.get("http://orders/", extensions={"trimtab": options})


async def other_clients() -> None:
    async def send(instance: Instance) -> bytes:
        return instance.address.encode()

    def send_blocking(instance: Instance) -> int:
        return instance.port

    balancer = Balancer(
        "static://h:1",
        failures={KeyError: "no_response"},
        status=lambda result: 200 if result else 503,
        retry=RetryPolicy(statuses={503}),
    )
    async with balancer:
        await balancer.ready("orders")
        assert_type(await balancer.call("orders", send, idempotent=True, key="7"), bytes)
    with balancer:
        balancer.ready_sync("orders")
        assert_type(balancer.call("orders", send_blocking, deadline_s=0.5, cost=12), int)
        assert_type(balancer.statistics(), dict[str, PoolStatistics])


async def directory() -> None:
    async with Directory(connect("etcd://10.0.0.1:2379/services")) as names:
        found = await names.instances("orders")
        for instance in found:
            assert_type(instance, Instance)
            assert_type(instance.status, Status)
        async for snapshot in names.watch("orders"):
            assert_type(snapshot, Snapshot)


def synchronous_directory() -> None:
    with Directory("consul://127.0.0.1:8500") as names:
        assert_type(names.instances("orders"), tuple[Instance, ...])
    held = Directory("consul://127.0.0.1:8500").sync()
    assert_type(held.instances("orders"), tuple[Instance, ...])
    assert_type(held.state("orders"), DiscoveryState)
    for snapshot in held.watch("orders"):
        assert_type(snapshot, Snapshot)
    held.close()


async def registration() -> None:
    here = Instance(
        host="10.0.0.7", port=8080, weight=2.0, zone="a", priority=1, metadata={"version": "3"}
    )
    async with register("consul://127.0.0.1:8500", "orders", here, ttl_s=10):
        pass
    with register("consul://127.0.0.1:8500", "orders", here):
        pass


def pool_without_io() -> None:
    pool = Pool(strategy="round_robin", rng=random.Random(1))
    pool.update([Instance(host="10.0.0.7", port=8080)], now=0.0)
    try:
        pick = pool.pick(0.0, key=None)
    except NoEligibleInstanceError as error:
        assert_type(error.reasons, dict[str, int])
    else:
        assert_type(pick, Pick)
        pick.done(0.1, "success")


FAILURES: dict[type[Exception], Failure] = {aiohttp.ClientConnectorError: "refused"}


def failure_of(error: Exception) -> Failure | None:
    return "no_response" if isinstance(error, aiohttp.ClientError) else None


def ask(instance: Instance) -> int:
    return instance.port


async def ask_async(instance: Instance) -> str:
    return instance.address


async def ask_for(item: int, instance: Instance) -> bytes:
    return f"{instance.address}/{item}".encode()


def calls_that_block() -> None:
    with Balancer("static://h:1", failures={OSError: "no_response"}) as balancer:
        assert_type(balancer.call("orders", ask, idempotent=True, key="7"), int)
        assert_type(balancer.call("orders", lambda instance: instance.host), str)
        balancer.ready_sync("orders")
        assert_type(balancer.statistics()["orders"].in_flight, float)
    Balancer(connect("static://h:1"), failures=FAILURES, status=lambda result: 200)


async def calls_that_are_awaited() -> None:
    async with Balancer("static://h:1", failures=failure_of, deadline_s=1.0) as balancer:
        assert_type(await balancer.call("orders", ask_async, deadline_s=0.5), str)
        assert_type(await balancer.call("orders", functools.partial(ask_for, 7)), bytes)
        both = await asyncio.gather(
            balancer.call("orders", ask_async),
            asyncio.create_task(balancer.call("users", ask_async)),
        )
        assert_type(both, tuple[str, str])
        async with asyncio.TaskGroup() as group:
            assert_type(group.create_task(balancer.call("orders", ask_async)), asyncio.Task[str])
        await balancer.ready("orders", "users")
