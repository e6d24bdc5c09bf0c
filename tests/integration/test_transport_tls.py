"""TLS with a CA of the test's own: whose name is asked for, and checked; and who may call."""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import threading
from types import SimpleNamespace

import pytest
import trustme

from transport_kit import DEADLINE_S, FLAVOURS, HttpServer, RawServer, every, figures, listing
from trimtab import Instance


class Doorkeeper:
    """A server that goes no further than the TLS handshake, and says there what it wants."""

    def __init__(self, context):
        self._context = context
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.instance = Instance(host="127.0.0.1", port=self._socket.getsockname()[1])
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def _serve(self):
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            with self._context.wrap_socket(
                connection, server_side=True, do_handshake_on_connect=False
            ) as encrypted:
                with contextlib.suppress(ssl.SSLError):
                    encrypted.do_handshake()
                # To close before all is read would call the alert back.
                with contextlib.suppress(OSError):
                    encrypted.settimeout(DEADLINE_S)
                    while os.read(encrypted.fileno(), 65536):
                        pass

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join(DEADLINE_S)


@pytest.fixture(scope="module")
def kit(tmp_path_factory):
    """A server certified as 127.0.0.1, one as "orders", a picky one, and what clients need."""
    authority, folder = trustme.CA(), tmp_path_factory.mktemp("tls")
    context = ssl.create_default_context()
    authority.configure_trust(context)
    ca = folder / "ca.pem"
    authority.cert_pem.write_to_path(ca)

    def issued(name, identity):
        certificate = folder / f"{name}.pem"
        authority.issue_cert(identity).private_key_and_cert_chain_pem.write_to_path(certificate)
        return str(certificate)

    def server(name, identity, **options):
        made = HttpServer(name, ssl_certfile=issued(name, identity), **options)
        made.asked_for = []
        config = made._server.config
        config.load()
        config.ssl.sni_callback = lambda _socket, name, _context: made.asked_for.append(name)
        return made

    wants_certificate = {"ssl_ca_certs": str(ca), "ssl_cert_reqs": ssl.CERT_REQUIRED}
    with (
        server("by-address", "127.0.0.1") as address,
        server("by-name", "orders") as name,
        server("picky", "127.0.0.1", **wants_certificate) as picky,
    ):
        yield SimpleNamespace(
            address=address,
            name=name,
            picky=picky,
            context=context,
            ca=str(ca),
            mine=issued("mine", "me"),
            picky_context=picky._server.config.ssl,
        )


@every(FLAVOURS)
async def test_the_instances_own_name_is_checked_by_default(flavour, kit):
    transport = flavour.transport(listing(kit.address.instance()), verify=kit.context)
    async with flavour.client(transport) as client:
        assert (await client.get("https://orders/who")).text == "by-address"


@every(FLAVOURS)
async def test_the_services_name_is_checked_where_wanted(flavour, kit):
    registry = listing(kit.name.instance())
    for names in ({"server_name": "service"}, {"host_header": "service"}):
        transport = flavour.transport(registry, verify=kit.context, **names)
        async with flavour.client(transport) as client:
            assert (await client.get("https://orders/who")).text == "by-name"
            assert kit.name.asked_for[-1] == "orders"


@every(FLAVOURS)
async def test_the_scheme_of_the_instance_beats_the_urls(flavour, kit):
    registry = listing(kit.address.instance(scheme="https"))
    async with flavour.client(flavour.transport(registry, verify=kit.context)) as client:
        response = await client.get("http://orders/who")
    assert response.text == "by-address"
    assert str(response.url) == "http://orders/who"


@every(FLAVOURS)
async def test_nothing_takes_tls_away_from_a_web_socket(flavour, kit):
    for scheme in ("http", "https", None):
        registry = listing(kit.name.instance(scheme=scheme))
        transport = flavour.transport(registry, verify=kit.context, server_name="service")
        async with flavour.client(transport) as client:
            assert (await client.get("wss://orders/who")).text == "by-name"
            assert kit.name.asked_for[-1] == "orders"


