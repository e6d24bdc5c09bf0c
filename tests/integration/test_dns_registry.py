"""DNS as it is: Knot, dnsmasq and Consul answering, cutting, refusing and falling silent."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from contextlib import aclosing
from uuid import uuid4

import dns.message
import dns.query
import httpx
import pytest

from real.dns import SOA_MINIMUM_S, ZONE
from registry_kit import reader_of
from trimtab import Directory, DiscoverySettings
from trimtab.errors import RegistryAnswerError, RegistryUnavailableError
from trimtab.instance import Instance
from trimtab.registries import connect

pytestmark = [pytest.mark.real, pytest.mark.anyio]


@pytest.fixture
def service():
    return f"orders-{uuid4().hex[:8]}"


def srv(server, options="", zone=ZONE):
    return connect(f"dns+srv://127.0.0.1:{server.port}/{zone}?{options}")


async def held_s(registry, service):
    _, ttl_s = await reader_of(registry).read(service)
    return ttl_s


class AtOnce:
    """A nameserver over TCP on the test's own loop, so that answers come turn by turn of it."""

    async def __aenter__(self):
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_):
        self._server.close()

    async def _serve(self, reader, writer):
        with contextlib.suppress(asyncio.IncompleteReadError), contextlib.closing(writer):
            while True:
                size = int.from_bytes(await reader.readexactly(2))
                question = dns.message.from_wire(await reader.readexactly(size))
                wire = dns.message.make_response(question).to_wire()
                writer.write(len(wire).to_bytes(2) + wire)


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_reading_is_cancelled_at_whichever_turn_it_is(anyio_backend):
    # dnspython's `asyncio.wait_for` drops a cancellation that comes with the answer, on 3.11.
    is_read = False
    async with AtOnce() as nameserver:
        registry, turns = srv(nameserver, "poll&tcp&timeout=60s"), 0
        while not is_read:
            read = asyncio.Event()

            async def reads(read=read):
                await registry.fetch("orders")
                read.set()
                await asyncio.Event().wait()

            task = asyncio.create_task(reads())
            for _ in range(turns):
                await asyncio.sleep(0)
            is_read, turns = read.is_set(), turns + 1
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asyncio.wait_for(task, 30)
    assert turns > 5


