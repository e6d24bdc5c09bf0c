"""Consul clients that this project did not write, against the embedded registry."""

import threading

import consul
import pytest

from trimtab.server import EmbeddedRegistry


@pytest.fixture(scope="module")
def registry():
    with EmbeddedRegistry() as registry:
        yield registry


def connected(registry, **options):
    host, port = registry.address.rsplit(":", 1)
    return consul.Consul(host=host, port=int(port), **options)


@pytest.fixture
def client(registry):
    client = connected(registry)
    yield client
    client.http.session.close()


def test_py_consul_registers_beats_and_discovers(client):
    check = consul.Check.ttl("60s")
    assert client.agent.service.register(
        "py", service_id="py-1", address="10.0.0.1", port=80, tags=["t"], check=check
    )
    assert client.health.service("py", passing=True)[1] == []
    assert client.agent.check.ttl_pass("service:py-1", notes="fine")
    index, entries = client.health.service("py", passing=True, tag="t")
    (entry,) = entries
    assert int(index) > 0
    assert entry["Service"]["Address"] == "10.0.0.1"
    assert entry["Checks"][1]["Output"] == "fine"
    assert client.agent.check.ttl_warn("service:py-1")
    assert client.health.checks("py")[1][0]["Status"] == "warning"
    assert client.agent.check.ttl_fail("service:py-1")
    assert "service:py-1" in {c["CheckID"] for c in client.health.state("critical")[1]}
    assert client.agent.service.deregister("py-1")
    assert client.health.service("py")[1] == []


def test_py_consul_blocks_until_a_change(registry, client, wait_until):
    assert client.agent.service.register("wake", service_id="wake-1", port=1)
    index, _ = client.health.service("wake")
    found = []

    def wait():
        other = connected(registry)
        found.append(other.health.service("wake", index=index, wait="60s"))
        other.http.session.close()

    thread = threading.Thread(target=wait)
    thread.start()
    wait_until(lambda: registry._app.state.registry.waiters.count == 1)
    assert client.agent.service.register("wake", service_id="wake-2", port=2)
    thread.join(timeout=20)
    ((newer, entries),) = found
    assert int(newer) > int(index)
    assert [entry["Service"]["Port"] for entry in entries] == [1, 2]


def test_py_consul_reads_the_catalog_and_the_agent(client):
    assert client.agent.service.register("cat", service_id="cat-1", port=1, tags=["a"])
    assert client.agent.check.register(
        "cat check", check=consul.Check.ttl("60s"), service_id="cat-1"
    )
    assert client.catalog.services()[1]["cat"] == ["a"]
    assert client.catalog.service("cat")[1][0]["ServiceID"] == "cat-1"
    assert client.catalog.datacenters() == ["dc1"]
    (node,) = client.catalog.nodes()[1]
    assert "cat-1" in client.catalog.node(node["Node"])[1]["Services"]
    assert client.health.node(node["Node"])[1]
    assert client.agent.services()["cat-1"]["Port"] == 1
    assert client.agent.checks()["cat check"]["ServiceID"] == "cat-1"
    assert client.agent.check.deregister("cat check")
    assert client.agent.self()["Config"]["NodeName"] == node["Node"]
    assert client.agent.members()[0]["Name"] == node["Node"]
    assert client.status.leader() == client.status.peers()[0]
    assert client.agent.service.maintenance("cat-1", enable="true", reason="r")
    assert client.health.service("cat", passing=True)[1] == []


def test_py_consul_writes_external_nodes(client):
    assert client.catalog.register("ext", "10.9.9.9", service={"Service": "db", "Port": 5432})
    assert client.catalog.service("db")[1][0]["Address"] == "10.9.9.9"
    assert client.catalog.deregister("ext", service_id="db")
    assert client.catalog.service("db")[1] == []
    assert client.catalog.deregister("ext")


def test_py_consul_sends_its_token():
    with EmbeddedRegistry(token="s3cret") as registry:
        client = connected(registry, token="s3cret")
        assert client.agent.service.register("x", port=1)
        client.http.session.close()
        stranger = connected(registry, token="wrong")
        with pytest.raises(consul.ACLPermissionDenied, match="ACL not found"):
            stranger.catalog.services()
        stranger.http.session.close()
