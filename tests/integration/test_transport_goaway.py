"""HTTP/2 servers that close connections after some requests: no call is lost, of any method."""

from __future__ import annotations

import ssl
from pathlib import Path
from types import SimpleNamespace

import pytest
import trustme

from real.nginx import Nginx
from real.server import running
from transport_kit import FLAVOURS, every, figures, listing
from trimtab import Instance

PER_CONNECTION = 15
CALLS, AT_ONCE = 60, 12


class Forgetful(Nginx):
    """An nginx of HTTP/2 that sends GOAWAY after some requests; the first port is plain HTTP."""

    how_many_ports = 3
    certificate = ""

    def command(self):
        command = super().command()
        config = self.folder / "nginx.conf"
        speaks = f"ssl http2; ssl_certificate {self.certificate};"
        servers = "".join(
            f"server {{ listen 127.0.0.1:{port} {speaks} ssl_certificate_key {self.certificate};"
            f"keepalive_requests {PER_CONNECTION};"
            f"location / {{ proxy_pass http://127.0.0.1:{self.port}; }} }}"
            for port in self.ports[1:]
        )
        text = config.read_text().replace(f"root {self.root};", "location / { return 200 served; }")
        config.write_text(text.removesuffix("}") + servers + "}")
        return command


@pytest.fixture(scope="module")
def kit(tmp_path_factory):
    authority, folder = trustme.CA(), tmp_path_factory.mktemp("goaway")
    context = ssl.create_default_context()
    authority.configure_trust(context)
    certificate = folder / "server.pem"
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(certificate)
    server = Forgetful(Path("/usr/sbin/nginx"), folder / "nginx")
    server.certificate = certificate
    with running(server):
        yield SimpleNamespace(context=context, ports=server.ports[1:])


def instances(kit):
    return [
        Instance(host="127.0.0.1", port=port, id=f"n{port}", scheme="https") for port in kit.ports
    ]


async def call(flavour, client, method, calls=CALLS, **options):
    """Make calls, several at a time; return the statuses and errors."""
    ends, left = [], list(range(calls))

    async def work():
        while left:
            left.pop()
            try:
                response = await client.request(method, "http://orders/x", **options)
                ends.append(response.status_code)
            except Exception as error:  # noqa: BLE001 - counted
                ends.append(error)

    await flavour.together(*[work] * AT_ONCE)
    return ends


@every(FLAVOURS)
async def test_no_call_is_lost_whatever_its_method(flavour, kit):
    for how_many in (1, 2):
        registry = listing(*instances(kit)[:how_many])
        transport = flavour.transport(registry, verify=kit.context, http2=True)
        async with flavour.client(transport) as client:
            for method, body in (("GET", None), ("POST", b"x" * 100), ("PATCH", b"y" * 20_000)):
                ends = await call(flavour, client, method, content=body)
                assert [end for end in ends if end != 200] == [], method
            answer = await client.get("http://orders/x")
            assert answer.extensions["http_version"] == b"HTTP/2"
            figure = figures(transport)
            assert figure.in_flight == 0
            # What was not processed is nobody's failure.
            assert sum(member.failures for member in figure.members.values()) == 0


@every(FLAVOURS)
async def test_a_connection_that_was_left_idle_costs_no_call(flavour, kit):
    transport = flavour.transport(listing(instances(kit)[0]), verify=kit.context, http2=True)
    async with flavour.client(transport) as client:
        for _ in range(3 * PER_CONNECTION):
            answer = await client.post("http://orders/x", content=b"x")
            assert answer.status_code == 200


@every(FLAVOURS)
async def test_a_callers_own_bad_header_stays_the_callers(flavour, kit):
    transport = flavour.transport(listing(*instances(kit)), verify=kit.context, http2=True)
    async with flavour.client(transport) as client:
        for _ in range(3):
            with pytest.raises(flavour.family.LocalProtocolError):
                await client.get("http://orders/x", headers={"te": "gzip"})
        assert {each.failures for each in figures(transport).members.values()} == {0}
        assert (await client.get("http://orders/x")).status_code == 200
