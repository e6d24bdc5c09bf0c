"""What a token may see and do, with the access control of a real Consul."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from uuid import uuid4

import pytest

from consul_kit import consul_registry
from trimtab.errors import RegistryDeniedError
from trimtab.instance import Instance
from trimtab.testing.registry_harness import until

pytestmark = [pytest.mark.real, pytest.mark.anyio]
DEADLINE_S = 30
ROOT = "root-token"
SERVICES = 'service_prefix "" { policy = "read" }'
NODES = 'node_prefix "" { policy = "read" }'
A = Instance(id="a", host="10.0.0.1", port=81)
FOLLOWING = pytest.mark.parametrize("follow", ["watch", "poll"])


@pytest.fixture(scope="module")
def guarded(guarded_consul):
    """An agent with access control and one instance of the service "orders"."""
    guarded_consul.put(
        "/v1/agent/service/register",
        {"Name": "orders", "ID": "a", "Address": A.host, "Port": A.port},
    )
    guarded_consul.put(
        "/v1/agent/service/register",
        {"Name": "others", "ID": "b", "Address": A.host, "Port": A.port, "Tags": ["blue"]},
    )
    return guarded_consul


def token(agent, rules):
    """A new token with these rules alone: its secret, and the path to delete it by."""
    name = uuid4().hex
    agent.put("/v1/acl/policy", {"Name": name, "Rules": rules})
    made = agent.put("/v1/acl/token", {"Policies": [{"Name": name}]}).json()
    return made["SecretID"], f"/v1/acl/token/{made['AccessorID']}"


async def only_a(watch):
    async with asyncio.timeout(DEADLINE_S):
        async for listing in watch:
            assert listing.instances == (A,)


@FOLLOWING
@pytest.mark.parametrize(
    ("rules", "message"),
    [
        (None, "give it service:read on 'orders', and node:read"),
        ('key_prefix "" { policy = "read" }', "give it service:read on 'orders', and node:read"),
        (NODES, "give it service:read on 'orders', and node:read"),
        (SERVICES, "the token may not see its nodes; give it node:read"),
        ('service "orders" { policy = "read" }', "may not see its nodes; give it node:read"),
        (SERVICES + ' node "elsewhere" { policy = "read" }', "see its nodes; give it node:read"),
    ],
)
async def test_a_hidden_list_is_denied_and_the_right_named(guarded, follow, rules, message):
    secret = rules and token(guarded, rules)[0]
    registry = consul_registry(guarded.url, follow=follow, token=secret)
    with pytest.raises(RegistryDeniedError, match=message) as caught:
        await registry.fetch("orders")
    assert str(secret) not in str(caught.value)
    await registry.aclose()


@pytest.mark.parametrize(
    "rules",
    [
        SERVICES + NODES,
        'service "orders" { policy = "read" }' + NODES,
        SERVICES + ' node "n1" { policy = "read" }',
    ],
)
async def test_rights_that_suffice(guarded, rules):
    registry = consul_registry(guarded.url, token=token(guarded, rules)[0])
    assert (await registry.fetch("orders")).instances == (A,)
    await registry.aclose()


async def test_an_unknown_service_is_empty_with_sufficient_rights(guarded):
    for rules in (SERVICES + NODES, SERVICES, SERVICES + ' node "n1" { policy = "read" }'):
        registry = consul_registry(guarded.url, token=token(guarded, rules)[0])
        assert (await registry.fetch("nobody")).instances == ()
        await registry.aclose()
    # What its tags leave out is not hidden either.
    for rules in (SERVICES + NODES, SERVICES + ' node "n1" { policy = "read" }'):
        registry = consul_registry(guarded.url, token=token(guarded, rules)[0], tags=["green"])
        assert (await registry.fetch("others")).instances == ()
        await registry.aclose()


async def test_the_catalog(guarded):
    for rules in (None, NODES):
        registry = consul_registry(guarded.url, token=rules and token(guarded, rules)[0])
        with pytest.raises(RegistryDeniedError, match="give it service:read"):
            await registry.services()
        await registry.aclose()
    registry = consul_registry(guarded.url, token=token(guarded, SERVICES)[0])
    assert await registry.services() == ["consul", "orders", "others"]
    await registry.aclose()


async def test_a_token_that_does_not_exist_is_denied(guarded):
    stranger = consul_registry(guarded.url, token="wrong")
    for asked in (
        stranger.fetch("orders"),
        stranger.services(),
        stranger.register("orders", A, ttl_s=60),
        stranger.heartbeat("orders", A),
        stranger.deregister("orders", A),
    ):
        with pytest.raises(RegistryDeniedError, match="ACL not found; check the token"):
            await asked
    await stranger.aclose()


async def test_writing_takes_a_right_of_its_own(guarded):
    reader = consul_registry(guarded.url, token=token(guarded, SERVICES + NODES)[0])
    for asked in (reader.register("orders", A, ttl_s=60), reader.deregister("orders", A)):
        with pytest.raises(RegistryDeniedError, match="give the token service:write on 'orders'"):
            await asked
    await reader.aclose()
    rules = 'service "payments" { policy = "write" } ' + NODES
    writer = consul_registry(guarded.url, token=token(guarded, rules)[0])
    mine = A.with_(id="mine")
    await writer.register("payments", mine, ttl_s=60)
    await until(writer, "payments", lambda found: found.instances == (mine,), DEADLINE_S)
    await writer.deregister("payments", mine)
    await writer.aclose()


async def test_a_token_deleted_during_a_poll_is_denied_not_empty(guarded):
    secret, path = token(guarded, SERVICES + NODES)
    registry = consul_registry(guarded.url, token=secret, wait_s=1)
    async with aclosing(registry.watch("orders")) as watch:
        assert (await anext(watch)).instances == (A,)
        held = asyncio.create_task(only_a(watch))
        await asyncio.to_thread(guarded.delete, path)
        with pytest.raises(RegistryDeniedError, match="ACL not found"):
            await held
    await registry.aclose()


async def test_rights_taken_away_during_a_poll_are_denied_not_empty(guarded):
    name = uuid4().hex
    policy = guarded.put("/v1/acl/policy", {"Name": name, "Rules": SERVICES + NODES}).json()
    made = guarded.put("/v1/acl/token", {"Policies": [{"Name": name}]}).json()
    registry = consul_registry(guarded.url, token=made["SecretID"], wait_s=1)
    async with aclosing(registry.watch("orders")) as watch:
        assert (await anext(watch)).instances == (A,)
        less = {"Name": name, "Rules": SERVICES}
        await asyncio.to_thread(guarded.put, f"/v1/acl/policy/{policy['ID']}", less)
        with pytest.raises(RegistryDeniedError, match="give it node:read"):
            await only_a(watch)
    await registry.aclose()
