"""What counts as an instance's latency: the time to its answer, not what this client does first."""

from __future__ import annotations

import threading
from functools import partial
from types import SimpleNamespace

import anyio
import pytest

from transport_kit import DEADLINE_S, FLAVOURS, HttpServer, every, figures, listing
from trimtab import ConcurrencyLimits
from trimtab.http import AsyncInnerTransport, Family, InnerTransport

WHO = "http://orders/who"
SLOW_S = 0.4


@pytest.fixture(scope="module")
def kit():
    with HttpServer("a") as a, HttpServer("b") as b:
        yield SimpleNamespace(a=a, b=b)


class SlowNetwork:
    """A network in which every connection takes its time."""

    def __init__(self, core):
        self._core = core

    def connect_tcp(self, *args, **options):
        threading.Event().wait(SLOW_S)
        return self._core.SyncBackend().connect_tcp(*args, **options)


class AsyncSlowNetwork(SlowNetwork):
    async def connect_tcp(self, *args, **options):
        await anyio.sleep(SLOW_S)
        backends = (self._core.AnyIOBackend, self._core.TrioBackend)
        backend = backends[_is_trio()]()
        return await backend.connect_tcp(*args, **options)


def _is_trio():
    try:
        import asyncio  # noqa: PLC0415 - only to ask

        asyncio.get_running_loop()
    except RuntimeError:
        return True
    return False


def slow_inner(flavour, _instance, **options):
    family = Family(flavour.family)
    if flavour.is_async:
        return AsyncInnerTransport(family, network=AsyncSlowNetwork(family.core), **options)
    return InnerTransport(family, network=SlowNetwork(family.core), **options)


@every(FLAVOURS)
async def test_opening_a_connection_is_not_latency(flavour, kit):
    transport = flavour.transport(listing(kit.a.instance()), inner=partial(slow_inner, flavour))
    async with flavour.client(transport, timeout=DEADLINE_S) as client:
        await client.get(WHO)
        first = figures(transport).members["a"]
        assert first.connect_s >= SLOW_S
        assert first.latency_s < SLOW_S
        await client.get(WHO)
        assert figures(transport).members["a"].connect_s == first.connect_s


@every(FLAVOURS)
async def test_opening_a_connection_does_not_shrink_an_adaptive_limit(flavour, kit):
    limits = ConcurrencyLimits(adaptation="gradient", initial_in_flight=20, min_in_flight=1)
    made = partial(slow_inner, flavour, limits=flavour.family.Limits(max_keepalive_connections=0))
    transport = flavour.transport(listing(kit.a.instance()), inner=made, concurrency=limits)
    async with flavour.client(transport, timeout=DEADLINE_S) as client:
        for _ in range(2):
            await client.get(WHO)
        assert figures(transport).members["a"].limit == 20


@every([flavour for flavour in FLAVOURS if flavour.library == "asyncio"])
async def test_a_connection_of_another_transport_in_a_task_begun_meanwhile_counts_for_nothing(
    flavour, kit
):
    family = Family(flavour.family)
    other = AsyncInnerTransport(family, network=AsyncSlowNetwork(family.core))
    done = anyio.Event()

    async def elsewhere():
        request = flavour.family.Request("GET", f"http://{kit.b.instance().address}/who")
        response = await other.handle_async_request(request)
        await response.aread()
        done.set()

    class Beside(AsyncInnerTransport):
        async def handle_async_request(self, request):
            # The task inherits the context of the request in which it is started.
            group.start_soon(elsewhere)
            response = await super().handle_async_request(request)
            await done.wait()
            return response

    transport = flavour.transport(
        listing(kit.a.instance()), inner=lambda _instance: Beside(Family(flavour.family))
    )
    async with anyio.create_task_group() as group, flavour.client(transport) as client:
        await client.get(WHO)
        member = figures(transport).members["a"]
        assert member.connect_s < SLOW_S <= member.latency_s
    await other.aclose()
