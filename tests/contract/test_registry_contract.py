"""One contract, over every registry: static, file, http, consul, embedded, and the fake."""

from __future__ import annotations

import json
from functools import partial
from unittest import SkipTest
from urllib.parse import quote

import httpx
import pytest

from trimtab.instance import Status
from trimtab.registries import connect
from trimtab.registries.http import HttpSettings, make
from trimtab.registries.static import StaticRegistry
from trimtab.server import EmbeddedRegistry
from trimtab.testing import (
    FakePolledRegistry,
    FakeRegistry,
    RegistrarContract,
    RegistryContract,
    RegistryHarness,
)

_BAD = {"host": "10.0.0.66", "port": 123456}


def as_table(instance):
    return {
        "id": instance.id,
        "host": instance.host,
        "port": instance.port,
        "scheme": instance.scheme,
        "weight": instance.weight,
        "zone": instance.zone,
        "priority": instance.priority,
        "metadata": dict(instance.metadata),
        "status": instance.status.value,
    }


class StaticHarness(RegistryHarness):
    """Lists cannot change: a change means another object, as after a restart of the program."""

    def __init__(self):
        self.lists = {}
        self.made = []

    def connect(self, secret=None):
        if secret:
            raise SkipTest("static lists have no secrets")
        self.made.append(StaticRegistry(services=self.lists))
        return self.made[-1]

    async def publish(self, service, instances):
        self.lists[service] = tuple(instances)
        for registry in self.made:
            registry.__init__(services=self.lists)


class TestStatic(RegistryContract):
    def harness(self):
        return StaticHarness()

    def test_the_version_is_equal_while_nothing_changes(self):
        pytest.skip("a static list has one version only")


class FakeHarness(RegistryHarness):
    ttl_s = 0.05
    kind = FakeRegistry

    def __init__(self):
        self.registry = self.kind()

    def connect(self, secret=None):
        if secret:
            raise SkipTest("a fake has no secrets")
        return self.registry

    async def publish(self, service, instances):
        self.registry.set(service, instances)

    async def publish_with_bad_entry(self, service, instances):
        self.registry.set(service, instances, skipped=[f"{service}: an entry"])

    async def begin_outage(self):
        self.registry.fail()

    async def end_outage(self):
        self.registry.heal()


class TestFake(RegistryContract, RegistrarContract):
    def harness(self):
        return FakeHarness()


class PolledFakeHarness(FakeHarness):
    kind = FakePolledRegistry


class TestPolledFake(RegistryContract, RegistrarContract):
    def harness(self):
        return PolledFakeHarness()


class FileHarness(RegistryHarness):
    """A file, rewritten as publishers should: a new one renamed over the old."""

    unknown_is_empty = False

    def __init__(self, folder, make):
        self.path = folder / "services.json"
        self.make, self.lists = make, {}
        self._write()

    def connect(self, secret=None):
        if secret:
            raise SkipTest("files have no secrets")
        return self.make(self.path)

    async def publish(self, service, instances):
        self.lists[service] = [as_table(instance) for instance in instances]
        self._write()

    async def publish_with_bad_entry(self, service, instances):
        self.lists[service] = [_BAD, *(as_table(instance) for instance in instances)]
        self._write()

    async def begin_outage(self):
        self.path.unlink()

    async def end_outage(self):
        self._write()

    def _write(self):
        draft = self.path.with_suffix(".new")
        draft.write_text(json.dumps(self.lists))
        draft.replace(self.path)


class TestFile(RegistryContract):
    @pytest.fixture(autouse=True)
    def subject(self, tmp_path):
        self.harness = partial(FileHarness, tmp_path, lambda path: connect(path.as_uri()))


class TestPolledFile(RegistryContract):
    @pytest.fixture(autouse=True)
    def subject(self, tmp_path):
        self.harness = partial(FileHarness, tmp_path, lambda path: connect(f"{path.as_uri()}?poll"))


class HttpHarness(RegistryHarness):
    """Files behind a real nginx, conditional requests and all."""

    unknown_is_empty = False

    def __init__(self, server):
        self.server, self.lists = server, {}
        for file in server.root.iterdir():
            file.unlink()

    def connect(self, secret=None):
        settings = HttpSettings(
            template=f"{self.server.http}/{{service}}.json",
            items="data.instances",
            services_url=f"{self.server.http}/all.json",
            token=secret,
            # nginx makes its ETag of the second and the size: one change in a hundred is missed
            # by conditional requests alone.
            revalidate_every=3,
        )
        return make(settings)

    async def stop(self):
        if self.server.process.poll() is not None:
            self.server.start()

    async def publish(self, service, instances):
        self.write(service, [as_table(instance) for instance in instances])

    async def publish_with_bad_entry(self, service, instances):
        self.write(service, [as_table(instance) for instance in instances] + [_BAD])

    async def begin_outage(self):
        self.server.kill()

    async def end_outage(self):
        self.server.start()

    def connections(self):
        return self.server.connections()

    def write(self, service, entries):
        self.lists[service] = entries
        self.server.publish(f"{service}.json", json.dumps({"data": {"instances": entries}}))
        self.server.publish("all.json", json.dumps(dict.fromkeys(self.lists)))


