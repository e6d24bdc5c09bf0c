"""The contract of registries over a real ZooKeeper, watched and polled."""

from __future__ import annotations

import asyncio
import json
from contextlib import ExitStack
from functools import partial
from uuid import uuid4

import pytest
from kazoo.exceptions import NoNodeError

from real.server import wait_until
from registry_kit import reader_of
from trimtab.registries import connect
from trimtab.registries.zookeeper import session as session_module
from trimtab.testing import RegistrarContract, RegistryContract, RegistryHarness
from zookeeper_kit import expire


class ZooKeeperHarness(RegistryHarness):
    """Nodes written by plain kazoo, under a base of the test's own."""

    options = "timeout=1s"
    lapsed_is_gone = True

    def __init__(self, server):
        self.server = server
        self.base = f"/contract-{uuid4().hex[:8]}"
        self.stack, self.made = ExitStack(), []
        self.client = None

    def connect(self, secret=None):
        url = (
            self.server.url.replace("zk://", f"zk://user:{secret}@") if secret else self.server.url
        )
        return connect(f"{url}{self.base}?{self.options}")

    async def start(self):
        self.client = self.stack.enter_context(self.server.plain_client())
        self.client.ensure_path(self.base)

    async def stop(self):
        if self.server.process.poll() is not None:
            await self.end_outage()
        self.stack.close()

    async def publish(self, service, instances):
        await asyncio.to_thread(self.write, service, {each.id: as_node(each) for each in instances})

    async def publish_with_bad_entry(self, service, instances):
        nodes = {each.id: as_node(each) for each in instances}
        await asyncio.to_thread(self.write, service, nodes | {"bad": b'{"address": "10.0.0.6'})

    async def begin_outage(self):
        self.server.kill()

    async def end_outage(self):
        # Not in a thread: the kernel ends it with the thread that has started it.
        self.server.start()
        wait_until(self.are_back)

    async def let_lapse(self, registry):
        """Expire the session: it is kept alive by threads, whatever the heartbeats do."""
        await expire(self.server, registry, self.ttl_s)

    def are_back(self):
        """Whether the adapters that had a session have one again."""
        sessions = [reader_of(each)._ensemble._sessions.here()._open.values() for each in self.made]
        return all(session.client.connected for some in sessions for session in some)

    def connections(self):
        # One is the harness's own.
        return max(self.server.connections() - 1, 0)

    def write(self, service, nodes):
        folder = f"{self.base}/{service}"
        retry = self.client.retry
        retry(self.client.ensure_path, folder)
        for name in set(retry(self.client.get_children, folder)) - set(nodes):
            retry(self.client.delete, f"{folder}/{name}")
        for name, data in nodes.items():
            try:
                retry(self.client.set, f"{folder}/{name}", data)
            except NoNodeError:
                retry(self.client.create, f"{folder}/{name}", data)


def as_node(instance):
    node = {"name": "any", "id": instance.id, "address": instance.host, "port": instance.port}
    own = {
        "weight": instance.weight,
        "zone": instance.zone,
        "priority": instance.priority,
        "scheme": instance.scheme,
        "status": instance.status.value,
        "metadata": dict(instance.metadata),
    }
    return json.dumps({**node, "payload": None, "trimtab": own}).encode()


class PolledZooKeeperHarness(ZooKeeperHarness):
    options = "timeout=1s&poll"


@pytest.fixture
def harness_of(zookeeper, monkeypatch):
    """A harness whose clients come back soon after an outage."""
    monkeypatch.setitem(session_module._RECONNECT, "max_delay", 0.2)
    return lambda kind: partial(kind, zookeeper)


@pytest.mark.real
class TestZooKeeper(RegistryContract, RegistrarContract):
    @pytest.fixture(autouse=True)
    def subject(self, harness_of):
        self.harness = harness_of(ZooKeeperHarness)


@pytest.mark.real
class TestPolledZooKeeper(RegistryContract):
    @pytest.fixture(autouse=True)
    def subject(self, harness_of):
        self.harness = harness_of(PolledZooKeeperHarness)
