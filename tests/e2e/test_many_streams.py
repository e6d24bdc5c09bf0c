"""Hundreds of concurrent streamed responses, or a thousand; half are cancelled midway."""

from __future__ import annotations

import asyncio
import resource

import httpx
import httpx2
import pytest

from trimtab import BalancedTransport


@pytest.fixture
def many_files():
    """Room for a thousand sockets."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 4096)), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize(
    "streams",
    [pytest.param(200, id="short"), pytest.param(1000, id="soak", marks=pytest.mark.soak)],
)
@pytest.mark.parametrize("family", [httpx, httpx2], ids=["httpx", "httpx2"])
def test_nothing_is_in_flight_at_the_end(fleet, many_files, family, streams):
    fleet.start_registry()
    fleet.start_backends("b1", "b2", "b3", "b4")

    async def run():
        transport = BalancedTransport(
            fleet.url, limits=family.Limits(max_connections=None), trust_env=False
        )
        everywhere, first = asyncio.Event(), []
        client = family.AsyncClient(transport=transport, trust_env=False, timeout=60)

        async def read():
            async with client.stream("GET", "http://orders/stream") as response:
                chunks = response.aiter_raw()
                text = await anext(chunks)
                first.append(text)
                if len(first) == streams:
                    everywhere.set()
                async for chunk in chunks:
                    text += chunk
                return text

        async with client:
            tasks = [asyncio.create_task(read()) for _ in range(streams)]
            async with asyncio.timeout(60):
                await everywhere.wait()
            midway = transport.statistics()["orders"]
            for task in tasks[::2]:
                task.cancel()
            cancelled = await asyncio.gather(*tasks[::2], return_exceptions=True)
            half = transport.statistics()["orders"].in_flight
            async with family.AsyncClient(trust_env=False) as direct:
                for backend in fleet.backends.values():
                    await direct.post(f"http://127.0.0.1:{backend.port}/open")
            texts = await asyncio.gather(*tasks[1::2])
            end = transport.statistics()["orders"]
        left = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        return midway, cancelled, half, texts, end, left

    midway, cancelled, half, texts, end, left = asyncio.run(run())
    print(
        f"\nin flight: {midway.in_flight} at once, {half} after cancelling, {end.in_flight} at end"
    )
    print({name: (m.picks, m.successes, m.cancelled) for name, m in end.members.items()})
    assert midway.in_flight == streams
    assert all(isinstance(each, asyncio.CancelledError) for each in cancelled)
    assert half == streams // 2
    assert texts == [b"first last"] * (streams // 2)
    assert end.in_flight == 0
    assert sum(member.successes for member in end.members.values()) == streams // 2
    assert sum(member.cancelled for member in end.members.values()) == streams // 2
    assert left == []
