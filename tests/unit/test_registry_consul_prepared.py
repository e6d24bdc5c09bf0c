"""Prepared queries: what their execution says."""

from __future__ import annotations

import json
import logging

import httpx
import pytest

from consul_kit import URL, Agent, consul_registry, entry
from trimtab.errors import (
    ConfigurationError,
    RegistryAnswerError,
    RegistryDeniedError,
    RegistryRequestError,
    RegistryUnavailableError,
)
from trimtab.registries.consul.entries import read_executed

pytestmark = pytest.mark.anyio


def executed(*entries, headers=None, **fields):
    said = {"Service": "orders", "Nodes": list(entries), "Datacenter": "dc1", "Failovers": 0}
    return httpx.Response(200, json=said | fields, headers=headers)


async def test_the_list_is_the_same_however_it_is_shuffled():
    agent = Agent(executed(entry("a"), entry("b")), executed(entry("b"), entry("a")))
    registry = agent.registry(follow="prepared")
    first, second = await registry.fetch("near orders"), await registry.fetch("near orders")
    assert first == second
    assert [each.id for each in first.instances] == ["a", "b"]
    assert agent.asked[0].url.raw_path == b"/v1/query/near%20orders/execute"


async def test_a_second_node_renames_no_instance():
    alone = [entry("a", node={"Node": "n2"})]
    both = [entry("a", node={"Node": "n1"}), *alone]
    agent = Agent(*(executed(*entries) for entries in (alone, both, alone)))
    registry = agent.registry(follow="prepared")
    seen = [(await registry.fetch("orders")).instances for _ in range(3)]
    assert [[each.id for each in found] for found in seen] == [["a"], ["a", "a@n1"], ["a"]]


async def test_every_option_is_asked_for():
    agent = Agent(executed())
    registry = agent.registry(
        follow="prepared", datacenter="east", near="_agent", consistency="stale"
    )
    await registry.fetch("orders")
    assert agent.params() == [("stale", ""), ("dc", "east"), ("near", "_agent")]


async def test_a_failover_is_told_once_and_stands_with_the_instances(caplog):
    agent = Agent(executed(entry(service={"Meta": {"k": "v"}}), Datacenter="east", Failovers=1))
    registry = agent.registry(follow="prepared")
    with caplog.at_level(logging.WARNING, "trimtab.registries"):
        for _ in range(2):
            (found,) = (await registry.fetch("orders")).instances
    assert dict(found.metadata) == {"k": "v", "datacenter": "east"}
    (message,) = caplog.messages
    assert message.endswith("query 'orders': failed over to datacenter 'east'")


async def test_a_bad_entry_is_left_out_and_its_fault_named():
    agent = Agent(executed(entry("a"), entry("b", service={"Port": 0}), 7))
    found = await agent.registry(follow="prepared").fetch("orders")
    assert [each.id for each in found.instances] == ["a"]
    assert len(found.skipped) == 2


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (httpx.Response(404, text="Query not found"), RegistryRequestError),
        (httpx.Response(500, text="No cluster leader"), RegistryUnavailableError),
        (executed(headers={"x-consul-knownleader": "false"}), RegistryUnavailableError),
        (
            executed(headers={"x-consul-results-filtered-by-acls": "true"}),
            RegistryDeniedError,
        ),
        (httpx.Response(200, json=[]), RegistryAnswerError),
        (httpx.Response(200, json={}), RegistryAnswerError),
    ],
)
async def test_each_refusal_has_its_error(answer, error):
    with pytest.raises(error):
        await Agent(answer).registry(follow="prepared").fetch("orders")


@pytest.mark.parametrize("setting", [{"tags": ["a"]}, {"filter_": "x"}, {"only_passing": True}])
def test_what_the_query_settles_itself_is_refused(setting):
    with pytest.raises(ConfigurationError, match="cannot be combined with a prepared query"):
        consul_registry(URL, follow="prepared", **setting)


def test_no_nodes_may_be_null():
    body = json.dumps({"Nodes": None, "Datacenter": "dc1"}).encode()
    assert read_executed("here", body) == ((), (), "")


async def test_the_services_are_the_queries():
    queries = [{"ID": "1-2", "Name": "zebra"}, {"ID": "3-4", "Name": "", "DNS": {}}]
    agent = Agent(httpx.Response(200, json=queries))
    assert await agent.registry(follow="prepared").services() == ["3-4", "zebra"]
    assert agent.asked[0].url.path == "/v1/query"
