"""What the contract of registries needs to act on etcd, and where etcd differs from it."""

from __future__ import annotations

import asyncio
import json
from uuid import uuid4

import pytest

from trimtab.errors import NotRegisteredError
from trimtab.instance import Instance
from trimtab.registries import connect
from trimtab.testing import RegistrarContract, RegistryHarness
from trimtab.testing.registry_harness import clause, until

A = Instance(id="a", host="10.0.0.1", port=8001)


class EtcdHarness(RegistryHarness):
    """etcd, written to by plain HTTP and as gRPC-Go does, not by the adapter."""

    options = ""

    def __init__(self, server):
        self.server = server
        # One server for all tests: each has a prefix of its own.
        self.prefix = f"services-{uuid4().hex[:8]}"

    def connect(self, secret=None):
        if secret:
            url = self.server.url.replace("://", f"://user:{secret}@")
            return connect(f"{url}/{self.prefix}?{self.options}")
        return connect(f"{self.server.url}/{self.prefix}?{self.options}")

    async def stop(self):
        if self.server.process.poll() is not None:
            self.server.start()

    async def publish(self, service, instances):
        await asyncio.to_thread(self.publish_now, service, instances)

    async def publish_with_bad_entry(self, service, instances):
        await self.publish(service, instances)
        await asyncio.to_thread(self.server.put, f"{self.prefix}/{service}/bad", '{"Addr": 7}')

    async def begin_outage(self):
        self.server.kill()

    async def end_outage(self):
        # Not in a thread: a server ends with the thread that has started it.
        self.server.start()

    def connections(self):
        return self.server.connections()

    def publish_now(self, service, instances):
        wanted = {instance.id: instance for instance in instances}
        for id_ in self.server.names_under(f"{self.prefix}/{service}/") - set(wanted):
            self.server.delete(f"{self.prefix}/{service}/{id_}")
        for id_, instance in wanted.items():
            self.server.put(f"{self.prefix}/{service}/{id_}", as_value(instance))


def as_value(instance):
    fields = ("weight", "zone", "scheme", "status")
    own = {name: getattr(instance, name) for name in fields if getattr(instance, name)}
    metadata = {**own, **instance.metadata}
    return json.dumps({"Op": 0, "Addr": instance.address, "Metadata": metadata})


class PolledEtcdHarness(EtcdHarness):
    options = "poll=1"


class LeaseContract(RegistrarContract):
    """Where a lapsed registration is not critical but gone."""

    @clause
    async def test_a_lease_that_lapses_is_critical_until_the_next_heartbeat(
        self, harness, registry
    ):
        await lapse(harness, registry)
        with pytest.raises(NotRegisteredError, match="its lease has lapsed"):
            await registry.heartbeat("orders", A)

    @clause
    async def test_registering_again_revives_a_lapsed_lease(self, harness, registry):
        await lapse(harness, registry)
        await registry.register("orders", A, ttl_s=60)
        await until(registry, "orders", lambda each: each.instances == (A,), harness.deadline_s)


async def lapse(harness, registry):
    await registry.register("orders", A, ttl_s=harness.ttl_s)
    assert (await registry.fetch("orders")).instances == (A,)
    await until(registry, "orders", lambda each: not each.instances, harness.deadline_s)