@pytest.mark.real
class TestHttp(RegistryContract):
    @pytest.fixture(autouse=True)
    def subject(self, nginx):
        self.harness = partial(HttpHarness, nginx)


class ConsulApiHarness(RegistryHarness):
    """Anything that speaks Consul's API, written to by plain HTTP and not by the adapter."""

    options = ""

    def __init__(self, url):
        self.url = url
        self.base = url.replace("consul://", "http://")
        self.client = None

    def connect(self, secret=None):
        token = f"&token={secret}" if secret else ""
        return connect(f"{self.url}/?{self.options}{token}")

    async def start(self):
        self.client = httpx.AsyncClient(base_url=self.base, trust_env=False)
        await self.clear()

    async def stop(self):
        await self.clear()
        await self.client.aclose()

    async def clear(self):
        for service in await self.registered():
            await self.put(f"/v1/agent/service/deregister/{quote(service, safe='')}")

    async def registered(self):
        answer = await self.client.get("/v1/agent/services")
        return {key: value["Service"] for key, value in answer.json().items()}

    async def publish(self, service, instances):
        wanted = {instance.id: instance for instance in instances}
        for key, name in (await self.registered()).items():
            if name == service and key not in wanted:
                await self.put(f"/v1/agent/service/deregister/{quote(key, safe='')}")
        for instance in wanted.values():
            await self.put("/v1/agent/service/register", as_registration(service, instance))

    async def publish_with_bad_entry(self, service, instances):
        await self.publish(service, instances)
        # Consul lists services without a port; nobody can call them.
        await self.put("/v1/agent/service/register", {"ID": "bad", "Name": service})

    async def put(self, path, body=None):
        answer = await self.client.put(path, json=body)
        assert answer.status_code == httpx.codes.OK, answer.text


def as_registration(service, instance):
    return {
        "ID": instance.id,
        "Name": service,
        "Address": instance.host,
        "Port": instance.port,
        "Meta": {
            **instance.metadata,
            **({"zone": instance.zone} if instance.zone else {}),
            **({"priority": str(instance.priority)} if instance.priority else {}),
            **({"scheme": instance.scheme} if instance.scheme else {}),
        },
        "Weights": {"Passing": int(instance.weight), "Warning": int(instance.weight)},
        "Check": {
            "CheckID": f"service:{instance.id}",
            "TTL": "60s",
            "Status": Status(instance.status).value,
        },
    }


class ConsulHarness(ConsulApiHarness):
    def __init__(self, agent):
        super().__init__(agent.url)
        self.agent = agent

    async def stop(self):
        if self.agent.process.poll() is not None:
            self.agent.start()
        await super().stop()

    async def begin_outage(self):
        self.agent.kill()

    async def end_outage(self):
        self.agent.start()

    def connections(self):
        # One is the harness's own.
        return max(self.agent.connections() - 1, 0)


class PolledConsulHarness(ConsulHarness):
    options = "poll=1"


class StaleConsulHarness(ConsulHarness):
    options = "stale"


@pytest.mark.real
class TestConsul(RegistryContract, RegistrarContract):
    @pytest.fixture(autouse=True)
    def subject(self, consul):
        self.harness = partial(ConsulHarness, consul)


@pytest.mark.real
class TestPolledConsul(RegistryContract, RegistrarContract):
    @pytest.fixture(autouse=True)
    def subject(self, consul):
        self.harness = partial(PolledConsulHarness, consul)


@pytest.mark.real
class TestStaleConsul(RegistryContract):
    @pytest.fixture(autouse=True)
    def subject(self, consul):
        self.harness = partial(StaleConsulHarness, consul)


class EmbeddedHarness(ConsulApiHarness):
    """The embedded registry in this process: the same contract, and nothing but another URL."""

    def __init__(self):
        super().__init__("consul://unknown")
        self.server = None

    async def start(self):
        self.server = EmbeddedRegistry()
        await self.server.__aenter__()
        self.url = self.server.url
        self.base = self.url.replace("consul://", "http://")
        await super().start()

    async def stop(self):
        await self.client.aclose()
        await self.server.__aexit__(None, None, None)

    async def begin_outage(self):
        await self.server.__aexit__(None, None, None)

    async def end_outage(self):
        port = int(self.url.rpartition(":")[2])
        self.server = EmbeddedRegistry(port=port)
        await self.server.__aenter__()


class TestEmbedded(RegistryContract, RegistrarContract):
    def harness(self):
        return EmbeddedHarness()
