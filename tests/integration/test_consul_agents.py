"""Real agents: several for reading and one for writing, TLS, and how many connections they take."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack, aclosing

import httpx
import pytest

from consul_kit import First, consul_registry
from registry_kit import reader_of
from trimtab.discovery import Directory
from trimtab.errors import RegistryUnavailableError
from trimtab.instance import Instance, Status
from trimtab.registries import connect
from trimtab.testing.registry_harness import until

pytestmark = [pytest.mark.real, pytest.mark.anyio]
DEADLINE_S = 30
A = Instance(id="a", host="10.0.0.1", port=81)
B = Instance(id="b", host="10.0.0.2", port=82)


def both(one, two):
    return f"consul://127.0.0.1:{one.port},127.0.0.1:{two.port}"


class TestSeveral:
    async def test_the_second_is_read_while_the_first_is_dead(self, own_consul, second_consul):
        registry = consul_registry(both(own_consul, second_consul), rng=First())
        await registry.register("orders", A, ttl_s=60)
        other = consul_registry(second_consul.url)
        await other.register("orders", B, ttl_s=60)
        async with aclosing(registry.watch("orders")) as watch:
            assert (await anext(watch)).instances == (A,)
            own_consul.kill()
            with pytest.raises(RegistryUnavailableError, match=own_consul.url):
                await drained(watch)
        async with aclosing(registry.watch("orders")) as watch:
            first = await anext(watch)
            # These two know nothing of each other: an index is compared with no other agent's.
            assert (first.instances, first.reset) == ((B,), False)
            moved = B.with_(port=83)
            await other.register("orders", moved, ttl_s=60)
            while (await anext(watch)).instances != (moved,):
                pass
        for written in (
            registry.register("orders", A, ttl_s=60),
            registry.heartbeat("orders", A),
            registry.deregister("orders", A),
        ):
            with pytest.raises(RegistryUnavailableError, match=own_consul.url):
                await written
        assert (await other.fetch("orders")).instances == (moved,)
        await registry.aclose()
        await other.aclose()

    async def test_writing_goes_to_the_first_also_while_the_second_is_read(
        self, own_consul, second_consul
    ):
        registry = consul_registry(both(own_consul, second_consul), rng=First())
        reader_of(registry)._agents.endpoints.failed(own_consul.http)
        await registry.register("orders", A, ttl_s=60)
        await registry.heartbeat("orders", A)
        assert (await registry.fetch("orders")).instances == ()
        first = consul_registry(own_consul.url)
        assert (await first.fetch("orders")).instances == (A,)
        await registry.deregister("orders", A)
        assert (await first.fetch("orders")).instances == ()
        await registry.aclose()
        await first.aclose()

    @pytest.mark.parametrize("follow", ["poll", "watch"])
    async def test_the_second_is_read_while_the_first_hangs(
        self, own_consul, second_consul, follow
    ):
        registry = consul_registry(
            both(own_consul, second_consul), follow=follow, rng=First(), timeout_s=0.5
        )
        own_consul.freeze()
        with pytest.raises(RegistryUnavailableError, match=r"no answer within 0\.5 s"):
            await registry.fetch("orders")
        assert (await registry.fetch("orders")).instances == ()
        await registry.aclose()


class TestTls:
    async def test_a_client_certificate_opens_the_door(self, secure_consul):
        files = f"ca={secure_consul.ca}&cert={secure_consul.cert}&key={secure_consul.key}"
        registry = connect(f"{secure_consul.url}?{files}")
        await registry.register("orders", A, ttl_s=60)
        await until(registry, "orders", lambda found: found.instances == (A,), DEADLINE_S)
        await registry.deregister("orders", A)
        await registry.aclose()

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ("", "certificate verify failed"),
            ("?ca={0.ca}", "does it ask for a client certificate[?] name one by cert="),
            ("?verify=0", "does it ask for a client certificate[?] name one by cert="),
        ],
    )
    async def test_without_it_or_without_trust_there_is_no_answer(
        self, secure_consul, options, message
    ):
        registry = connect(secure_consul.url + options.format(secure_consul))
        with pytest.raises(RegistryUnavailableError, match=message):
            await registry.fetch("orders")
        await registry.aclose()

    async def test_an_authority_need_not_be_trusted(self, secure_consul):
        files = f"cert={secure_consul.cert}&key={secure_consul.key}"
        registry = connect(f"{secure_consul.url}?verify=0&{files}")
        assert (await registry.fetch("orders")).instances == ()
        await registry.aclose()


class TestConnections:
    async def test_two_users_of_a_service_share_one(self, own_consul):
        async with AsyncExitStack() as stack:
            for _ in range(2):
                directory = await stack.enter_async_context(Directory(own_consul.url))
                assert await directory.instances("orders") == ()
            assert own_consul.connections() == 1
        async with asyncio.timeout(DEADLINE_S):
            while own_consul.connections():  # noqa: ASYNC110 - the kernel announces nothing
                await asyncio.sleep(0.02)

    async def test_a_connection_cut_by_the_agents_limit_is_named_as_such(self, own_consul):
        own_consul.restart_with("limits { http_max_conns_per_client = 3 }")
        registry = consul_registry(own_consul.url)
        async with AsyncExitStack() as stack:
            watches = []
            for number in range(3):
                watch = registry.watch(f"s{number}")
                await stack.enter_async_context(aclosing(watch))
                await anext(watch)
                watches.append(asyncio.create_task(anext(watch)))
                await held(registry, number + 1)
            with pytest.raises(RegistryUnavailableError, match="http_max_conns_per_client"):
                await registry.fetch("orders")
            for task in watches:
                task.cancel()
            await asyncio.wait(watches)
        await registry.aclose()

    async def test_more_services_than_watches_stay_below_the_limit(self, own_consul, monkeypatch):
        monkeypatch.setattr("trimtab.registries.consul.watch._POLL_S", 0.1)
        monkeypatch.setattr("trimtab.registries.consul.agent._AT_A_TIME", 4)
        # Nine are open at a time; a busy agent counts some for a while after they are closed.
        own_consul.restart_with("limits { http_max_conns_per_client = 16 }")
        registry = consul_registry(own_consul.url, max_watches=5)
        names = [f"s{number}" for number in range(30)]
        try:
            async with asyncio.timeout(DEADLINE_S), asyncio.TaskGroup() as group:
                for name in names:
                    group.create_task(seen(registry, name))
                async with asyncio.timeout(DEADLINE_S):
                    await held(registry, 5)
                for name in names:
                    await registry.register(name, A.with_(id=name), ttl_s=60)
        finally:
            await registry.aclose()


class TestProtocol:
    """What the rules of the adapter rest on."""

    async def test_an_index_too_high_is_held_for_the_whole_wait_and_answered_by_a_lower_one(
        self, consul
    ):
        asked_at = time.monotonic()
        answer = await asyncio.to_thread(consul.get, "/v1/health/service/x?index=99999999&wait=1s")
        assert time.monotonic() - asked_at >= 1
        assert int(answer.headers["x-consul-index"]) < 99999999

    async def test_an_index_of_0_is_answered_at_once(self, consul):
        answer = await asyncio.to_thread(consul.get, "/v1/health/service/x?index=0&wait=60s")
        assert answer.json() == []

    async def test_an_error_carries_an_index_that_means_nothing(self, consul):
        answer = await asyncio.to_thread(consul.get, "/v1/health/service/x?dc=nowhere")
        assert answer.status_code == httpx.codes.INTERNAL_SERVER_ERROR
        assert answer.headers["x-consul-index"] == "1"

    async def test_heartbeats_wake_no_blocking_query(self, consul):
        registry = consul_registry(consul.url)
        mine = A.with_(id="beats")
        await registry.register("beats", mine, ttl_s=60)
        path, index = "/v1/health/service/beats", "x-consul-index"
        before = await asyncio.to_thread(consul.get, path)
        for _ in range(3):
            await registry.heartbeat("beats", mine)
        after = await asyncio.to_thread(consul.get, path)
        assert after.headers[index] == before.headers[index]
        await registry.heartbeat("beats", mine.with_(status=Status.WARNING))
        after = await asyncio.to_thread(consul.get, path)
        assert int(after.headers[index]) > int(before.headers[index])
        await registry.deregister("beats", mine)
        await registry.aclose()

    async def test_ids_of_a_service_belong_to_a_node(self, consul):
        for node in ("ext-1", "ext-2"):
            body = {"Service": "shared-id", "ID": "same", "Port": 80}
            place = {"Node": node, "Address": "10.7.7.7", "Service": body}
            await asyncio.to_thread(consul.put, "/v1/catalog/register", place)
        registry = consul_registry(consul.url)
        found = await registry.fetch("shared-id")
        assert [each.id for each in found.instances] == ["same", "same@ext-2"]
        for node in ("ext-1", "ext-2"):
            await asyncio.to_thread(consul.put, "/v1/catalog/deregister", {"Node": node})
        await registry.aclose()


async def drained(watch):
    async with asyncio.timeout(DEADLINE_S):
        async for _ in watch:
            pass


async def held(registry, how_many):
    async with asyncio.timeout(DEADLINE_S):
        while registry.watch.__self__._held_count < how_many:  # noqa: ASYNC110 - the adapter announces nothing
            await asyncio.sleep(0.02)


async def seen(registry, name):
    async with aclosing(registry.watch(name)) as watch:
        async for listing in watch:
            if listing.instances:
                return
