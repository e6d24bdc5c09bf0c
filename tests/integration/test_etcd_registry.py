"""The etcd adapter and a real etcd: other clients, leases, restarts, hangs, lost cursors."""

from __future__ import annotations

import asyncio
import json
import subprocess
from contextlib import aclosing
from uuid import uuid4

import pytest

from real.etcd import BINARIES, ETCDCTL, Etcd, running
from registry_kit import etcd_registry, reader_of
from trimtab.errors import (
    NotRegisteredError,
    RegistryCursorLostError,
    RegistryRequestError,
    RegistryUnavailableError,
)
from trimtab.instance import Instance
from trimtab.registries import connect
from trimtab.registries.etcd.wire import watch_of
from trimtab.testing.registry_harness import until

pytestmark = [pytest.mark.real, pytest.mark.anyio]
DEADLINE_S = 30
A = Instance(id="a", host="10.0.0.1", port=81)
B = Instance(id="b", host="10.0.0.2", port=82)


@pytest.fixture
def prefix():
    return f"services-{uuid4().hex[:8]}"


@pytest.fixture
async def registry(etcd, prefix):
    registry = connect(f"{etcd.url}/{prefix}")
    yield registry
    await registry.aclose()


def lists(*instances):
    return lambda listing: listing.instances == instances


async def settled(condition):
    async with asyncio.timeout(DEADLINE_S):
        while not await asyncio.to_thread(condition):  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0.02)


async def drained(watch):
    async for _ in watch:
        pass


class TestOtherClients:
    """etcd's own command line client, as the second implementation."""

    @pytest.fixture
    def etcdctl(self, etcd):
        def call(*arguments):
            command = [ETCDCTL, "--endpoints", etcd.http, *arguments]
            done = subprocess.run(
                command, capture_output=True, text=True, check=True, env={"ETCDCTL_API": "3"}
            )
            return done.stdout

        return call

    async def test_it_reads_what_we_write(self, registry, prefix, etcdctl):
        await registry.register("orders", A.with_(weight=3, zone="east"), ttl_s=60)
        key, value = etcdctl("get", "--prefix", f"{prefix}/orders/").splitlines()
        assert key == f"{prefix}/orders/a"
        assert json.loads(value) == {
            "Op": 0,
            "Addr": "10.0.0.1:81",
            "Metadata": '{"id":"a","weight":3.0,"zone":"east"}',
        }
        lease = f"{registry.register.__self__._held['orders', 'a']:x}"
        assert f"{prefix}/orders/a" in etcdctl("lease", "timetolive", lease, "--keys")
        await registry.deregister("orders", A)
        assert etcdctl("get", "--prefix", prefix) == ""

    async def test_we_read_and_watch_what_it_writes(self, registry, prefix, etcdctl):
        async with aclosing(registry.watch("orders")) as watch:
            assert (await anext(watch)).instances == ()
            value = '{"Op":0,"Addr":"10.0.0.1:81","Metadata":null}'
            etcdctl("put", f"{prefix}/orders/a", value)
            assert (await anext(watch)).instances == (A,)
            etcdctl("put", f"{prefix}/orders/b", '{"addr":"10.0.0.2:82"}')
            assert (await anext(watch)).instances == (A, B)
            etcdctl("put", f"{prefix}/orders/c", "garbage")
            listing = await anext(watch)
            assert listing.instances == (A, B)
            assert f"key '{prefix}/orders/c'" in listing.skipped[0]
            etcdctl("del", "--prefix", f"{prefix}/orders/")
            assert (await anext(watch)).instances == ()
        assert etcdctl("get", "--prefix", prefix) == ""

    async def test_what_it_deletes_is_registered_again(self, registry, prefix, etcdctl):
        """The lease lives on without its key, so that a keep-alive alone would not tell."""
        await registry.register("orders", A, ttl_s=60)
        await registry.heartbeat("orders", A)
        etcdctl("del", f"{prefix}/orders/a")
        with pytest.raises(NotRegisteredError, match="its key was deleted"):
            await registry.heartbeat("orders", A)
        await registry.register("orders", A, ttl_s=60)
        await registry.heartbeat("orders", A)
        await registry.deregister("orders", A)


