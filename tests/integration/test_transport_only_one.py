"""The transport as the only one of a client: services are balanced, other hosts go on as usual."""

from __future__ import annotations

import os
import socket
import threading
from types import SimpleNamespace

import pytest

from proxy_server import ProxyServer
from transport_kit import DEADLINE_S, FLAVOURS, HttpServer, every, figures, listing
from trimtab import BalancedTransport, ConfigurationError, DiscoverySettings

NAMES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


@pytest.fixture(scope="module")
def kit():
    """Two servers and a proxy, and a way to set the environment of one test."""
    with HttpServer("a") as a, HttpServer("b") as b, ProxyServer() as proxy:
        yield SimpleNamespace(a=a, b=b, proxy=proxy)


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch):
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


class environment:  # noqa: N801 - a context manager
    """Set variables for a block."""

    def __init__(self, **variables):
        self.variables = variables

    def __enter__(self):
        os.environ.update(self.variables)

    def __exit__(self, *_):
        for name in self.variables:
            del os.environ[name]


def trusting(flavour, transport=None, **options):
    """A client that goes by the environment, as clients do unless told otherwise."""
    return flavour.client(transport, trust_env=True, **options)


def balanced(registry, **options):
    discovery = DiscoverySettings(grace_s=0, startup_timeout_s=DEADLINE_S)
    return BalancedTransport(registry, discovery=discovery, **options)


@every(FLAVOURS)
async def test_services_are_balanced_whatever_the_environment_says(flavour, kit):
    proxied = {"HTTP_PROXY": kit.proxy.url, "ALL_PROXY": kit.proxy.url}
    for variables in (
        {"NO_PROXY": "orders"},
        {"NO_PROXY": "*"},
        {"NO_PROXY": "all://orders"},
        {**proxied, "NO_PROXY": "orders"},
        proxied,
        {"HTTP_PROXY": "nonsense://x"},
    ):
        with environment(**variables):
            transport = balanced(
                listing(kit.a.instance(), kit.b.instance()), strategy="round_robin"
            )
            async with trusting(flavour, transport) as client:
                names = [(await client.get("http://orders/who")).text for _ in range(4)]
        assert sorted(names) == ["a", "a", "b", "b"], variables


@every(FLAVOURS)
async def test_other_hosts_are_called_as_they_are(flavour, kit):
    transport = balanced(listing(kit.a.instance()))
    async with trusting(flavour, transport) as client:
        direct = await client.get(f"{kit.b.url}/who")
        assert direct.text == "b"
        assert "trimtab" not in direct.extensions
        local = await client.post(f"http://localhost:{kit.b.port}/echo", content=b"a parcel")
        assert local.content == b"a parcel"
        assert (await client.get("http://orders/who")).text == "a"
        assert sorted(transport.statistics()) == ["orders"]


@every(FLAVOURS)
async def test_other_hosts_go_through_the_proxy_that_the_environment_names(flavour, kit):
    with environment(HTTP_PROXY=kit.proxy.url, NO_PROXY="127.0.0.1"):
        transport = balanced(listing(kit.a.instance()))
        async with trusting(flavour, transport) as client:
            before = len(kit.proxy.seen)
            assert (await client.get("http://example.invalid/who")).text == "proxy"
            assert kit.proxy.seen[-1] == "http://example.invalid/who"
            assert (await client.get(f"{kit.b.url}/who")).text == "b"
            assert (await client.get("http://orders/who")).text == "a"
            assert len(kit.proxy.seen) == before + 1


@every(FLAVOURS)
async def test_a_redirect_leads_from_a_service_to_another_host_and_back(flavour, kit):
    transport = balanced(listing(kit.a.instance()))
    async with trusting(flavour, transport, follow_redirects=True) as client:
        away = await client.get(f"http://orders/redirect?to={kit.b.url}/who")
        assert away.text == "b"
        back = await client.get(f"{kit.b.url}/redirect?to=http://orders/who")
        assert back.text == "a"


@every(FLAVOURS)
async def test_a_streamed_answer_of_another_host_comes_in_pieces(flavour, kit):
    async with trusting(flavour, balanced(listing(kit.a.instance()))) as client:
        request = client.build_request("GET", f"{kit.b.url}/held/{flavour!r}")
        response = await client.send(request, stream=True)
        chunks = flavour.chunks(response)
        assert await anext(chunks) == b"first "
        kit.b.open(repr(flavour))
        assert [chunk async for chunk in chunks] == [b"last"]
        await flavour.close(response)


