"""Inner transports that reach their instances through a proxy, by CONNECT."""

from __future__ import annotations

import ssl
from types import SimpleNamespace

import pytest
import trustme

from proxy_server import ProxyServer
from transport_kit import FLAVOURS, HttpServer, every, figures, listing
from trimtab import EnvoyOutliers, HealthSettings, RetryPolicy

HOSTS = ("127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.0.4")
BAD = HOSTS[2]


@pytest.fixture(scope="module")
def kit(tmp_path_factory):
    """One server at four addresses, with TLS, and a proxy that leads to them."""
    authority, folder = trustme.CA(), tmp_path_factory.mktemp("tls")
    context = ssl.create_default_context()
    authority.configure_trust(context)
    certificate = folder / "server.pem"
    authority.issue_cert(*HOSTS).private_key_and_cert_chain_pem.write_to_path(certificate)
    with (
        HttpServer("behind", host="0.0.0.0", ssl_certfile=str(certificate)) as server,
        ProxyServer() as proxy,
    ):
        yield SimpleNamespace(server=server, proxy=proxy, context=context)


def instances(kit):
    return [kit.server.instance(host=host, id=host, scheme="https") for host in HOSTS]


def proxied(flavour, kit, **options):
    """A transport whose inner ones go through the proxy."""
    family = flavour.family
    kind = family.AsyncHTTPTransport if flavour.is_async else family.HTTPTransport
    return flavour.transport(
        listing(*instances(kit)),
        inner=lambda _: kind(verify=kit.context, proxy=kit.proxy.url),
        **{"strategy": "round_robin", **options},
    )


@every(FLAVOURS)
async def test_one_that_the_proxy_cannot_reach_costs_no_call(flavour, kit):
    for refusal in ("502 Bad Gateway", "503 Service Unavailable", "504 Gateway Timeout",
                    "403 Forbidden", "500 Oh no"):  # fmt: skip
        kit.proxy.refused = {f"{BAD}:{kit.server.port}": refusal}
        transport = proxied(flavour, kit)
        async with flavour.client(transport) as client:
            for _ in range(6):
                assert (await client.get("http://orders/who")).text == "behind"
                posted = await client.post("http://orders/echo", content=b"a parcel")
                assert posted.content == b"a parcel"
            streamed = await client.post("http://orders/echo", content=flavour.body(b"a ", b"b"))
            assert streamed.content == b"a b"
            members = figures(transport).members
        assert (members[BAD].successes, members[BAD].failures >= 3) == (0, True)
        assert {members[host].failures for host in HOSTS if host != BAD} == {0}


@every(FLAVOURS)
async def test_it_is_ejected_as_any_that_fails(flavour, kit):
    kit.proxy.refused = {f"{BAD}:{kit.server.port}": "502 Bad Gateway"}
    outliers = EnvoyOutliers(always_eject_one=True, consecutive_failures=2)
    transport = proxied(flavour, kit, health=HealthSettings(outliers=outliers))
    async with flavour.client(transport) as client:
        for _ in range(12):
            assert (await client.get("http://orders/who")).text == "behind"
        assert figures(transport).members[BAD].reason == "ejected"
        assert figures(transport).members[BAD].picks == 2


@every(FLAVOURS)
async def test_when_the_proxy_reaches_none_its_answer_is_told(flavour, kit):
    kit.proxy.refused = {f"{host}:{kit.server.port}": "502 Bad Gateway" for host in HOSTS}
    transport = proxied(flavour, kit)
    async with flavour.client(transport) as client:
        with pytest.raises(flavour.family.ProxyError, match=r"4 attempts.*502 Bad Gateway"):
            await client.get("http://orders/who")
        assert figures(transport).in_flight == 0


@every(FLAVOURS)
async def test_a_proxy_that_wants_a_login_is_the_callers_own_business(flavour, kit):
    wants = "407 Proxy Authentication Required"
    kit.proxy.refused = {f"{host}:{kit.server.port}": wants for host in HOSTS}
    transport = proxied(flavour, kit)
    async with flavour.client(transport) as client:
        before = len(kit.proxy.tunnels)
        with pytest.raises(flavour.family.ProxyError, match="407"):
            await client.get("http://orders/who")
        assert len(kit.proxy.tunnels) == before + 1
        assert {member.failures for member in figures(transport).members.values()} == {0}


@every(FLAVOURS)
async def test_without_retries_the_caller_gets_the_proxys_error(flavour, kit):
    kit.proxy.refused = {f"{host}:{kit.server.port}": "502 Bad Gateway" for host in HOSTS}
    transport = proxied(flavour, kit, retry=RetryPolicy(max_attempts=1))
    async with flavour.client(transport) as client:
        with pytest.raises(flavour.family.ProxyError, match="502"):
            await client.get("http://orders/who")
