"""`Balancer` with grpcio, sync and asyncio: real servers, one of them killed in traffic."""

from __future__ import annotations

import asyncio
import contextlib

import grpc
import pytest

from balancer_kit import STRATEGY, Traffic, kill_and_revive, registry_of, three
from trimtab import Balancer, DeadlineError, HedgePolicy

KINDS = {
    grpc.StatusCode.UNAVAILABLE: "no_response",
    grpc.StatusCode.DEADLINE_EXCEEDED: "timeout",
    grpc.StatusCode.RESOURCE_EXHAUSTED: "unknown",
}
OPTIONS = [("grpc.max_reconnect_backoff_ms", 1000)]


def failure_of(error):
    """Return what errors of grpcio mean, as docs/balancer.md has it."""
    if not isinstance(error, grpc.RpcError):
        return None
    if "failed to connect" in error.details():
        return "refused"
    return KINDS.get(error.code())


@pytest.fixture(scope="module")
def servers(tmp_path_factory):
    with three("grpc", tmp_path_factory.mktemp("servers")) as servers:
        yield servers


class Stubs:
    """One channel per instance."""

    def __init__(self, make):
        self._make, self.channels = make, {}

    def method(self, instance, name="Who"):
        channel = self.channels.get(instance.address)
        if channel is None:
            channel = self.channels.setdefault(
                instance.address, self._make(instance.address, options=OPTIONS)
            )
        return channel.unary_unary(f"/orders.Orders/{name}")


@contextlib.asynccontextmanager
async def async_stubs():
    stubs = Stubs(grpc.aio.insecure_channel)
    try:
        yield stubs
    finally:
        for channel in stubs.channels.values():
            await channel.close()


@contextlib.contextmanager
def sync_stubs():
    stubs = Stubs(grpc.insecure_channel)
    try:
        yield stubs
    finally:
        for channel in stubs.channels.values():
            channel.close()


def balancer_of(servers, **options):
    options = {"strategy": STRATEGY} | options
    return Balancer(registry_of(servers), failures=failure_of, **options)


@pytest.mark.parametrize("hedge", [None, HedgePolicy(after_s=0.05)], ids=["plain", "hedged"])
def test_no_call_fails_when_a_server_is_killed_and_it_is_used_again(servers, hedge):
    traffic = Traffic()

    async def main():
        async with balancer_of(servers, hedge=hedge) as balancer, async_stubs() as stubs:

            async def send(instance):
                return (await stubs.method(instance)(b"")).decode()

            await traffic.by_tasks(lambda: balancer.call("orders", send, idempotent=True))
            assert balancer.statistics()["orders"].in_flight == 0

    traffic.beside(kill_and_revive(servers), main)
    assert traffic.errors == []


def test_the_same_with_threads(servers):
    with balancer_of(servers) as balancer, sync_stubs() as stubs:

        def send(instance):
            return stubs.method(instance)(b"", timeout=5.0).decode()

        traffic = Traffic()
        traffic.by_threads(
            lambda: balancer.call("orders", send, idempotent=True), kill_and_revive(servers)
        )
        assert traffic.errors == []
        assert balancer.statistics()["orders"].in_flight == 0


def test_a_wrong_request_is_the_callers(servers):
    def send(instance):
        return stubs.method(instance, "Wrong")(b"")

    with balancer_of(servers) as balancer, sync_stubs() as stubs:
        with pytest.raises(grpc.RpcError) as caught:
            balancer.call("orders", send, idempotent=True)
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        members = balancer.statistics()["orders"].members.values()
        assert [sum(getattr(e, n) for e in members) for n in ("failures", "cancelled")] == [0, 1]


def test_the_deadline_cancels_a_call(servers):
    async def main():
        async with balancer_of(servers[:1]) as balancer, async_stubs() as stubs:

            async def send(instance):
                return (await stubs.method(instance)(b"")).decode()

            assert await balancer.call("orders", send) == str(servers[0].port)
            servers[0].freeze()
            try:
                with pytest.raises(DeadlineError, match=r"0\.3 s"):
                    await balancer.call("orders", send, idempotent=True, deadline_s=0.3)
            finally:
                servers[0].thaw()
            assert await balancer.call("orders", send) == str(servers[0].port)

    asyncio.run(main())


@pytest.mark.parametrize("hedge", [None, HedgePolicy(after_s=5.0)], ids=["plain", "hedged"])
def test_closing_the_channel_cancels_the_call(servers, hedge):
    async def main():
        async with balancer_of(servers[:1], hedge=hedge) as balancer, async_stubs() as stubs:

            async def send(instance):
                return await stubs.method(instance)(b"")

            await balancer.call("orders", send)
            servers[0].freeze()
            try:
                call = asyncio.create_task(balancer.call("orders", send, idempotent=True))
                await asyncio.sleep(0.1)
                for channel in stubs.channels.values():
                    await channel.close()
                with pytest.raises((asyncio.CancelledError, grpc.RpcError, grpc.aio.UsageError)):
                    await asyncio.wait_for(call, 10.0)
            finally:
                servers[0].thaw()
            assert balancer.statistics()["orders"].in_flight == 0

    asyncio.run(main())
