"""The contract over Eureka, by a fake of it."""

from __future__ import annotations

import asyncio
from functools import partial

import pytest

from fakes.eureka import FakeEureka
from trimtab.instance import Instance, Status
from trimtab.registries import connect
from trimtab.testing import RegistrarContract, RegistryContract, RegistryHarness
from trimtab.testing.registry_harness import clause

A = Instance(id="a", host="10.0.0.1", port=8001)
WORDS = {Status.DRAINING: "OUT_OF_SERVICE", Status.CRITICAL: "DOWN"}


@pytest.fixture(scope="module")
def eureka():
    server = FakeEureka()
    server.start()
    yield server
    server.stop()


def as_info(instance):
    """Write an instance as other clients would, with our own fields in its metadata."""
    secure = instance.scheme == "https"
    own = {"zone": instance.zone, "weight": str(instance.weight)}
    own["priority"] = str(instance.priority)
    own |= {"status": "warning"} if instance.status is Status.WARNING else {}
    return {
        "instanceId": instance.id,
        "hostName": instance.host,
        "status": WORDS.get(instance.status, "UP"),
        "port": {"$": instance.port, "@enabled": str(not secure).lower()},
        "securePort": {"$": instance.port, "@enabled": str(secure).lower()},
        "metadata": {**own, **instance.metadata},
    }


class EurekaHarness(RegistryHarness):
    lapsed_is_gone = True

    def __init__(self, server):
        self.server = server

    def connect(self, secret=None):
        login = f"user:{secret}@" if secret else ""
        return connect(f"eureka://{login}127.0.0.1:{self.server.port}/eureka")

    async def stop(self):
        self.server.clear()
        if not self.server.runs:
            self.server.start()

    async def publish(self, service, instances):
        app = service.upper()
        for key in list(self.server.instances):
            if key[0] == app:
                del self.server.instances[key]
        for instance in instances:
            self.server.put(app, as_info(instance))

    async def publish_with_bad_entry(self, service, instances):
        await self.publish(service, instances)
        self.server.put(service.upper(), {"instanceId": "bad", "hostName": "h", "status": "UP"})

    async def begin_outage(self):
        await asyncio.to_thread(self.server.stop)

    async def end_outage(self):
        await asyncio.to_thread(self.server.start)

    def connections(self):
        return self.server.connections()


class TestEureka(RegistryContract, RegistrarContract):
    @pytest.fixture(autouse=True)
    def subject(self, eureka):
        self.harness = partial(EurekaHarness, eureka)

    @clause
    async def test_a_heartbeat_keeps_the_lease(self, harness, registry):
        await registry.register("orders", A, ttl_s=harness.ttl_s)
        loop = asyncio.get_running_loop()
        until_s = loop.time() + 2 * harness.ttl_s
        while loop.time() < until_s:
            await registry.heartbeat("orders", A)
            assert (await registry.fetch("orders")).instances == (A,)
            await asyncio.sleep(harness.ttl_s / 10)
