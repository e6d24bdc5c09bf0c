"""The inner transports over real sockets, both families, sync, asyncio and trio."""

from __future__ import annotations

import contextlib
import gc
import socket
import ssl
import threading
from types import SimpleNamespace

import pytest
import trustme

from http2_server import Http2Server
from transport_kit import (
    ASYNC_FLAVOURS,
    DEADLINE_S,
    FLAVOURS,
    HttpServer,
    RawServer,
    every,
    refusing_instance,
    unique,
    unreachable_instance,
)
from trimtab.http import AsyncInnerTransport, Family, InnerTransport, SharedContext
from trimtab.networks import NetworkPolicy

TIMEOUT_S = 0.1


@pytest.fixture(scope="module")
def kit(tmp_path_factory):
    """A server of plain HTTP, one certified as "orders", one of HTTP/2, and who trusts them."""
    authority, folder = trustme.CA(), tmp_path_factory.mktemp("tls")
    context = ssl.create_default_context()
    authority.configure_trust(context)
    pem = folder / "server.pem"
    authority.issue_cert("orders").private_key_and_cert_chain_pem.write_to_path(pem)
    with (
        HttpServer("plain") as plain,
        HttpServer("secure", ssl_certfile=str(pem)) as secure,
        Http2Server("two", certificate=str(pem)) as two,
    ):
        yield SimpleNamespace(plain=plain, secure=secure, two=two, tls=SharedContext(context))


def made(flavour, **settings):
    """Make an inner transport and its client."""
    kind = AsyncInnerTransport if flavour.is_async else InnerTransport
    transport = kind(Family(flavour.family), **settings)
    return transport, flavour.client(transport, timeout=DEADLINE_S)


def over_tls(server):
    return f"https://127.0.0.1:{server.port}"


@every(FLAVOURS)
async def test_a_response_comes_whole_and_its_connection_is_used_again(flavour, kit):
    transport, client = made(flavour)
    async with client:
        ports = set()
        for _ in range(3):
            response = await client.get(f"{kit.plain.url}/who")
            assert (response.status_code, response.text) == (200, "plain")
            assert response.headers["content-type"].startswith("text/plain")
            assert response.extensions["http_version"] == b"HTTP/1.1"
            stream = response.extensions["network_stream"]
            ports.add(stream.get_extra_info("client_addr")[1])
        assert len(ports) == 1
        assert transport.is_quiet


@every(FLAVOURS)
async def test_a_body_goes_out_and_comes_back_in_pieces(flavour, kit):
    _, client = made(flavour)
    async with client:
        whole = await client.post(f"{kit.plain.url}/echo", content=b"x" * 200_000)
        assert whole.content == b"x" * 200_000
        sent = flavour.body(b"one ", b"two ", b"three")
        response = await client.post(f"{kit.plain.url}/echo", content=sent)
        assert response.content == b"one two three"


@every(FLAVOURS)
async def test_a_body_is_read_as_it_comes(flavour, kit):
    transport, client = made(flavour)
    async with client:
        key = unique()
        request = client.build_request("GET", f"{kit.plain.url}/held/{key}")
        response = await client.send(request, stream=True)
        chunks = flavour.chunks(response)
        assert await anext(chunks) == b"first "
        assert not transport.is_quiet
        kit.plain.open(key)
        assert [chunk async for chunk in chunks] == [b"last"]
        await flavour.close(response)
        assert transport.is_quiet


@every(FLAVOURS)
async def test_a_body_that_is_given_up_costs_its_connection_only(flavour, kit):
    transport, client = made(flavour)
    async with client:
        request = client.build_request("GET", f"{kit.plain.url}/held/{unique()}")
        response = await client.send(request, stream=True)
        await flavour.close(response)
        await flavour.close(response)
        assert transport.is_quiet
        assert (await client.get(f"{kit.plain.url}/who")).text == "plain"