@every(FLAVOURS)
async def test_an_error_of_another_host_is_what_a_plain_client_raises(flavour, kit):
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{bound.getsockname()[1]}/"
        errors = []
        for transport in (None, balanced(listing(kit.a.instance()))):
            async with trusting(flavour, transport) as client:
                with pytest.raises(flavour.family.ConnectError) as caught:
                    await client.get(url)
                errors.append((type(caught.value), str(caught.value)))
    assert errors[0] == errors[1]


@every(FLAVOURS)
async def test_names_with_dots_are_services_if_they_are_named(flavour, kit):
    registry = listing(kit.a.instance(), service="orders.prod")
    for services in ({"orders.prod"}, lambda host: host.endswith(".prod")):
        transport = balanced(registry, services=services)
        async with trusting(flavour, transport) as client:
            answer = await client.get("http://orders.prod/who")
            assert answer.extensions["trimtab"].service == "orders.prod"
            assert (await client.get("http://ORDERS.prod./who")).text == "a"
            assert (await client.get(f"{kit.b.url}/who")).text == "b"
    async with trusting(flavour, balanced(registry)) as client:
        with pytest.raises(flavour.family.ConnectError):
            await client.get("http://orders.prod./who")


@every(FLAVOURS)
async def test_only_services_can_be_made_ready(flavour, kit):
    transport = balanced(listing(kit.a.instance()))

    async def ready(*names):
        if flavour.is_async:
            await transport.ready(*names)
        else:
            transport.ready_sync(*names)

    async with trusting(flavour, transport):
        await ready("Orders.")
        assert sorted(transport.state()) == ["orders"]
        for name in ("orders.prod", "127.0.0.1", "localhost"):
            with pytest.raises(ConfigurationError, match=f"{name}.*services="):
                await ready(name)


@every(FLAVOURS)
async def test_with_one_service_addresses_and_names_with_dots_are_that_service(flavour, kit):
    with environment(HTTP_PROXY=kit.proxy.url):
        transport = balanced(listing(kit.a.instance()), service="orders")
        async with trusting(flavour, transport) as client:
            for url in ("http://example.com", "http://127.0.0.1:9", "http://localhost", kit.b.url):
                assert (await client.get(f"{url}/who")).text == "a"


@every(FLAVOURS)
async def test_mounts_still_work(flavour, kit):
    mounts = {"all://orders": balanced(listing(kit.a.instance()))}
    async with trusting(flavour, mounts=mounts) as client:
        assert (await client.get("http://orders/who")).text == "a"
        assert (await client.get(f"{kit.b.url}/who")).text == "b"
    both = balanced(listing(kit.a.instance()))
    async with trusting(flavour, both, mounts={"all://orders": both}) as client:
        assert (await client.get("http://orders/who")).text == "a"
        assert figures(both).picks == 1


@every(FLAVOURS)
async def test_a_proxy_of_the_client_takes_every_request_from_the_transport(flavour, kit):
    transport = balanced(listing(kit.a.instance()))
    async with trusting(flavour, transport, proxy=kit.proxy.url) as client:
        assert (await client.get("http://orders/who")).text == "proxy"
        assert transport.statistics() == {}


@every(FLAVOURS)
async def test_closing_the_client_closes_the_connections_to_other_hosts(flavour, kit):
    with HttpServer("lone") as lone:
        async with trusting(flavour, balanced(listing(kit.a.instance()))) as client:
            assert (await client.get(f"{lone.url}/who")).text == "lone"
            assert lone.connections == 1
        await flavour.until(lambda: lone.connections == 0)


def test_many_threads_share_one_way_to_other_hosts(kit):
    flavour = FLAVOURS[0]
    transport = balanced(listing(kit.a.instance()))
    with flavour.family.Client(transport=transport) as client:
        start, texts = threading.Barrier(8), []

        def call():
            start.wait(DEADLINE_S)
            texts.append(client.get(f"{kit.b.url}/who").text)

        threads = [threading.Thread(target=call) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(DEADLINE_S)
    assert texts == ["b"] * 8