@every(FLAVOURS)
async def test_a_plaintext_server_never_gets_what_was_meant_for_tls(flavour, kit):
    with RawServer("hang_up") as plain:
        for asked in ("https", "wss"):
            registry = listing(plain.instance(scheme="http"))
            async with flavour.client(flavour.transport(registry, verify=kit.context)) as client:
                with pytest.raises(flavour.family.TransportError):
                    await client.get(f"{asked}://orders/secret")
    assert plain.requests == 0


@every(FLAVOURS)
async def test_a_registry_may_ask_for_tls_for_a_web_socket(flavour, kit):
    registry = listing(kit.address.instance(scheme="https"))
    async with flavour.client(flavour.transport(registry, verify=kit.context)) as client:
        assert (await client.get("ws://orders/who")).text == "by-address"


@every(FLAVOURS)
async def test_the_callers_own_server_name_stays(flavour, kit):
    registry = listing(kit.name.instance())
    transport = flavour.transport(registry, verify=kit.context, server_name="service")
    async with flavour.client(transport, base_url="https://orders") as client:
        with pytest.raises(flavour.family.ConnectError, match="other"):
            await client.get("/who", extensions={"sni_hostname": "other"})


@every(FLAVOURS)
async def test_an_instance_that_is_a_name_is_asked_for_by_it(flavour, kit):
    registry = listing(kit.address.instance(host="localhost"))
    async with flavour.client(flavour.transport(registry, verify=kit.context)) as client:
        with pytest.raises(flavour.family.ConnectError, match=r"localhost.*check `verify` and"):
            await client.get("https://orders/who")
    assert kit.address.asked_for[-1] == "localhost"


@every(FLAVOURS)
async def test_a_client_certificate_is_shown_to_those_who_ask(flavour, kit):
    registry = listing(kit.picky.instance())
    for cert in (kit.mine, (kit.mine, kit.mine)):
        transport = flavour.transport(registry, verify=kit.ca, cert=cert)
        async with flavour.client(transport) as client:
            assert (await client.get("https://orders/who")).text == "picky"
            assert (await client.post("https://orders/echo", content=b"x")).content == b"x"


@every(FLAVOURS)
async def test_without_a_client_certificate_the_error_names_the_setting(flavour, kit):
    with Doorkeeper(kit.picky_context) as doorkeeper:
        transport = flavour.transport(listing(doorkeeper.instance), verify=kit.ca)
        async with flavour.client(transport) as client:
            with pytest.raises(flavour.family.ReadError, match="certificate required") as caught:
                await client.post("https://orders/echo")
            assert "check `verify` and `server_name`" in str(caught.value)
            assert "and `cert` against those that they ask for" in str(caught.value)
            assert figures(transport).in_flight == 0


@every(FLAVOURS)
async def test_a_wrong_name_or_an_unknown_ca_is_a_connect_error(flavour, kit):
    cases = [
        flavour.transport(listing(kit.name.instance()), verify=kit.context),
        flavour.transport(listing(kit.address.instance())),
    ]
    for transport in cases:
        async with flavour.client(transport) as client:
            with pytest.raises(
                flavour.family.ConnectError, match="certificate verify failed"
            ) as caught:
                await client.get("https://orders/who")
            assert "check `verify` and `server_name`" in str(caught.value)
            assert figures(transport).in_flight == 0


class Noting(ssl.SSLContext):
    """A context that notes its handshakes."""

    handshakes = 0

    def wrap_socket(self, *args, **options):
        self.handshakes += 1
        return super().wrap_socket(*args, **options)

    def wrap_bio(self, *args, **options):
        self.handshakes += 1
        return super().wrap_bio(*args, **options)


@every(FLAVOURS)
async def test_one_context_serves_every_instance(flavour, kit):
    context = Noting(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(kit.ca)
    # Two addresses of one server, whose certificate has one of them only.
    context.check_hostname = False
    registry = listing(kit.address.instance(id="x"), kit.address.instance(id="y", host="localhost"))
    transport = flavour.transport(registry, verify=context, strategy="round_robin")
    async with flavour.client(transport) as client:
        for _ in range(4):
            assert (await client.get("https://orders/who")).status_code == 200
    assert context.handshakes == 2
