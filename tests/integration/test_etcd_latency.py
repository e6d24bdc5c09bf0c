"""How soon a client sees who registers, by push: printed, not judged."""

from __future__ import annotations

import asyncio
import time
from statistics import median, quantiles

import pytest

from real.etcd import BINARIES, Etcd, etcd_members
from real.fleet import Follower
from real.server import running
from trimtab.instance import Instance
from trimtab.registries import connect

pytestmark = [pytest.mark.real, pytest.mark.soak, pytest.mark.anyio]
HOW_OFTEN = 100
DEADLINE_S = 20


@pytest.fixture(params=["3.4", "3.5"])
def alone(request, tmp_path):
    with running(Etcd(BINARIES[request.param], tmp_path / "etcd")) as server:
        yield f"etcd {request.param}, alone", server.url


@pytest.fixture(params=["3.4", "3.5"])
def three(request, tmp_path):
    with etcd_members(request.param, tmp_path) as cluster:
        yield f"etcd {request.param}, three members", cluster.url


async def test_one_member(alone):
    await measure(*alone)


async def test_three_members(three):
    await measure(*three)


async def measure(what, url):
    registrar, follower = connect(f"{url}/s"), Follower(f"{url}/s")
    waits = {"register": [], "deregister": []}
    seen = asyncio.Event()
    follower.directory.on_change("orders", lambda _: seen.set())
    for number in range(HOW_OFTEN):
        instance = Instance(id=f"i{number}", host="10.0.0.1", port=number + 1)
        # The guard doubts a list that is emptied, so that two are always there.
        if number < 2:
            await registrar.register("orders", instance, ttl_s=60)
            await asyncio.wait_for(seen.wait(), DEADLINE_S)
            continue
        for name, asked in (
            ("register", registrar.register("orders", instance, ttl_s=60)),
            ("deregister", registrar.deregister("orders", instance)),
        ):
            seen.clear()
            begun = time.perf_counter()
            asking = asyncio.ensure_future(asked)
            await asyncio.wait_for(seen.wait(), DEADLINE_S)
            waits[name].append((time.perf_counter() - begun) * 1000)
            await asking
    for name, each in waits.items():
        print(
            f"\n{what}: {name} -> seen by push, n={len(each)}: median {median(each):.1f} ms, "
            f"p95 {quantiles(each, n=20)[-1]:.1f}, max {max(each):.1f}"
        )
    await follower.directory.aclose()
    await registrar.aclose()