class TestKnot:
    async def test_records_and_the_addresses_that_come_along(self, knot, service):
        knot.change(
            (f"_{service}._tcp", "SRV", 30, f"1 5 81 {service}-a", f"1 7 82 {service}-b"),
            (f"{service}-a", "A", 20, "10.0.0.1"),
            (f"{service}-b", "AAAA", 25, "::1"),
        )
        registry = srv(knot)
        listing = await registry.fetch(service)
        assert listing.instances == (
            Instance(
                host="10.0.0.1",
                port=81,
                weight=5,
                metadata={"priority": "1", "target": f"{service}-a.{ZONE}"},
            ),
            Instance(
                host="::1",
                port=82,
                weight=7,
                metadata={"priority": "1", "target": f"{service}-b.{ZONE}"},
            ),
        )
        assert await held_s(registry, service) == 20

    async def test_an_alias_as_target_is_looked_up(self, knot, service):
        # Against RFC 2782, and done: the server sends no address along.
        knot.change(
            (f"_{service}._tcp", "SRV", 30, f"1 5 81 {service}-alias"),
            (f"{service}-alias", "CNAME", 10, f"{service}-a"),
            (f"{service}-a", "A", 20, "10.0.0.1"),
        )
        registry = srv(knot)
        (found,) = (await registry.fetch(service)).instances
        assert found.address == "10.0.0.1:81"
        assert await held_s(registry, service) == 10

    async def test_an_alias_of_the_records_is_followed(self, knot, service):
        knot.change(
            (f"_{service}-real._tcp", "SRV", 30, f"1 5 81 {service}-a"),
            (f"_{service}._tcp", "CNAME", 8, f"_{service}-real._tcp"),
            (f"{service}-a", "A", 20, "10.0.0.1"),
        )
        registry = srv(knot)
        assert [each.port for each in (await registry.fetch(service)).instances] == [81]
        assert await held_s(registry, service) == 8

    async def test_a_hundred_records_are_cut_marked_and_asked_for_again_over_tcp(
        self, knot, service
    ):
        # Each with a target of a long name of its own: far beyond 4096 bytes.
        targets = [f"{service}-{number}-{'x' * 40}" for number in range(100)]
        knot.change(
            (f"_{service}._tcp", "SRV", 30, *(f"1 5 {1000} {target}" for target in targets)),
            *((target, "A", 30, f"10.0.0.{n}") for n, target in enumerate(targets)),
        )
        query = dns.message.make_query(f"_{service}._tcp.{ZONE}.", "SRV", payload=4096)
        answer = dns.query.udp(query, "127.0.0.1", port=knot.port, timeout=5)
        assert answer.flags & dns.flags.TC
        for options in ("", "tcp"):
            assert len((await srv(knot, options).fetch(service)).instances) == 100

    async def test_a_name_that_is_not_there_is_empty_for_as_long_as_the_soa_says(
        self, knot, service
    ):
        registry = srv(knot)
        assert (await registry.fetch(service)).instances == ()
        assert await held_s(registry, service) == SOA_MINIMUM_S

    async def test_a_name_without_such_records_is_empty_too(self, knot, service):
        knot.change((f"_{service}._tcp", "TXT", 30, "hello"))
        registry = srv(knot)
        assert (await registry.fetch(service)).instances == ()
        assert await held_s(registry, service) == SOA_MINIMUM_S

    async def test_a_refusal_is_not_empty(self, knot, service):
        with pytest.raises(RegistryUnavailableError, match="answered REFUSED"):
            await srv(knot, zone="elsewhere.test").fetch(service)

    async def test_records_without_a_single_address_cannot_be_read(self, knot, service):
        knot.change((f"_{service}._tcp", "SRV", 30, f"1 5 81 {service}-nowhere"))
        with pytest.raises(RegistryAnswerError, match=r"nowhere\.svc\.test has no address"):
            await srv(knot).fetch(service)

    async def test_a_target_of_a_dot_is_empty(self, knot, service):
        knot.change((f"_{service}._tcp", "SRV", 30, "0 0 0 ."))
        listing = await srv(knot).fetch(service)
        assert (listing.instances, listing.skipped) == ((), ())

    async def test_one_family_alone(self, knot, service):
        knot.change((service, "A", 30, "10.0.0.1"), (service, "AAAA", 40, "::1"))
        found = {}
        for family in ("", "&family=4", "&family=6"):
            registry = connect(f"dns+a://127.0.0.1:{knot.port}/{ZONE}?port=80{family}")
            found[family] = [each.host for each in (await registry.fetch(service)).instances]
        assert found == {"": ["10.0.0.1", "::1"], "&family=4": ["10.0.0.1"], "&family=6": ["::1"]}

    async def test_a_dead_nameserver_is_passed_over_and_not_asked_first_again(self, knot, service):
        knot.change((service, "A", 30, "10.0.0.1"))
        with socket.socket(type=socket.SOCK_DGRAM) as dead:
            dead.bind(("127.0.0.1", 0))
            hosts = f"127.0.0.1:{dead.getsockname()[1]},127.0.0.1:{knot.port}"
            registry = connect(f"dns+a://{hosts}/{ZONE}?port=80&family=4&timeout=1s")
            nameservers = reader_of(registry)._records._nameservers
            nameservers._hosts.sort(key=lambda host: host[1] == knot.port)
            for _ in range(2):
                assert len((await registry.fetch(service)).instances) == 1
            assert nameservers._hosts[0] == ("127.0.0.1", knot.port)
            dead.setblocking(False)
            dead.recv(4096)
            with pytest.raises(BlockingIOError):
                dead.recv(4096)

    async def test_a_frozen_server_is_unavailable_and_thaws(self, own_knot, service):
        own_knot.change((service, "A", 30, "10.0.0.1"))
        registry = connect(f"dns+a://127.0.0.1:{own_knot.port}/{ZONE}?port=80&timeout=300ms")
        assert len((await registry.fetch(service)).instances) == 1
        own_knot.freeze()
        with pytest.raises(RegistryUnavailableError, match="LifetimeTimeout"):
            await registry.fetch(service)
        own_knot.thaw()
        assert len((await registry.fetch(service)).instances) == 1

    async def test_over_tcp_a_dead_server_is_known_at_once(self, own_knot, service):
        own_knot.kill()
        with pytest.raises(RegistryUnavailableError, match=r"NoNameservers.*Connect call failed"):
            await srv(own_knot, "tcp&timeout=100s").fetch(service)

    async def test_records_taken_away_are_doubted_and_then_believed(self, knot, service):
        knot.change((service, "A", 0, "10.0.0.1"))
        url = f"dns+a://127.0.0.1:{knot.port}/{ZONE}?port=80&min_interval=20ms&max_interval=50ms"
        settings = DiscoverySettings(grace_s=0.3)
        async with (
            asyncio.timeout(20),
            Directory(url, settings=settings) as directory,
            aclosing(directory.watch(service)) as snapshots,
        ):
            assert len((await anext(snapshots)).instances) == 1
            taken_at = asyncio.get_running_loop().time()
            knot.change((service, "A"))
            assert (await anext(snapshots)).instances == ()
            assert asyncio.get_running_loop().time() >= taken_at + settings.grace_s
            assert (await directory.state(service)).failures == 0


