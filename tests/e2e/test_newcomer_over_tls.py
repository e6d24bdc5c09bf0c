"""A newcomer over TLS, in a process of its own: is the connection open at the first request?"""

from __future__ import annotations

import socket
import ssl
import statistics
import subprocess
import sys
import threading
import time

import pytest
import trustme

from transport_kit import DEADLINE_S, FLAVOURS, every, figures, listing
from trimtab import Instance

FEW = [flavour for flavour in FLAVOURS if flavour.library != "trio"]
NEWCOMERS = 9
SERVER = """
import sys, uvicorn
async def app(scope, receive, send):
    headers = [(b"x-port", sys.argv[1].encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"ok"})
uvicorn.run(app, port=int(sys.argv[1]), ssl_certfile=sys.argv[2], log_level="error", lifespan="off")
"""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def kit(tmp_path_factory):
    """Two servers in their own processes, as instances; and the context of clients."""
    authority = trustme.CA()
    context = ssl.create_default_context()
    authority.configure_trust(context)
    certificate = str(tmp_path_factory.mktemp("tls") / "server.pem")
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(certificate)
    ports = [free_port(), free_port()]
    servers = [
        subprocess.Popen([sys.executable, "-c", SERVER, str(port), certificate]) for port in ports
    ]
    try:
        for port in ports:
            _await_port(port)
        yield context, [Instance(host="127.0.0.1", port=port, id=str(port)) for port in ports]
    finally:
        for server in servers:
            server.terminate()
            server.wait(DEADLINE_S)


def _await_port(port):
    end = time.monotonic() + DEADLINE_S
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1.0).close()
        except OSError:
            assert time.monotonic() < end
            threading.Event().wait(0.05)
        else:
            return


async def first_request_s(flavour, context, old, new, count):
    """Seconds of a newcomer's first request, and what of it was connecting, or None."""
    registry = listing(old)
    transport = flavour.transport(
        registry, verify=context, min_connections=count, strategy="round_robin"
    )
    async with flavour.client(transport) as client:
        await client.get("https://orders/")
        registry.set("orders", [old, new])
        await flavour.until(lambda: new.id in figures(transport).members)
        await flavour.until(lambda: figures(transport).members[new.id].reason is None)
        while True:
            started_s = time.perf_counter()
            response = await client.get("https://orders/")
            if response.headers["x-port"] == new.id:
                took_s = time.perf_counter() - started_s
                return took_s, figures(transport).members[new.id].connect_s


@every(FEW)
async def test_a_newcomers_first_request_does_not_connect(flavour, kit):
    context, (old, new) = kit
    for count in (0, 1):
        runs = [await first_request_s(flavour, context, old, new, count) for _ in range(NEWCOMERS)]
        connects = [connect_s for _, connect_s in runs]
        median_ms = 1000 * statistics.median(took_s for took_s, _ in runs)
        part_ms = 1000 * statistics.median(connect_s or 0.0 for connect_s in connects)
        print(f"\n{flavour}, min_connections={count}: {median_ms:.1f} ms, connecting {part_ms:.1f}")
        assert all(each is None for each in connects) if count else all(connects)
