"""Answers of newer Consul than the one the tests run: recorded from documentation and source.

Nothing here was asked of a real agent. What 1.8.7 does stands in the integration tests.
"""

from __future__ import annotations

import json

import httpx
import pytest

from consul_kit import MINE, Agent, entry, health
from trimtab.errors import (
    NotRegisteredError,
    RegistryDeniedError,
    RegistryRequestError,
    RegistryUnavailableError,
)
from trimtab.registries.consul.entries import read_health

pytestmark = pytest.mark.anyio
FILTERED = {"results-filtered-by-acls": "true"}  # since 1.11


async def test_fields_that_came_later_are_let_be():
    newer = entry(
        service={
            "Kind": "",
            "SocketPath": "",
            "PeerName": "east",
            "Locality": {"Region": "eu", "Zone": "x"},
            "Ports": None,
            "TaggedAddresses": {"lan_ipv4": {"Address": "10.0.0.1", "Port": 80}},
        },
        node={"PeerName": "east", "Locality": None, "Partition": "default"},
    )
    newer["Checks"] = [{"CheckID": "c", "Status": "passing", "ExposedPort": 0, "PeerName": "east"}]
    (found,), skipped = read_health("here", json.dumps([newer | {"Peer": "x"}]).encode())
    assert (found, skipped) == (MINE, ())


async def test_a_header_says_that_the_token_hides_all():
    agent = Agent(health(**FILTERED))
    with pytest.raises(RegistryDeniedError, match="give it service:read and node:read"):
        await agent.registry().fetch("orders")


async def test_a_header_says_that_the_token_hides_some():
    found = await Agent(health(entry(), **FILTERED)).registry().fetch("orders")
    assert found.instances == (MINE,)
    assert "may not see all" in found.skipped[0]


async def test_a_header_says_that_the_catalog_is_hidden():
    hidden = httpx.Response(200, json={}, headers={f"x-consul-{n}": v for n, v in FILTERED.items()})
    with pytest.raises(RegistryDeniedError, match="may not see all"):
        await Agent(hidden).registry().services()


async def test_an_unknown_check_is_404():
    answer = httpx.Response(404, text='Unknown check ID "service:a". Ensure that the check ID ...')
    with pytest.raises(NotRegisteredError, match="heartbeat of orders 'a': Unknown check"):
        await Agent(answer).registry().heartbeat("orders", MINE)


async def test_deregistering_what_is_unknown_is_404_and_fine():
    agent = Agent(httpx.Response(404, text='Unknown service ID "a". Ensure that ...'))
    await agent.registry().deregister("orders", MINE)
    assert len(agent.asked) == 1


@pytest.mark.parametrize(
    "answer",
    [
        # Beyond http_max_conns_per_client, since 1.10; rate limits, since 1.14.
        httpx.Response(429, text="Your IP is issuing too many concurrent connections"),
        httpx.Response(429, text="rate limit exceeded, try again later or against a different"),
        httpx.Response(503, text="rate limit exceeded for operation that can only be performed by"),
    ],
)
async def test_rate_limits_are_no_refusal(answer):
    registry = Agent(answer).registry()
    for asked in (
        registry.fetch("orders"),
        registry.services(),
        registry.heartbeat("orders", MINE),
        registry.register("orders", MINE, ttl_s=1),
        registry.deregister("orders", MINE),
    ):
        with pytest.raises(RegistryUnavailableError, match=f"HTTP {answer.status_code}: "):
            await asked


async def test_permission_denied_names_the_right_that_writing_needs():
    said = (
        "Permission denied: token with AccessorID '0000' lacks permission 'service:write' on \"x\""
    )
    with pytest.raises(RegistryDeniedError, match="give the token service:write on 'orders'"):
        await Agent(httpx.Response(403, text=said)).registry().register("orders", MINE, ttl_s=1)


async def test_an_unknown_datacenter_is_a_mistake_whatever_the_status():
    for status in (400, 500):
        answer = httpx.Response(status, text="No path to datacenter")
        with pytest.raises(RegistryRequestError, match="No path to datacenter"):
            await Agent(answer).registry().fetch("orders")
