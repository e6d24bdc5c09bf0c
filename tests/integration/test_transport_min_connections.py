"""Connections that are open before a request needs them: to newcomers, over TLS, to the end."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import threading
from types import SimpleNamespace

import httpx
import httpx2
import pytest
import trustme

from http2_server import Http2Server
from transport_kit import DEADLINE_S, FLAVOURS, HttpServer, every, figures, listing
from trimtab import Instance
from trimtab.http import AsyncInnerTransport, Family, InnerTransport

FEW = [flavour for flavour in FLAVOURS if flavour.library != "trio"]
TRIO = [flavour for flavour in FLAVOURS if flavour.library == "trio"]


@pytest.fixture(scope="module")
def kit(tmp_path_factory):
    """Servers over TLS and without, and what clients need."""
    authority, folder = trustme.CA(), tmp_path_factory.mktemp("tls")
    context = ssl.create_default_context()
    authority.configure_trust(context)
    certificate = str(folder / "server.pem")
    authority.issue_cert("127.0.0.1", "orders").private_key_and_cert_chain_pem.write_to_path(
        certificate
    )
    with HttpServer("old") as old, HttpServer("old", ssl_certfile=certificate) as old_tls:
        yield SimpleNamespace(certificate=certificate, context=context, http=old, https=old_tls)


@contextlib.contextmanager
def newcomer(kit, scheme):
    options = {"ssl_certfile": kit.certificate} if scheme == "https" else {}
    with HttpServer("new", **options) as server:
        yield server


async def join(flavour, transport, registry, kit, scheme, server):
    """Put a newcomer on the list, and wait until requests may go there."""
    registry.set("orders", [getattr(kit, scheme).instance(), server.instance()])
    await flavour.until(lambda: "new" in figures(transport).members)
    await flavour.until(lambda: figures(transport).members["new"].reason is None)


async def reach(client, url):
    while (await client.get(url)).text != "new":
        pass


@every(FEW)
async def test_a_newcomers_first_request_finds_its_connection_open(flavour, kit):
    for scheme in ("http", "https"):
        registry = listing(getattr(kit, scheme).instance())
        transport = flavour.transport(registry, verify=kit.context, min_connections=2)
        url = f"{scheme}://orders/who"
        with newcomer(kit, scheme) as server:
            async with flavour.client(transport) as client:
                await client.get(url)
                await join(flavour, transport, registry, kit, scheme, server)
                # The server may accept them later than they are open here.
                await flavour.until(lambda: server.connections == 2)
                for _ in range(2):
                    await reach(client, url)
                    assert figures(transport).members["new"].connect_s is None
                    assert server.connections == 2, "no request has connected"
            await flavour.until(lambda: server.connections == 0)


@every(FEW)
async def test_the_instances_of_the_first_list_are_connected_to(flavour, kit):
    registry = listing(kit.https.instance(scheme="https"))
    transport = flavour.transport(registry, verify=kit.context, min_connections=3)
    before = kit.https.connections
    async with flavour.client(transport) as client:
        await client.get("http://orders/who")
        await flavour.until(lambda: kit.https.connections - before >= 3)
    await flavour.until(lambda: kit.https.connections == before)


@every(FEW)
async def test_the_service_s_name_is_asked_for(flavour, kit):
    registry = listing(kit.https.instance())
    options = {"verify": kit.context, "min_connections": 1, "server_name": "service"}
    transport = flavour.transport(registry, **options)
    with newcomer(kit, "https") as server:
        async with flavour.client(transport) as client:
            await client.get("https://orders/who")
            await join(flavour, transport, registry, kit, "https", server)
            await reach(client, "https://orders/who")
            assert figures(transport).members["new"].connect_s is None


@every(FEW)
async def test_a_request_for_another_name_connects_anew(flavour, kit):
    registry = listing(kit.https.instance())
    transport = flavour.transport(registry, verify=kit.context, min_connections=1)
    with newcomer(kit, "https") as server:
        async with flavour.client(transport) as client:
            await client.get("https://orders/who")
            await join(flavour, transport, registry, kit, "https", server)
            text = ""
            while text != "new":
                named = {"sni_hostname": "orders"}
                text = (await client.get("https://orders/who", extensions=named)).text
            assert figures(transport).members["new"].connect_s > 0
        await flavour.until(lambda: server.connections == 0)


@every(FEW)
async def test_what_was_kept_for_too_long_is_not_used(flavour, kit):
    registry = listing(kit.https.instance())
    limits = flavour.family.Limits(keepalive_expiry=0.0)
    transport = flavour.transport(registry, verify=kit.context, min_connections=1, limits=limits)
    with newcomer(kit, "https") as server:
        async with flavour.client(transport) as client:
            await client.get("https://orders/who")
            await join(flavour, transport, registry, kit, "https", server)
            await reach(client, "https://orders/who")
            assert figures(transport).members["new"].connect_s > 0
        await flavour.until(lambda: server.connections == 0)


@every(FEW)
async def test_a_newcomer_that_refuses_connections_is_out_of_reach(flavour, kit):
    registry = listing(kit.http.instance())
    transport = flavour.transport(registry, min_connections=1)
    async with flavour.client(transport) as client:
        await client.get("http://orders/who")
        registry.set("orders", [kit.http.instance(), Instance(host="127.0.0.1", port=9, id="dead")])
        await flavour.until(lambda: "dead" in figures(transport).members)
        for _ in range(20):
            assert (await client.get("http://orders/who")).text == "old"
        await flavour.until(lambda: figures(transport).members["dead"].reason == "unreachable")
        assert figures(transport).members["dead"].picks == 0


@every(FEW)
async def test_a_handshake_that_fails_beforehand_is_for_requests_to_tell(flavour, kit):
    registry = listing(kit.http.instance())
    transport = flavour.transport(registry, min_connections=1)
    async with flavour.client(transport) as client:
        await client.get("http://orders/who")
        registry.set("orders", [kit.https.instance(scheme="https")])
        await flavour.until(lambda: figures(transport).members["old"].reason is None)
        with pytest.raises(flavour.family.ConnectError, match="certificate"):
            await client.get("https://orders/who")


@every(TRIO)
async def test_under_trio_requests_connect_by_themselves(flavour, kit):
    registry = listing(kit.http.instance())
    transport = flavour.transport(registry, min_connections=2)
    with newcomer(kit, "http") as server:
        async with flavour.client(transport) as client:
            await client.get("http://orders/who")
            await join(flavour, transport, registry, kit, "http", server)
            await reach(client, "http://orders/who")
            assert server.connections == 1


@every(FEW)
async def test_over_http_2_one_connection_serves_all(flavour, kit):
    registry = listing(kit.https.instance())
    transport = flavour.transport(registry, verify=kit.context, min_connections=1, http2=True)
    with Http2Server("new", certificate=kit.certificate) as server:
        async with flavour.client(transport) as client:
            await client.get("https://orders/who")
            await join(flavour, transport, registry, kit, "https", server)
            for _ in range(3):
                await reach(client, "https://orders/who")
            assert len(set(server.ports)) == 1
            assert figures(transport).members["new"].connect_s is None


# Connections that end before they are used


class Fickle:
    """A server that closes its first connection at once, and answers on the others.

    Attributes:
        closed: set once the first is closed.
    """

    def __init__(self, context=None):
        self._context, self.closed, self.count = context, threading.Event(), 0
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def _serve(self):
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self.count += 1
            with contextlib.suppress(OSError):
                if self._context is not None:
                    connection = self._context.wrap_socket(connection, server_side=True)
                if self.count > 1:
                    connection.recv(65536)
                    connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
            connection.close()
            self.closed.set()

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join(DEADLINE_S)


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("module", [httpx, httpx2], ids=["httpx", "httpx2"])
@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "asyncio"])
def test_a_connection_that_the_server_has_closed_is_not_used(kit, scheme, module, is_async):
    context = None
    if scheme == "https":
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(kit.certificate)
    tls = SimpleNamespace(context=lambda: kit.context)
    request = module.Request("GET", "http://placeholder/")
    with Fickle(context) as server:
        request.url = module.URL(f"{scheme}://127.0.0.1:{server.port}/")

        async def main():
            inner = AsyncInnerTransport(Family(module), tls=tls)
            await inner.open(request, timeout_s=DEADLINE_S)
            await asyncio.to_thread(server.closed.wait, DEADLINE_S)
            response = await inner.handle_async_request(request)
            assert (await response.aread(), server.count) == (b"ok", 2)
            await inner.aclose()

        if is_async:
            asyncio.run(main())
            return
        inner = InnerTransport(Family(module), tls=tls)
        inner.open(request, timeout_s=DEADLINE_S)
        server.closed.wait(DEADLINE_S)
        response = inner.handle_request(request)
        assert (response.read(), server.count) == (b"ok", 2)
        inner.close()


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "asyncio"])
def test_what_opens_after_the_end_is_closed(kit, is_async):
    request = httpx.Request("GET", kit.http.url)
    before = kit.http.connections

    async def main():
        inner = AsyncInnerTransport(Family(httpx))
        await inner.aclose()
        await inner.open(request, timeout_s=DEADLINE_S)

    if is_async:
        asyncio.run(main())
    else:
        inner = InnerTransport(Family(httpx))
        inner.close()
        inner.open(request, timeout_s=DEADLINE_S)
    while kit.http.connections > before:
        threading.Event().wait(0.01)
