"""One transport in programs of many shapes: threads, forks, several loops, notebooks."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from random import Random

import httpx
import httpx2
import pytest
import trio

from transport_kit import DEADLINE_S, HttpServer, figures, listing, unique
from trimtab import (
    BalancedTransport,
    ConfigurationError,
    DiscoverySettings,
    Instance,
    InvalidInstanceError,
)
from trimtab.discovery.hub import _hubs
from trimtab.testing import FakeRegistry

FAMILIES = pytest.mark.parametrize("family", [httpx, httpx2], ids=["httpx", "httpx2"])


@pytest.fixture(scope="module")
def server():
    with HttpServer("a") as server:
        yield server


def balanced(*instances, **options):
    registry = listing(*instances)
    return BalancedTransport(registry, rng=Random(1), trust_env=False, **options)


@pytest.mark.parametrize(("real", "calls"), [(True, 25), (False, 200)], ids=["real", "at-once"])
@FAMILIES
def test_many_threads_count_exactly(family, real, calls, server):
    def at_once(_):
        return family.MockTransport(lambda _: family.Response(200, content=b"a"))

    instances = [server.instance(id=f"i{number}") for number in range(3)]
    transport = balanced(*instances, inner="httpx" if real else at_once)
    with family.Client(transport=transport, trust_env=False) as client:

        def work(_):
            return sum(client.get("http://orders/who").text == "a" for _ in range(calls))

        with ThreadPoolExecutor(8) as pool:
            assert sum(pool.map(work, range(8))) == 8 * calls
        seen = figures(transport)
        assert (seen.picks, seen.in_flight) == (8 * calls, 0)
        assert sum(member.successes for member in seen.members.values()) == 8 * calls
        assert sum(side.connections.in_use for side in transport._sides()) == 0


@FAMILIES
def test_the_first_calls_of_many_threads_share_one_list(family, server):
    registry = listing(server.instance())
    together = threading.Barrier(8)
    with (
        BalancedTransport(registry, trust_env=False) as transport,
        family.Client(transport=transport, trust_env=False) as client,
        ThreadPoolExecutor(8) as pool,
    ):

        def work(_):
            together.wait(DEADLINE_S)
            return client.get("http://orders/who").text

        assert set(pool.map(work, range(8))) == {"a"}
        assert registry.calls["watch"] == 1


@FAMILIES
# asyncio says that nobody closed the connections of the loop that has ended: nobody could.
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_several_loops_in_a_row(family, wait_until):
    with HttpServer("a") as server:
        transport = balanced(server.instance())
        client = family.AsyncClient(transport=transport, trust_env=False)

        async def call():
            return (await client.get("http://orders/who")).text

        hubs = len(_hubs)
        for _ in range(4):
            assert asyncio.run(call()) == "a"
            gc.collect()
        assert len(transport._sides()) == 1, "the sides of ended loops are forgotten"
        assert len(_hubs) <= hubs + 1, "and so are their hubs"
        asyncio.run(client.aclose())
        gc.collect()
        # Nothing is left to be collected during another test, or held until another loop begins.
        wait_until(lambda: server.connections == 0)
        assert transport._sides() == []


@FAMILIES
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_several_trio_runs_in_a_row(family, server):
    client = family.AsyncClient(transport=balanced(server.instance()), trust_env=False)

    async def call():
        return (await client.get("http://orders/who")).text

    for _ in range(3):
        assert trio.run(call) == "a"
    trio.run(client.aclose)
    gc.collect()


@FAMILIES
def test_a_loop_of_another_thread_is_closed_there(family, server):
    transport = balanced(server.instance())
    client = family.AsyncClient(transport=transport, trust_env=False)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    call = asyncio.run_coroutine_threadsafe(client.get("http://orders/who"), loop)
    assert call.result(DEADLINE_S).text == "a"
    asyncio.run(transport.aclose())
    assert transport._sides() == []
    left = asyncio.run_coroutine_threadsafe(_others(), loop).result(DEADLINE_S)
    assert left == [], "no task of ours runs on"
    loop.call_soon_threadsafe(loop.stop)
    thread.join(DEADLINE_S)
    loop.close()


@FAMILIES
def test_sync_calls_inside_a_running_loop(family, server):
    async def notebook_cell():
        with family.Client(transport=balanced(server.instance()), trust_env=False) as client:
            return client.get("http://orders/who").text

    assert asyncio.run(notebook_cell()) == "a"


@FAMILIES
def test_no_task_is_left_after_closing(family, server):
    async def program():
        transport = balanced(server.instance())
        async with family.AsyncClient(transport=transport, trust_env=False) as client:
            await asyncio.gather(*(client.get("http://orders/who") for _ in range(20)))
        return await _others()

    assert asyncio.run(program()) == []


def test_one_transport_serves_both_families_sync_and_async(server):
    transport = balanced(server.instance())

    async def asynchronous(family):
        return await family.AsyncClient(transport=transport, trust_env=False).get(
            "http://orders/who"
        )

    async def program():
        for family in (httpx, httpx2):
            response = await asynchronous(family)
            assert type(response) is family.Response
        await transport.aclose()

    for family in (httpx, httpx2):
        response = family.Client(transport=transport, trust_env=False).get("http://orders/who")
        assert type(response) is family.Response
    asyncio.run(program())
    transport.close()


def test_closing_for_one_kind_of_clients_leaves_the_other_kind_alone(server):
    transport = balanced(server.instance())
    client = httpx.Client(transport=transport, trust_env=False)

    async def asynchronous():
        async with httpx.AsyncClient(transport=transport, trust_env=False) as other:
            assert (await other.get("http://orders/who")).text == "a"
            transport.close()
            assert sorted(transport.statistics()) == ["orders"]
            assert (await other.get("http://orders/who")).text == "a"

    assert client.get("http://orders/who").text == "a"
    asyncio.run(asynchronous())
    assert transport.statistics() == {}
    assert client.get("http://orders/who").text == "a"
    client.close()


@FAMILIES
# The child drops the parent's sockets and loop unclosed, as it must.
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_child_starts_afresh(family, server):
    registry = FakeRegistry(unique())
    registry.set("orders", [server.instance()])
    transport = BalancedTransport(registry, trust_env=False)
    client = family.Client(transport=transport, trust_env=False)
    assert client.get("http://orders/who").text == "a"
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:  # pragma: no cover - measured in no process that reports
        signal.alarm(int(DEADLINE_S))
        try:
            texts = [client.get("http://orders/who").text for _ in range(3)]
            client.close()
            os.write(writing, f"{texts} {transport._rng.random()}".encode())
        finally:
            os._exit(0)
    os.close(writing)
    said = os.read(reading, 1000).decode()
    os.close(reading)
    os.waitpid(child, 0)
    texts, _, chance = said.rpartition(" ")
    assert texts == "['a', 'a', 'a']"
    assert float(chance) != transport._rng.random(), "the child has a chance of its own"
    assert client.get("http://orders/who").text == "a", "the parent goes on"
    client.close()


def test_settings_are_checked_when_made():
    with pytest.raises(ConfigurationError, match="scheme"):
        BalancedTransport("orders")
    with pytest.raises(ConfigurationError, match="strategy"):
        BalancedTransport("static://h:1", strategy="best")
    with pytest.raises(ConfigurationError, match="host_header is 'both'"):
        BalancedTransport("static://h:1", host_header="both")
    with pytest.raises(ConfigurationError, match="server_name is 'me'"):
        BalancedTransport("static://h:1", server_name="me")


def test_services_that_are_not_called_are_let_go_with_their_connections(server, wait_until):
    registry = FakeRegistry(unique())
    names = [f"s{number}" for number in range(4)]
    with HttpServer("own") as own:
        for name in names:
            registry.set(name, [own.instance()])
        few = DiscoverySettings(max_services=2)
        transport = BalancedTransport(registry, discovery=few, trust_env=False)
        with httpx.Client(transport=transport, trust_env=False) as client:
            for name in names:
                assert client.get(f"http://{name}/who").text == "own"
            assert sorted(transport.statistics()) == names[2:]
            wait_until(lambda: own.connections == 2)
            wait_until(lambda: registry.watching == 2)
            assert client.get("http://s0/who").text == "own"


def test_a_url_is_registry_enough(server):
    url = f"static://{server.instance().address}"
    with httpx.Client(transport=BalancedTransport(url, trust_env=False), trust_env=False) as client:
        assert client.get("http://anything/who").text == "a"


def test_an_instance_whose_name_makes_no_url_leaves_nothing_in_use():
    def make(_instance):
        raise httpx.InvalidURL("an inner transport's own")

    with pytest.raises(InvalidInstanceError, match="host"):
        Instance(host="b\u00fccher..example", port=80)
    transport = balanced(Instance(host="h", port=80, id="odd"), inner=make)
    with httpx.Client(transport=transport, trust_env=False) as client:
        with pytest.raises(httpx.InvalidURL):
            client.get("http://orders/who")
        assert figures(transport).in_flight == 0
        assert all(side.connections.in_use == 0 for side in transport._sides())


async def _others():
    return [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
