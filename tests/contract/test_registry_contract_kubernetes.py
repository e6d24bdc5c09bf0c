"""The contract over EndpointSlices, by a fake of the API server."""

from __future__ import annotations

import asyncio
from functools import partial
from ipaddress import ip_address

import pytest

from fakes.kubernetes import FakeApiServer, endpoint_slice
from registry_kit import completed
from trimtab.instance import Status
from trimtab.registries import connect
from trimtab.testing import RegistryContract, RegistryHarness


@pytest.fixture(scope="module")
def api_server():
    server = FakeApiServer()
    server.start()
    yield server
    server.stop()


def kind_of(host):
    try:
        return f"IPv{ip_address(host).version}"
    except ValueError:
        return "FQDN"


def as_slice(service, instance):
    endpoint = {
        "addresses": [instance.host],
        "conditions": {"ready": instance.status is not Status.CRITICAL},
        "targetRef": {"kind": "Pod", "name": instance.id},
        "zone": instance.zone,
    }
    port = {"name": "web", "port": instance.port, "appProtocol": instance.scheme}
    name = f"{service}-{instance.id}"
    return endpoint_slice(service, name, endpoint, kind=kind_of(instance.host), ports=[port])


class KubernetesHarness(RegistryHarness):
    options = ""

    def __init__(self, server):
        self.server, self.published = server, {}

    def connect(self, secret=None):
        at = f"kubernetes://127.0.0.1:{self.server.port}/shop"
        if secret:
            return connect(f"{at}?verify=0&token={secret}")
        return completed(connect(f"{at}?tls=0{self.options}"), self.complete)

    async def stop(self):
        if not self.server.runs:
            self.server.start()
        for namespace, name in list(self.server.slices):
            self.server.delete(name, namespace)

    async def publish(self, service, instances):
        wanted = {f"{service}-{each.id}": each for each in instances}
        self.published |= {each.id: each for each in wanted.values()}
        for _, name in list(self.server.slices):
            if name.startswith(f"{service}-") and name not in wanted:
                self.server.delete(name)
        for each in wanted.values():
            self.server.put(as_slice(service, each))

    async def publish_with_bad_entry(self, service, instances):
        await self.publish(service, instances)
        self.server.put(endpoint_slice(service, f"{service}-bad", {"addresses": []}))

    async def begin_outage(self):
        await asyncio.to_thread(self.server.stop)

    async def end_outage(self):
        await asyncio.to_thread(self.server.start)

    def connections(self):
        return self.server.connections()

    def complete(self, found):
        """Kubernetes knows no weights, priorities and metadata of instances, and no warnings."""
        assert found.metadata == {"pod": found.id}
        known = self.published[found.id]
        found = found.with_(weight=known.weight, priority=known.priority, metadata=known.metadata)
        if known.status is Status.WARNING and found.status is Status.PASSING:
            return found.with_(status=Status.WARNING)
        return found


class PolledKubernetesHarness(KubernetesHarness):
    options = "&poll"


class TestKubernetes(RegistryContract):
    @pytest.fixture(autouse=True)
    def subject(self, api_server):
        self.harness = partial(KubernetesHarness, api_server)


class TestPolledKubernetes(RegistryContract):
    @pytest.fixture(autouse=True)
    def subject(self, api_server):
        self.harness = partial(PolledKubernetesHarness, api_server)
