"""Whether an empty list is believed. The real rights are in integration."""

from __future__ import annotations

import httpx
import pytest

from consul_kit import MINE, Agent, entry, health
from trimtab.errors import RegistryDeniedError, RegistryUnavailableError

pytestmark = pytest.mark.anyio


def rights(*allowed):
    return httpx.Response(200, json=[{"Allow": each, "Resource": "x"} for each in allowed])


def catalog(*names):
    return httpx.Response(200, json={name: ["tag"] for name in names})


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(401, text="ACL support disabled"),
        httpx.Response(404),
        httpx.Response(405),
        httpx.Response(400, text="?"),
        httpx.Response(200, text="<html>"),
        httpx.Response(200, json=[]),
        httpx.Response(200, json=[{"Allow": False}]),
        httpx.Response(200, json=[{"Allow": "no"}, {"Allow": False}]),
        httpx.Response(200, json={"Allow": False}),
        rights(True, True),
    ],
)
async def test_an_empty_list_is_believed_unless_the_rights_contradict_it(answer):
    agent = Agent(health(), rights=answer)
    assert (await agent.registry().fetch("orders")).instances == ()
    assert len(agent.asked) == 1


async def test_a_service_that_the_token_may_not_see():
    agent = Agent(health(), rights=rights(False, True))
    with pytest.raises(RegistryDeniedError, match="give it service:read on 'orders', and node"):
        await agent.registry().fetch("orders")


async def test_nodes_that_the_token_may_not_see():
    agent = Agent(health(), catalog("consul", "orders"), health(), rights=rights(True, False))
    with pytest.raises(RegistryDeniedError, match=r"may not see its nodes; give it node:read$"):
        await agent.registry(tags=["v1"], datacenter="east").fetch("orders")
    assert [each.url.path for each in agent.asked][1:] == [
        "/v1/catalog/services",
        "/v1/health/service/orders",
    ]
    # What narrows the list is left away, where to ask is not.
    assert agent.params() == [("dc", "east")]


async def test_a_service_that_is_not_there_is_empty_whatever_the_rights():
    agent = Agent(health(), catalog("consul"), rights=rights(True, False))
    assert (await agent.registry().fetch("orders")).instances == ()


async def test_a_list_that_is_empty_by_its_tags_is_empty():
    agent = Agent(health(), catalog("orders"), health(entry()), rights=rights(True, False))
    assert (await agent.registry(tags=["v1"]).fetch("orders")).instances == ()


async def test_rights_cost_nothing_while_the_list_is_not_empty():
    agent = Agent(health(entry()), rights=rights(False, False))
    assert (await agent.registry().fetch("orders")).instances == (MINE,)


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (httpx.Response(403, text="ACL not found"), RegistryDeniedError),
        (httpx.Response(429), RegistryUnavailableError),
        (httpx.Response(500, text="No cluster leader"), RegistryUnavailableError),
    ],
)
async def test_an_empty_list_is_not_believed_while_rights_cannot_be_had(answer, error):
    registry = Agent(health(), rights=answer).registry()
    with pytest.raises(error, match="the token's rights"):
        await registry.fetch("orders")


async def test_a_catalog_without_any_service_is_hidden_or_no_real_one():
    with pytest.raises(RegistryDeniedError, match=r"not see even Consul's own; give it service:r"):
        await Agent(catalog(), rights=rights(False, False)).registry().services()
    for answer in (rights(True, False), httpx.Response(404)):
        assert await Agent(catalog(), rights=answer).registry().services() == []