class TestLeases:
    async def test_registering_again_and_leaving_leak_no_lease(self, registry, etcd):
        before = etcd.leases()
        for port in range(81, 91):
            await registry.register("orders", A.with_(port=port), ttl_s=60)
        assert etcd.leases() == before + 1
        assert (await registry.fetch("orders")).instances == (A.with_(port=90),)
        await registry.deregister("orders", A)
        assert etcd.leases() == before

    async def test_a_status_that_changes_is_written_with_the_heartbeat(self, registry):
        await registry.register("orders", A, ttl_s=60)
        draining = A.with_(status="draining")
        await registry.heartbeat("orders", draining)
        assert (await registry.fetch("orders")).instances == (draining,)
        await registry.deregister("orders", draining)

    async def test_the_last_to_register_an_id_has_it(self, registry, etcd, prefix):
        other = connect(f"{etcd.url}/{prefix}")
        await registry.register("orders", A, ttl_s=60)
        await other.register("orders", A, ttl_s=60)
        with pytest.raises(NotRegisteredError, match="another process register the same id"):
            await registry.heartbeat("orders", A)
        await other.heartbeat("orders", A)
        # The one that leaves takes only its own lease with it.
        await registry.deregister("orders", A)
        assert (await other.fetch("orders")).instances == (A,)
        await other.deregister("orders", A)
        await other.aclose()

    async def test_ids_of_any_shape_live_through_their_keys(self, registry):
        for id_ in ("[::1]:80", "a/b?c", "ü%2F", "a b"):
            instance = A.with_(id=id_)
            await registry.register("orders", instance, ttl_s=60)
            await registry.heartbeat("orders", instance)
            assert (await registry.fetch("orders")).instances == (instance,)
            await registry.deregister("orders", instance)
            assert (await registry.fetch("orders")).instances == ()

    async def test_a_lease_that_etcd_does_not_grant_is_refused(self, registry):
        with pytest.raises(RegistryRequestError, match="too large lease TTL"):
            await registry.register("orders", A, ttl_s=1e11)


class TestKeys:
    async def test_services_whose_names_begin_alike_do_not_mix(self, registry):
        for name, instance in (("orders", A), ("orders/v2", B), ("orders-v2", B)):
            await registry.register(name, instance, ttl_s=60)
        assert await registry.services() == ["orders", "orders-v2", "orders/v2"]
        assert (await registry.fetch("orders")).instances == (A,)
        assert (await registry.fetch("orders/v2")).instances == (B,)
        for name, instance in (("orders", A), ("orders/v2", B), ("orders-v2", B)):
            await registry.deregister(name, instance)

    async def test_without_a_prefix_and_with_a_slash_before_it(self, etcd, prefix):
        for url in (etcd.url, f"{etcd.url}//{prefix}"):
            registry = connect(url)
            await registry.register(prefix, A, ttl_s=60)
            assert prefix in await registry.services()
            assert (await registry.fetch(prefix)).instances == (A,)
            await registry.deregister(prefix, A)
            await registry.aclose()

    async def test_a_transaction_is_seen_whole(self, registry, etcd, prefix):
        async with aclosing(registry.watch("orders")) as watch:
            await anext(watch)
            for instances in ((A, B), ()):
                keys = {f"{prefix}/orders/{each.id}": each.address for each in (A, B)}
                values = {key: json.dumps({"Addr": address}) for key, address in keys.items()}
                etcd.transact(values if instances else dict.fromkeys(keys))
                assert (await anext(watch)).instances == instances

    async def test_what_is_too_large_for_etcd_is_refused(self, registry):
        huge = A.with_(metadata={"x": "y" * 2_000_000})
        with pytest.raises(RegistryRequestError, match="request is too large"):
            await registry.register("orders", huge, ttl_s=60)

    async def test_a_watch_that_is_closed_is_gone_from_the_server(self, registry, etcd):
        before = etcd.watchers()
        async with aclosing(registry.watch("orders")) as watch:
            await anext(watch)
            closing = asyncio.ensure_future(anext(watch))
            await settled(lambda: etcd.watchers() == before + 1)
            closing.cancel()
            await asyncio.wait([closing])
        await settled(lambda: etcd.watchers() == before)

    async def test_a_long_list(self, registry, etcd, prefix):
        padding = "x" * 1000
        for number in range(300):
            value = {"Addr": f"10.0.0.1:{number + 1}", "Metadata": {"x": padding}}
            etcd.put(f"{prefix}/orders/{number}", json.dumps(value))
        assert len((await registry.fetch("orders")).instances) == 300
        small = etcd_registry(f"{etcd.url}/{prefix}", max_bytes=100_000)
        with pytest.raises(Exception, match="larger than 100000 bytes"):
            await small.fetch("orders")
        await small.aclose()
        etcd.delete(f"{prefix}/", f"{prefix}0")