@every(FLAVOURS)
async def test_every_time_limit_has_the_familys_error(flavour, kit):
    family = flavour.family
    limits = family.Limits(max_connections=1)

    def timeout(**one):
        return family.Timeout(**{"timeout": DEADLINE_S, **one})

    transport, client = made(flavour, limits=limits)
    async with client:
        with unreachable_instance() as instance, pytest.raises(family.ConnectTimeout):
            await client.get(f"http://{instance.address}/", timeout=timeout(connect=TIMEOUT_S))
        with pytest.raises(family.ReadTimeout):
            await client.get(f"{kit.plain.url}/silent/{unique()}", timeout=timeout(read=TIMEOUT_S))
        request = client.build_request("GET", f"{kit.plain.url}/held/{unique()}")
        response = await client.send(request, stream=True)
        request.extensions["timeout"]["read"] = TIMEOUT_S
        with pytest.raises(family.PoolTimeout):
            await client.get(f"{kit.plain.url}/who", timeout=timeout(pool=TIMEOUT_S))
        with pytest.raises(family.ReadTimeout):
            await flavour.read(response)
        await flavour.close(response)
        with deaf_server() as url, pytest.raises(family.WriteTimeout):
            await client.get(url, headers={"x": "x" * 30_000_000}, timeout=timeout(write=TIMEOUT_S))
        assert transport.is_quiet


