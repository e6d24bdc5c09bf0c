"""What the contract of registries needs to act on etcd, and where etcd differs from it."""

from __future__ import annotations

import asyncio
import json
from uuid import uuid4

from trimtab.instance import Instance
from trimtab.registries import connect
from trimtab.testing import RegistryHarness

A = Instance(id="a", host="10.0.0.1", port=8001)


class EtcdHarness(RegistryHarness):
    """etcd, written to by plain HTTP and as gRPC-Go does, not by the adapter."""

    options = ""
    lapsed_is_gone = True

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
    fields = ("weight", "zone", "priority", "scheme", "status")
    own = {name: getattr(instance, name) for name in fields if getattr(instance, name)}
    metadata = {**own, **instance.metadata}
    return json.dumps({"Op": 0, "Addr": instance.address, "Metadata": metadata})


class PolledEtcdHarness(EtcdHarness):
    options = "poll=1"
