"""What balancing costs beside bare httpx, over real sockets, one at a time and fifty."""

import asyncio
import random

import httpx
import httpx2
import pytest

from trimtab import BalancedTransport

_CALLS = 300


class _Naive:
    """What people write first: a random choice over one shared client."""

    rng = random.Random(1)

    def __init__(self, module, ports):
        self._client = module.AsyncClient()
        self._urls = [f"http://127.0.0.1:{port}/" for port in ports]

    async def get(self):
        return await self._client.get(self.rng.choice(self._urls))

    async def aclose(self):
        await self._client.aclose()


class _Bare(_Naive):
    def __init__(self, module, ports):
        super().__init__(module, ports[:1])


class _Balanced(_Naive):
    def __init__(self, module, ports):
        url = "static://" + ",".join(f"127.0.0.1:{port}" for port in ports)
        self._client = module.AsyncClient(transport=BalancedTransport(url))
        self._urls = ["http://orders/"]


def _run(benchmark, kind, module, ports, at_once):
    loop = asyncio.new_event_loop()
    caller = None

    async def worker(calls):
        for _ in range(calls):
            (await caller.get()).raise_for_status()

    async def calls():
        await asyncio.gather(*(worker(_CALLS // at_once) for _ in range(at_once)))

    async def make():
        return kind(module, ports)

    try:
        caller = loop.run_until_complete(make())
        loop.run_until_complete(calls())
        benchmark.pedantic(lambda: loop.run_until_complete(calls()), rounds=12, warmup_rounds=1)
        loop.run_until_complete(caller.aclose())
    finally:
        loop.close()


@pytest.mark.parametrize("at_once", [1, 50])
@pytest.mark.parametrize("module", [httpx, httpx2], ids=["httpx", "httpx2"])
@pytest.mark.parametrize("kind", [_Bare, _Naive, _Balanced], ids=["bare", "naive", "trimtab"])
def test_get(benchmark, backends, kind, module, at_once):
    benchmark.group = f"{_CALLS} GETs, {at_once} at a time"
    benchmark.extra_info.update(baseline=kind is _Bare and module is httpx)
    _run(benchmark, kind, module, backends, at_once)
