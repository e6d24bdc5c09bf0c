"""The Consul adapter and a real agent: restarts, hangs, rights, maintenance, choices."""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing
from functools import partial
from uuid import uuid4

import pytest

from consul_kit import consul_registry
from trimtab.errors import (
    NotRegisteredError,
    RegistryRequestError,
    RegistryUnavailableError,
)
from trimtab.instance import Instance, Status
from trimtab.registries import connect
from trimtab.testing.registry_harness import until

pytestmark = [pytest.mark.real, pytest.mark.anyio]
DEADLINE_S = 30
A = Instance(id="a", host="10.0.0.1", port=81)
B = Instance(id="b", host="10.0.0.2", port=82)


@pytest.fixture
def service():
    return f"orders-{uuid4().hex[:8]}"


@pytest.fixture
async def registry(consul):
    registry = connect(consul.url)
    yield registry
    await registry.aclose()


def statuses(listing):
    return {each.id.partition("-")[0]: each.status for each in listing.instances}


def unique(instance, service):
    """Ids are the agent's, not the service's; the agent serves all tests."""
    return instance.with_(id=f"{instance.id}-{service}")


async def drained(watch):
    async for _ in watch:
        pass


async def test_a_restart_without_a_disk_is_a_reset(own_consul):
    registry = connect(own_consul.url)
    for number in range(20):
        await registry.register("orders", A.with_(port=1000 + number), ttl_s=60)
    async with aclosing(registry.watch("orders")) as watch:
        await anext(watch)
        await asyncio.to_thread(own_consul.kill)
        with pytest.raises(RegistryUnavailableError):
            await asyncio.wait_for(drained(watch), DEADLINE_S)
    await asyncio.to_thread(own_consul.start)
    async with aclosing(registry.watch("orders")) as watch:
        first = await anext(watch)
    assert (first.instances, first.reset) == ((), True)
    with pytest.raises(NotRegisteredError):
        await registry.heartbeat("orders", A)
    await registry.register("orders", A, ttl_s=60)
    assert (await registry.fetch("orders")).instances == (A,)
    await registry.aclose()


async def test_a_frozen_agent_is_unavailable_and_comes_back(own_consul):
    # Not shorter: anyio drops a connection that opens in the turn in which its time is up.
    registry = consul_registry(own_consul.url, timeout_s=1.5, follow="poll")
    await registry.register("orders", A, ttl_s=60)
    own_consul.freeze()
    for ask in (registry.fetch, partial(registry.heartbeat, instance=A)):
        with pytest.raises(RegistryUnavailableError, match=r"no answer within 1\.5 s"):
            await ask("orders")
    own_consul.thaw()
    assert (await registry.fetch("orders")).instances == (A,)
    await registry.aclose()


async def test_maintenance_is_draining_and_ends(registry, consul, service):
    mine = unique(A, service)
    await registry.register(service, mine, ttl_s=60)
    for path in (f"/v1/agent/service/maintenance/{mine.id}", "/v1/agent/maintenance"):
        for enable, status in (("true", Status.DRAINING), ("false", Status.PASSING)):
            await asyncio.to_thread(consul.put, f"{path}?enable={enable}")
            await until(
                registry, service, lambda each, s=status: statuses(each) == {"a": s}, DEADLINE_S
            )
    await registry.deregister(service, mine)


async def test_a_check_of_the_node_counts(own_consul):
    registry = connect(own_consul.url)
    await registry.register("orders", A, ttl_s=60)
    check = {"ID": "disk", "Name": "disk", "TTL": "60s", "Status": "critical"}
    await asyncio.to_thread(own_consul.put, "/v1/agent/check/register", check)
    await until(registry, "orders", lambda x: statuses(x) == {"a": "critical"}, DEADLINE_S)
    await registry.aclose()


async def test_a_registration_of_other_programs_borrows_the_node_address(registry, consul, service):
    body = {"Name": service, "Port": 80, "Tags": ["v1"], "Weights": {"Passing": 5}}
    await asyncio.to_thread(consul.put, "/v1/agent/service/register", body)
    (found,) = (await registry.fetch(service)).instances
    assert (found.id, found.address) == (f"{service}@n1", "127.0.0.1:80")
    assert (found.weight, found.metadata["tags"]) == (5, "v1")
    await asyncio.to_thread(consul.put, f"/v1/agent/service/deregister/{service}")


async def test_passing_tags_filter_and_near_choose(consul, service):
    writer = consul_registry(consul.url, tags=["blue"])
    await writer.register(service, unique(A, service), ttl_s=60)
    failing = unique(B, service).with_(status=Status.CRITICAL)
    warning = unique(B, service).with_(id=f"c-{service}", status=Status.WARNING)
    for instance in (failing, warning):
        await writer.register(service, instance, ttl_s=60)
    for options, ids in (
        ("", "abc"),
        ("passing", "a"),
        ("tag=blue", "abc"),
        ("tag=blue&tag=green", ""),
        ("near=_agent&consistent", "abc"),
        ("stale&poll", "abc"),
        ("filter=Service.Port%20%3D%3D%2081", "a"),
        ("dc=dc1", "abc"),
    ):
        reader = connect(f"{consul.url}/?{options}")
        found = await reader.fetch(service)
        assert "".join(sorted(statuses(found))) == ids, options
        await reader.aclose()
    for instance in (unique(A, service), failing, warning):
        await writer.deregister(service, instance)
    await writer.aclose()


@pytest.mark.parametrize("options", ["dc=nowhere", "filter=Banana%20%3D%3D%201"])
async def test_a_wrong_question_is_not_taken_for_an_outage(consul, options):
    reader = connect(f"{consul.url}/?{options}")
    with pytest.raises(RegistryRequestError, match="HTTP 500"):
        await reader.fetch("orders")
    await reader.aclose()


async def test_ids_of_any_shape_live_through_their_paths(registry, service):
    for id_ in (f"[::1]:80 {service}", f"a/b?{service}", f"ü%{service}"):
        instance = A.with_(id=id_)
        await registry.register(service, instance, ttl_s=60)
        await registry.heartbeat(service, instance)
        assert (await registry.fetch(service)).instances == (instance,)
        await registry.deregister(service, instance)
        assert (await registry.fetch(service)).instances == ()


async def test_a_quiet_connection_is_awaited_without_questions(registry, service):
    """A watch of an unknown service must not ask in a circle: its index is the catalog's own."""
    quiet = consul_registry(registry.url, wait_s=0.5)
    asked_at = time.monotonic()
    async with aclosing(quiet.watch(service)) as watch:
        for _ in range(3):
            assert (await anext(watch)).instances == ()
    assert time.monotonic() - asked_at >= 0.2
    await quiet.aclose()
