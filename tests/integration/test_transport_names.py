"""Instances that are host names: each new connection asks anew where they lead."""

from __future__ import annotations

import socket
from types import SimpleNamespace

import pytest

from transport_kit import FLAVOURS, HttpServer, every, figures, listing
from trimtab import DiscoverySettings, Instance

_resolve = socket.getaddrinfo


class Names:
    """A resolver for names of the test's own."""

    def __init__(self):
        self.addresses = {}

    def getaddrinfo(self, host, *args, **options):
        name = host.decode() if isinstance(host, bytes) else host
        if name.endswith(".invalid"):
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return _resolve(self.addresses.get(name, host), *args, **options)


class Sibling(HttpServer):
    """A server at another address, and at the same port as its sibling."""

    def __init__(self, name, host, sibling):
        super().__init__(name, host=host)
        self._socket.close()
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind((host, sibling.port))
        self.port = sibling.port


@pytest.fixture(scope="module")
def kit():
    """Two servers at one port of different addresses, and a resolver that leads to either."""
    names = Names()
    with (
        pytest.MonkeyPatch.context() as patch,
        HttpServer("two", host="127.0.0.2") as two,
        Sibling("three", "127.0.0.3", two) as three,
    ):
        patch.setattr(socket, "getaddrinfo", names.getaddrinfo)
        yield SimpleNamespace(two=two, three=three, names=names)


def named(kit, flavour, leads_to):
    """An instance by a name, and the name."""
    name = f"{flavour!r}.test"
    kit.names.addresses[name] = leads_to.host
    return Instance(host=name, port=leads_to.port, id="named"), name


@every(FLAVOURS)
async def test_a_kept_connection_stays_where_it_is_and_an_old_one_gives_way(flavour, kit):
    instance, name = named(kit, flavour, kit.two)
    ageless = flavour.transport(listing(instance), connection_max_age_s=None)
    aging = flavour.transport(listing(instance), connection_max_age_s=0.05)
    async with flavour.client(ageless) as staying, flavour.client(aging) as moving:

        async def moved():
            assert (await staying.get("http://orders/who")).text == "two"
            return (await moving.get("http://orders/who")).text == "three"

        assert not await moved()
        kit.names.addresses[name] = kit.three.host
        while not await moved():
            await flavour.pause()
        assert figures(aging).members["named"].failures == 0


@every(FLAVOURS)
async def test_when_its_address_dies_the_name_is_asked_again(flavour, kit):
    instance, name = named(kit, flavour, kit.three)
    async with flavour.client(flavour.transport(listing(instance))) as client:
        with Sibling("five", "127.0.0.5", kit.three) as five:
            kit.names.addresses[name] = five.host
            assert (await client.get("http://orders/who")).text == "five"
            kit.names.addresses[name] = kit.three.host
        assert (await client.get("http://orders/who")).text == "three"
        assert figures(client_transport(client)).members["named"].failures == 0


@every(FLAVOURS)
async def test_a_name_that_leads_where_nobody_may_call_is_not_called(flavour, kit):
    instance, _ = named(kit, flavour, kit.two)
    elsewhere = DiscoverySettings(grace_s=0, allow_networks=["127.0.0.3/32"])
    calls = len(kit.two.seen)
    async with flavour.client(flavour.transport(listing(instance), discovery=elsewhere)) as client:
        with pytest.raises(
            flavour.family.ConnectError, match=r"leads to 127\.0\.0\.2: .* allow_networks"
        ):
            await client.get("http://orders/who")
        assert figures(client_transport(client)).in_flight == 0
    assert len(kit.two.seen) == calls


@every(FLAVOURS)
async def test_another_instance_is_called_instead(flavour, kit):
    instance, _ = named(kit, flavour, kit.two)
    elsewhere = DiscoverySettings(grace_s=0, allow_networks=["127.0.0.3/32"])
    registry = listing(instance, kit.three.instance())
    transport = flavour.transport(registry, discovery=elsewhere, strategy="round_robin")
    async with flavour.client(transport) as client:
        answers = [await client.post("http://orders/echo", content=b"x") for _ in range(2)]
    assert {answer.extensions["trimtab"].instance.id for answer in answers} == {"three"}


@every(FLAVOURS)
async def test_a_name_that_resolves_to_nothing_is_a_connect_error(flavour, kit):
    instance = Instance(host="nowhere.invalid", port=80)
    async with flavour.client(flavour.transport(listing(instance))) as client:
        with pytest.raises(flavour.family.ConnectError, match=r"nowhere\.invalid:80 .*not known"):
            await client.get("http://orders/who")


def client_transport(client):
    return getattr(client, "sync", client)._transport