class TestDnsmasq:
    async def test_records_from_its_command_line(self, dnsmasq):
        dnsmasq.serve(
            "srv-host=_orders._tcp.web.test,h1.test,8001,10,5",
            "srv-host=_orders._tcp.web.test,h2.test,8002,20,5",
            "host-record=h1.test,127.0.0.1,5",
            "host-record=h2.test,127.0.0.2,5",
        )
        lowest = srv(dnsmasq, "priority=lowest", zone="web.test")
        (found,) = (await lowest.fetch("orders")).instances
        assert (found.address, found.weight) == ("127.0.0.1:8001", 5)
        assert await held_s(lowest, "orders") == 3
        registry = srv(dnsmasq, zone="web.test")
        found = (await registry.fetch("orders")).instances
        assert [(each.priority, each.metadata["priority"]) for each in found] == [
            (0, "10"), (1, "20"),
        ]  # fmt: skip
        assert (await registry.fetch("nobody")).instances == ()


class TestConsul:
    async def test_sixty_instances_whose_answers_are_cut_without_a_mark(self, consul_dns):
        async with httpx.AsyncClient(base_url=consul_dns.http, trust_env=False) as client:
            for number in range(60):
                entry = {
                    "ID": f"orders-{number}",
                    "Name": "orders",
                    "Address": f"10.0.0.{number + 1}",
                    "Port": 8000,
                    "Weights": {"Passing": 3, "Warning": 1},
                }
                answer = await client.put("/v1/agent/service/register", json=entry)
                assert answer.status_code == httpx.codes.OK
        question = "orders.service.consul."
        small = dns.message.make_query(question, "SRV", use_edns=False)
        answer = dns.query.udp(small, "127.0.0.1", port=consul_dns.dns_port, timeout=5)
        assert len(answer.answer[0]) < 10
        assert not answer.flags & dns.flags.TC
        at = f"dns+srv://127.0.0.1:{consul_dns.dns_port}/service.consul?name={{service}}.{{domain}}"
        for options in ("", "&tcp"):
            found = (await connect(at + options).fetch("orders")).instances
            assert len(found) == 60
            assert {each.weight for each in found} == {3.0}
        rfc_2782 = f"dns+srv://127.0.0.1:{consul_dns.dns_port}/service.consul"
        assert len((await connect(rfc_2782).fetch("orders")).instances) == 60
        assert (await connect(at).fetch("nobody")).instances == ()