@contextlib.contextmanager
def deaf_server():
    """A server that reads nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/"


@every(FLAVOURS)
async def test_what_breaks_has_the_familys_error(flavour, kit):
    family = flavour.family
    transport, client = made(flavour)
    async with client:
        with refusing_instance() as instance, pytest.raises(family.ConnectError) as caught:
            await client.get(f"http://{instance.address}/")
        assert Family(family).failure(caught.value) == "refused"
        assert caught.value.request.url.port == instance.port
        for behaviour, error in (
            ("hang_up", family.RemoteProtocolError),
            ("reset", family.ReadError),
            ("half", family.RemoteProtocolError),
        ):
            with RawServer(behaviour) as server, pytest.raises(error) as caught:
                await client.get(f"http://127.0.0.1:{server.port}/")
            assert Family(family).failure(caught.value) == "no_response"
        with pytest.raises(family.UnsupportedProtocol):
            await transport_call(flavour, transport, family.Request("GET", "gopher://orders/"))
        with pytest.raises(family.LocalProtocolError):
            await client.get(f"{kit.plain.url}/who", headers={b"a b": b"c"})
        assert transport.is_quiet


async def transport_call(flavour, transport, request):
    if flavour.is_async:
        return await transport.handle_async_request(request)
    return transport.handle_request(request)


@every(FLAVOURS)
async def test_a_certificate_is_checked_against_the_name_that_is_asked_for(flavour, kit):
    url = f"{over_tls(kit.secure)}/who"
    _, client = made(flavour, tls=kit.tls)
    async with client:
        for name in (None, "others"):
            extensions = {"sni_hostname": name} if name else {}
            with pytest.raises(flavour.family.ConnectError) as caught:
                await client.get(url, extensions=extensions)
            assert Family(flavour.family).is_tls_error(caught.value)
        response = await client.get(url, extensions={"sni_hostname": "orders"})
        assert response.text == "secure"


@every(FLAVOURS)
async def test_plain_http_makes_no_context_and_tls_one(flavour, kit):
    class Counting(SharedContext):
        asked = 0

        def context(self):
            self.asked += 1
            return kit.tls.context()

    tls = Counting()
    _, client = made(flavour, tls=tls)
    async with client:
        for _ in range(2):
            assert (await client.get(f"{kit.plain.url}/who")).text == "plain"
        assert tls.asked == 0
        for _ in range(2):
            extensions = {"sni_hostname": "orders"}
            response = await client.get(f"{over_tls(kit.secure)}/who", extensions=extensions)
            assert response.text == "secure"
        assert tls.asked == 1


@every(FLAVOURS)
async def test_http2_is_spoken_where_both_know_it(flavour, kit):
    _, client = made(flavour, tls=kit.tls, http2=True)
    extensions = {"sni_hostname": "orders"}
    async with client:
        for server, version in ((kit.two, b"HTTP/2"), (kit.secure, b"HTTP/1.1")):
            response = await client.get(f"{over_tls(server)}/who", extensions=extensions)
            assert response.extensions["http_version"] == version
        posted = await client.post(
            f"{over_tls(kit.two)}/echo", content=b"a parcel", extensions=extensions
        )
        assert posted.content == b"a parcel"


@every(FLAVOURS)
async def test_the_callers_trace_hears_of_every_step(flavour, kit):
    seen = []

    def note(name, info):
        seen.append(name)

    async def note_async(name, info):
        seen.append(name)

    trace = note_async if flavour.is_async else note
    _, client = made(flavour)
    async with client:
        await client.get(f"{kit.plain.url}/who", extensions={"trace": trace})
    assert seen[:2] == ["connection.connect_tcp.started", "connection.connect_tcp.complete"]
    assert seen[-1] == "http11.response_closed.complete"


@every(FLAVOURS)
async def test_a_refused_address_gets_no_byte_by_number_or_by_name(flavour, kit):
    policy = NetworkPolicy(["10.0.0.0/8"])
    _, client = made(flavour, refusal_of=policy.refusal_of)
    seen = len(kit.plain.seen)
    async with client:
        for host in ("127.0.0.1", "localhost"):
            with pytest.raises(flavour.family.ConnectError, match=r"not called: .*127\.0\.0\.1"):
                await client.get(f"http://{host}:{kit.plain.port}/who")
    assert len(kit.plain.seen) == seen
    await flavour.until(lambda: kit.plain.connections == 0)


class Hushed:
    """A server that reads and says nothing; it notes which connections have ended."""

    def __init__(self):
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self.begun, self.ended = [], []
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join(DEADLINE_S)

    def _serve(self):
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self._hear, args=(connection,), daemon=True).start()

    def _hear(self, connection):
        with connection, contextlib.suppress(OSError):
            while heard := connection.recv(65536):
                self.begun.append(heard)
        self.ended.append(True)


@every(ASYNC_FLAVOURS)
async def test_a_handshake_that_is_cancelled_leaves_no_connection(flavour, kit):
    transport, client = made(flavour, tls=kit.tls)
    gc.disable()  # The collector would close it too, some day.
    try:
        async with client:
            with Hushed() as server:
                url = f"https://127.0.0.1:{server.port}/"
                await flavour.cancelled(client.get, url, when=lambda: server.begun)
                await flavour.until(lambda: server.ended)
                assert transport.is_quiet
    finally:
        gc.enable()


@every(FLAVOURS)
async def test_a_handshake_that_takes_too_long_leaves_no_connection(flavour, kit):
    _, client = made(flavour, tls=kit.tls)
    async with client:
        with Hushed() as server:
            with pytest.raises(flavour.family.ConnectTimeout):
                await client.get(f"https://127.0.0.1:{server.port}/", timeout=TIMEOUT_S)
            await flavour.until(lambda: server.ended)


@every(ASYNC_FLAVOURS)
async def test_many_at_a_time_share_the_connections_that_are_allowed(flavour, kit):
    transport, client = made(flavour, limits=flavour.family.Limits(max_connections=3))
    ports = set()

    async def one():
        response = await client.get(f"{kit.plain.url}/who")
        stream = response.extensions["network_stream"]
        ports.add(stream.get_extra_info("client_addr")[1])

    async with client:
        await flavour.together(*[one] * 30)
        assert 1 <= len(ports) <= 3
        assert transport.is_quiet


@every([flavour for flavour in FLAVOURS if not flavour.is_async])
async def test_threads_that_begin_at_once_share_one_pool(flavour, kit):
    transport, client = made(flavour, limits=flavour.family.Limits(max_connections=1))
    barrier, ports = threading.Barrier(8), set()

    async def one():
        barrier.wait()
        response = await client.get(f"{kit.plain.url}/who")
        stream = response.extensions["network_stream"]
        ports.add(stream.get_extra_info("client_addr")[1])

    async with client:
        await flavour.together(*[one] * 8)
        assert len(ports) == 1
        assert transport.is_quiet


@every(FLAVOURS)
async def test_closing_closes_every_connection(flavour, kit):
    with HttpServer("closing") as server:
        _, client = made(flavour)
        async with client:
            await client.get(f"{server.url}/who")
            await flavour.until(lambda: server.connections == 1)
        await flavour.until(lambda: server.connections == 0)
