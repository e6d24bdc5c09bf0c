"""HTTP/2 to instances: one connection for many requests, each counted; and how it ends."""

from __future__ import annotations

import ssl
import sys
from types import SimpleNamespace

import pytest
import trustme

from http2_server import Http2Server
from transport_kit import FLAVOURS, HttpServer, every, figures, listing, unique


@pytest.fixture(scope="module")
def kit(tmp_path_factory):
    """Servers with one certificate: of HTTP/2, of HTTP/1.1 alone; and one without TLS."""
    authority, folder = trustme.CA(), tmp_path_factory.mktemp("tls")
    context = ssl.create_default_context()
    authority.configure_trust(context)
    certificate = folder / "server.pem"
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(certificate)
    pem = str(certificate)

    with (
        Http2Server("two", certificate=pem) as two,
        HttpServer("one", ssl_certfile=pem) as one,
        Http2Server("plain") as plain,
    ):
        yield SimpleNamespace(two=two, one=one, plain=plain, context=context, pem=pem)


def over_tls(server):
    return server.instance(scheme="https")


async def streams(flavour, client, server, how_many):
    """Begin so many responses, and give them with the keys that let them end."""
    keys = [unique() for _ in range(how_many)]
    responses = []
    for key in keys:
        request = client.build_request("GET", f"http://orders/held/{key}")
        responses.append(await client.send(request, stream=True))
    assert {response.extensions["http_version"] for response in responses} == {b"HTTP/2"}
    return responses, keys


async def finish(flavour, server, responses, keys):
    for response, key in zip(responses, keys, strict=True):
        server.open(key)
        assert await flavour.read(response) == b"first last"


@every(FLAVOURS)
async def test_one_connection_carries_many_requests_and_each_is_counted(flavour, kit):
    transport = flavour.transport(listing(over_tls(kit.two)), verify=kit.context, http2=True)
    async with flavour.client(transport) as client:
        seen = len(kit.two.ports)
        responses, keys = await streams(flavour, client, kit.two, 5)
        assert figures(transport).in_flight == 5
        posted = await client.post("http://orders/echo", content=b"a parcel")
        assert posted.content == b"a parcel"
        await finish(flavour, kit.two, responses[:2], keys[:2])
        assert figures(transport).in_flight == 3
        await flavour.close(responses[2])
        assert figures(transport).in_flight == 2
        await finish(flavour, kit.two, responses[3:], keys[3:])
        assert figures(transport).in_flight == 0
        # On threads a connection carries one request at a time: httpcore guards none of its state.
        assert len(set(kit.two.ports[seen:])) == (1 if flavour.is_async else 6)
        member = figures(transport).members["two"]
        assert (member.successes, member.cancelled) == (5, 1)


@pytest.fixture
def threads_take_turns_often():
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("threads_take_turns_often")
@every(FLAVOURS)
async def test_each_of_many_requests_at_a_time_gets_its_own_answer(flavour, kit):
    transport = flavour.transport(listing(over_tls(kit.two)), verify=kit.context, http2=True)
    others = []
    async with flavour.client(transport) as client:

        def caller(name):
            async def call():
                for turn in range(40):
                    body = f"{name} {turn}".encode()
                    method = "POST" if turn % 2 else "PUT"
                    answer = await client.request(method, "http://orders/echo", content=body)
                    if answer.content != body:
                        others.append((body, answer.content))

            return call

        await flavour.together(*map(caller, range(12)))
        assert others == []
        figure = figures(transport)
        assert (figure.in_flight, figure.members["two"].failures) == (0, 0)


@every(FLAVOURS)
async def test_a_server_that_knows_no_http2_is_spoken_to_as_it_can(flavour, kit):
    transport = flavour.transport(
        listing(over_tls(kit.one), over_tls(kit.two)),
        verify=kit.context,
        http2=True,
        strategy="round_robin",
    )
    async with flavour.client(transport) as client:
        answers = [await client.get("http://orders/who") for _ in range(4)]
        versions = {answer.text: answer.extensions["http_version"] for answer in answers}
    assert versions == {"one": b"HTTP/1.1", "two": b"HTTP/2"}


@every(FLAVOURS)
async def test_without_tls_it_is_spoken_if_nothing_else_is_wanted(flavour, kit):
    registry = listing(kit.plain.instance())
    for http1, wanted in ((False, b"HTTP/2"), (True, b"HTTP/1.1")):
        async with flavour.client(flavour.transport(registry, http1=http1, http2=True)) as client:
            answer = await client.get("http://orders/who")
            assert (answer.text, answer.extensions["http_version"]) == ("plain", wanted)


@every(FLAVOURS)
async def test_a_removed_instance_finishes_its_streams_and_then_its_connection_ends(flavour, kit):
    with Http2Server("old", certificate=kit.pem) as old:
        registry = listing(over_tls(old))
        transport = flavour.transport(registry, verify=kit.context, http2=True)
        async with flavour.client(transport) as client:
            responses, keys = await streams(flavour, client, old, 3)
            registry.set("orders", [over_tls(kit.two)])
            await flavour.until(lambda: "old" not in figures(transport).members)
            assert (await client.get("http://orders/who")).text == "two"
            await finish(flavour, old, responses[:2], keys[:2])
            assert figures(transport).in_flight == 1
            assert old.connections == len(set(old.ports))
            await finish(flavour, old, responses[2:], keys[2:])
            await client.get("http://orders/who")
            await flavour.until(lambda: old.connections == 0)
            assert len(set(old.ports)) == (1 if flavour.is_async else 3)


@every(FLAVOURS)
async def test_an_old_connection_finishes_its_streams_beside_a_new_one(flavour, kit):
    transport = flavour.transport(
        listing(over_tls(kit.two)), verify=kit.context, http2=True, connection_max_age_s=0.05
    )
    async with flavour.client(transport) as client:
        responses, keys = await streams(flavour, client, kit.two, 2)
        first = kit.two.ports[-1]

        async def port():
            await client.get("http://orders/who")
            return kit.two.ports[-1]

        while await port() == first:
            await flavour.pause()
        assert figures(transport).in_flight == 2
        await finish(flavour, kit.two, responses, keys)
        assert figures(transport).in_flight == 0