class TestLostCursors:
    """What the adapter never asks for, since it always lists first; should it happen anyway."""

    async def messages(self, registry, prefix, revision, silence_s):
        watch = reader_of(registry)._gateway.watch(
            watch_of(f"{prefix}/orders/", revision=revision), silence_s=silence_s
        )
        async with aclosing(watch):
            return [message async for message in watch]

    async def test_a_compacted_revision_is_a_lost_cursor(self, registry, etcd, prefix):
        etcd.put(f"{prefix}/orders/a", '{"Addr":"10.0.0.1:81"}')
        etcd.compact()
        with pytest.raises(RegistryCursorLostError, match=r"before revision \d+ is compacted"):
            await self.messages(registry, prefix, 1, DEADLINE_S)
        assert (await registry.fetch("orders")).instances == (A,)

    async def test_a_revision_in_the_future_is_silent_and_silence_ends(
        self, registry, etcd, prefix
    ):
        """So that a watch ends by itself, and the list is read anew."""
        etcd.put(f"{prefix}/orders/a", "")
        (created,) = await self.messages(registry, prefix, 10**15, 0.3)
        assert created.created

    async def test_a_compaction_while_no_watch_is_open_loses_nothing(self, registry, etcd, prefix):
        async with aclosing(registry.watch("orders")) as watch:
            await anext(watch)
        for number in range(20):
            etcd.put(f"{prefix}/orders/a", json.dumps({"Addr": f"10.0.0.1:{number + 1}"}))
        etcd.put(f"{prefix}/orders/b", '{"Addr":"10.0.0.2:82"}')
        etcd.compact()
        async with aclosing(registry.watch("orders")) as watch:
            assert (await anext(watch)).instances == (A.with_(port=20), B)

    async def test_a_silent_watch_lists_anew_and_is_no_outage(self, etcd, prefix):
        registry = connect(f"{etcd.url}/{prefix}?resync=200ms")
        await registry.register("orders", A, ttl_s=60)
        async with aclosing(registry.watch("orders")) as watch:
            for _ in range(4):
                listing = await asyncio.wait_for(anext(watch), DEADLINE_S)
                assert (listing.instances, listing.reset) == ((A,), False)
            await registry.register("orders", B, ttl_s=60)
            await until(registry, "orders", lists(A, B), DEADLINE_S)
        for instance in (A, B):
            await registry.deregister("orders", instance)
        await registry.aclose()


class TestTrouble:
    async def test_a_restart_with_its_disk_keeps_keys_and_leases(self, own_etcd):
        registry = connect(f"{own_etcd.url}/s")
        await registry.register("orders", A, ttl_s=60)
        async with aclosing(registry.watch("orders")) as watch:
            await anext(watch)
            own_etcd.kill()
            with pytest.raises(RegistryUnavailableError):
                await asyncio.wait_for(drained(watch), DEADLINE_S)
        own_etcd.start()
        listing = await registry.fetch("orders")
        assert (listing.instances, listing.reset) == ((A,), False)
        await registry.heartbeat("orders", A)
        await registry.aclose()

    async def test_a_restart_without_it_is_a_reset(self, own_etcd):
        registry = connect(f"{own_etcd.url}/s")
        for _ in range(3):
            await registry.register("orders", A, ttl_s=60)
        await registry.fetch("orders")
        own_etcd.kill()
        own_etcd.wipe()
        own_etcd.start()
        async with aclosing(registry.watch("orders")) as watch:
            first = await anext(watch)
            assert (first.instances, first.reset) == ((), True)
            with pytest.raises(NotRegisteredError):
                await registry.heartbeat("orders", A)
            await registry.register("orders", A, ttl_s=60)
            second = await asyncio.wait_for(anext(watch), DEADLINE_S)
            assert (second.instances, second.reset) == ((A,), False)
        await registry.aclose()

    async def test_a_frozen_member_is_unavailable_and_comes_back(self, own_etcd):
        registry = etcd_registry(poll=True, url=f"{own_etcd.url}/s", timeout_s=0.5)
        await registry.register("orders", A, ttl_s=60)
        watched = etcd_registry(f"{own_etcd.url}/s", timeout_s=0.5, resync_s=0.5)
        async with aclosing(watched.watch("orders")) as watch:
            await anext(watch)
            own_etcd.freeze()
            # Silence: the list is read anew, and that tells of the trouble.
            with pytest.raises(RegistryUnavailableError, match=r"no answer within 0\.5 s"):
                await asyncio.wait_for(drained(watch), DEADLINE_S)
        for asked in (registry.fetch("orders"), registry.heartbeat("orders", A)):
            with pytest.raises(RegistryUnavailableError, match=r"no answer within 0\.5 s"):
                await asked
        own_etcd.thaw()
        await until(registry, "orders", lists(A), DEADLINE_S)
        await registry.heartbeat("orders", A)
        await registry.deregister("orders", A)
        for each in (registry, watched):
            await each.aclose()

    async def test_a_gateway_that_is_off_is_told_with_its_remedy(self, tmp_path):
        server = Etcd(BINARIES["3.5"], tmp_path / "etcd")
        server.settings += ["--enable-grpc-gateway=false"]
        with running(server):
            registry = connect(f"{server.url}/s")
            with pytest.raises(RegistryRequestError, match="with its gRPC gateway on"):
                await registry.fetch("orders")
            await registry.aclose()

    async def test_what_is_not_etcd_is_told(self, nginx):
        registry = connect(f"etcd://127.0.0.1:{nginx.port}/s")
        with pytest.raises(RegistryRequestError, match="is it etcd"):
            await registry.fetch("orders")
        await registry.aclose()
