"""TLS with a CA of the test's own: whose name is asked for, and checked."""

from __future__ import annotations

import ssl
from types import SimpleNamespace

import pytest
import trustme

from transport_kit import FLAVOURS, HttpServer, every, figures, listing


@pytest.fixture(scope="module")
def kit(tmp_path_factory):
    """A server certified as 127.0.0.1, one as "orders", and a context that trusts their CA."""
    authority, folder = trustme.CA(), tmp_path_factory.mktemp("tls")
    context = ssl.create_default_context()
    authority.configure_trust(context)

    def server(name, identity):
        certificate = folder / f"{name}.pem"
        authority.issue_cert(identity).private_key_and_cert_chain_pem.write_to_path(certificate)
        return HttpServer(name, ssl_certfile=str(certificate))

    with server("by-address", "127.0.0.1") as address, server("by-name", "orders") as name:
        yield SimpleNamespace(address=address, name=name, context=context)


@every(FLAVOURS)
async def test_the_instances_own_name_is_checked_by_default(flavour, kit):
    transport = flavour.transport(listing(kit.address.instance()), verify=kit.context)
    async with flavour.client(transport) as client:
        assert (await client.get("https://orders/who")).text == "by-address"


@every(FLAVOURS)
async def test_the_services_name_is_checked_where_wanted(flavour, kit):
    registry = listing(kit.name.instance())
    for names in ({"server_name": "service"}, {"host": "service"}):
        transport = flavour.transport(registry, verify=kit.context, **names)
        async with flavour.client(transport) as client:
            assert (await client.get("https://orders/who")).text == "by-name"


@every(FLAVOURS)
async def test_the_scheme_of_the_instance_beats_the_urls(flavour, kit):
    registry = listing(kit.address.instance(scheme="https"))
    async with flavour.client(flavour.transport(registry, verify=kit.context)) as client:
        response = await client.get("http://orders/who")
    assert response.text == "by-address"
    assert str(response.url) == "http://orders/who"


@every(FLAVOURS)
async def test_the_callers_own_server_name_stays(flavour, kit):
    registry = listing(kit.name.instance())
    transport = flavour.transport(registry, verify=kit.context, server_name="service")
    async with flavour.client(transport, base_url="https://orders") as client:
        with pytest.raises(flavour.family.ConnectError, match="other"):
            await client.get("/who", extensions={"sni_hostname": "other"})


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


@every(FLAVOURS)
async def test_one_context_serves_every_instance(flavour, kit):
    registry = listing(kit.address.instance(id="x"), kit.address.instance(id="y"))
    transport = flavour.transport(registry, verify=kit.context, strategy="round_robin")
    async with flavour.client(transport) as client:
        for _ in range(2):
            assert (await client.get("https://orders/who")).status_code == 200
        contexts = {
            id(inner.transport._pool._ssl_context)
            for side in transport._sides()
            for inner in side.connections._inner.values()
        }
    assert contexts == {id(kit.context)}
