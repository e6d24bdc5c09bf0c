"""A Consul client that this project did not write, at one real agent with the adapter.

Each reads what the other writes; and what the agent itself makes of our checks and queries.
"""

from __future__ import annotations

import asyncio
from contextlib import closing
from uuid import uuid4

import consul as py_consul
import pytest

from trimtab.check import Check
from trimtab.errors import RegistryRequestError
from trimtab.instance import Instance, Status
from trimtab.registries import connect
from trimtab.testing.registry_harness import until

pytestmark = [pytest.mark.real, pytest.mark.anyio]
DEADLINE_S = 30


@pytest.fixture
def service():
    return f"orders-{uuid4().hex[:8]}"


@pytest.fixture
async def registry(consul):
    registry = connect(consul.url)
    yield registry
    await registry.aclose()


@pytest.fixture
def client(consul):
    client = py_consul.Consul(host="127.0.0.1", port=consul.port)
    with closing(client.http.session):
        yield client


def of(service, **fields):
    return Instance(**{"id": f"a-{service}", "host": "10.0.0.1", "port": 81} | fields)


class TestPyConsul:
    async def test_it_reads_what_we_write(self, registry, client, service):
        mine = of(service, weight=3.0, zone="east", metadata={"rack": "r7"})
        await registry.register(service, mine, ttl_s=60)
        _, (entry,) = client.health.service(service, passing=True)
        found = entry["Service"]
        assert (found["ID"], found["Address"], found["Port"]) == (mine.id, mine.host, mine.port)
        assert found["Weights"] == {"Passing": 3, "Warning": 3}
        assert found["Meta"] == {"zone": "east", "rack": "r7"}
        assert service in client.catalog.services()[1]
        await registry.heartbeat(service, mine.with_(status=Status.WARNING))
        await until(registry, service, has(Status.WARNING), DEADLINE_S)
        assert client.health.service(service, passing=True)[1] == []
        assert client.health.checks(service)[1][0]["CheckID"] == f"service:{mine.id}"
        await registry.deregister(service, mine)
        assert client.health.service(service)[1] == []

    async def test_we_read_what_it_writes(self, registry, client, service):
        assert client.agent.service.register(
            service,
            service_id=f"a-{service}",
            address="10.0.0.1",
            port=81,
            tags=["v1", "blue"],
            meta={"rack": "r7", "zone": "east"},
            weights={"Passing": 5, "Warning": 2},
            check=py_consul.Check.ttl("60s"),
        )
        await until(registry, service, has(Status.CRITICAL), DEADLINE_S)
        for beat, status, weight in (
            (client.agent.check.ttl_pass, Status.PASSING, 5),
            (client.agent.check.ttl_warn, Status.WARNING, 2),
            (client.agent.check.ttl_fail, Status.CRITICAL, 5),
        ):
            assert beat(f"service:a-{service}")
            (found,) = (await until(registry, service, has(status), DEADLINE_S)).instances
            metadata = {"rack": "r7", "tags": "v1,blue"}
            wanted = of(service, weight=weight, zone="east", status=status, metadata=metadata)
            assert found == wanted
        assert client.agent.service.deregister(f"a-{service}")
        await until(registry, service, lambda found: found.instances == (), DEADLINE_S)

    async def test_its_heartbeat_renews_our_lease_and_ours_its(self, registry, client, service):
        mine = of(service)
        await registry.register(service, mine.with_(status=Status.CRITICAL), ttl_s=60)
        assert client.agent.check.ttl_pass(f"service:{mine.id}")
        await until(registry, service, has(Status.PASSING), DEADLINE_S)
        theirs = f"b-{service}"
        client.agent.service.register(
            service, service_id=theirs, port=82, check=py_consul.Check.ttl("60s")
        )
        await registry.heartbeat(service, of(service, id=theirs))
        _, entries = client.health.service(service, passing=True)
        assert [each["Service"]["ID"] for each in entries] == [mine.id, theirs]
        await registry.deregister(service, mine)
        await registry.deregister(service, of(service, id=theirs))


class TestPreparedQueries:
    async def test_a_query_is_read_by_name_and_by_id(self, consul, registry, client, service):
        failing = of(service, id=f"b-{service}", port=82, status=Status.CRITICAL)
        for instance in (of(service), failing):
            await registry.register(service, instance, ttl_s=60)
        template = client.query.create(service, name=f"near {service}")["ID"]
        plain = {"Name": service, "Service": {"Service": service}}
        query = (await asyncio.to_thread(consul.post, "/v1/query", plain)).json()["ID"]
        prepared = connect(f"{consul.url}?prepared")
        for name in (f"near {service}", service, query):
            found = await prepared.fetch(name)
            # What is critical is left out by the query itself.
            assert found.instances == (of(service),)
            assert found.version == (await prepared.fetch(name)).version
        assert {f"near {service}", service} <= set(await prepared.services())
        with pytest.raises(RegistryRequestError, match="HTTP 404: Query not found"):
            await prepared.fetch("no such query")
        with pytest.raises(RegistryRequestError, match="templates can only be resolved up by name"):
            await prepared.fetch(template)
        assert client.query.delete(query)
        assert client.query.delete(template)
        await prepared.aclose()
        for instance in (of(service), failing):
            await registry.deregister(service, instance)


class TestChecks:
    async def test_the_agent_itself_asks_the_instance(self, consul, registry, service, nginx):
        page = f"{service}.txt"
        nginx.publish(page, "well")
        mine = of(service, host="127.0.0.1", port=nginx.port)
        checks = [
            Check.parse(f"http:/{page}", interval_s=1, rise=1, fall=1),
            Check.parse("tcp", interval_s=1),
        ]
        await registry.register(service, mine, ttl_s=60, checks=checks)
        assert (await registry.fetch(service)).instances == (mine,)
        (nginx.root / page).unlink()
        await until(registry, service, has(Status.CRITICAL), DEADLINE_S)
        nginx.publish(page, "well again")
        await until(registry, service, has(Status.PASSING), DEADLINE_S)
        answer = await asyncio.to_thread(consul.get, f"/v1/health/checks/{service}")
        notes = {each["Notes"] for each in answer.json()}
        assert notes == {"", f"http:/{page}", "tcp"}
        await registry.deregister(service, mine)

    async def test_a_script_runs_where_scripts_are_on(self, own_consul, tmp_path):
        file = tmp_path / "well"
        file.touch()
        # Exit code 1 is a warning.
        words = f'test "$TRIMTAB_PORT" = 81 || exit 1; test -e {file} || exit 2'
        check = Check(kind="script", command=("sh", "-c", words), interval_s=1, rise=1, fall=1)
        # The other of the two settings does not do.
        own_consul.restart_with("enable_local_script_checks = true")
        registry = connect(f"{own_consul.url}?scripts")
        with pytest.raises(RegistryRequestError, match="enable_local_script_checks does not do"):
            await registry.register("orders", of("x"), ttl_s=60, checks=[check])
        own_consul.restart_with("enable_script_checks = true")
        await registry.register("orders", of("x"), ttl_s=60, checks=[check])
        file.unlink()
        await until(registry, "orders", has(Status.CRITICAL), DEADLINE_S)
        file.touch()
        await until(registry, "orders", has(Status.PASSING), DEADLINE_S)
        await registry.register("orders", of("x", port=82), ttl_s=60, checks=[check])
        await until(registry, "orders", has(Status.WARNING), DEADLINE_S)
        await registry.aclose()


def has(status):
    return lambda listing: [each.status for each in listing.instances] == [status]
