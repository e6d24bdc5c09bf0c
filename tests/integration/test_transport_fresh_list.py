"""Over DNS with a long TTL: all listed instances refuse, and a new one is listed already."""

from __future__ import annotations

import time
from uuid import uuid4

import pytest

from real.dns import ZONE, knot  # noqa: F401 - a fixture
from transport_kit import FLAVOURS, HttpServer, refusing_instance
from trimtab import DiscoverySettings

pytestmark = pytest.mark.real
LONG_S = 20
CALLS = 40


@pytest.mark.parametrize("flavour", FLAVOURS, ids=repr)
@pytest.mark.parametrize("grace_s", [0.0, 5.0])
def test_calls_find_the_new_instance_long_before_the_ttl_ends(knot, flavour, grace_s):  # noqa: F811 - as above
    service = f"orders-{uuid4().hex[:8]}"
    settings = DiscoverySettings(grace_s=grace_s)

    async def main(_, fresh):
        with refusing_instance() as one, refusing_instance() as other:
            ports = (one.port, other.port)
            knot.change((f"_{service}._tcp", "SRV", LONG_S, *(f"1 1 {port} ns" for port in ports)))
            registry = f"dns+srv://127.0.0.1:{knot.port}/{ZONE}"
            transport = flavour.transport(registry, discovery=settings)
            async with flavour.client(transport) as client:
                with pytest.raises(flavour.family.ConnectError):
                    await client.get(f"http://{service}/who")
                knot.change((f"_{service}._tcp", "SRV", LONG_S, f"1 1 {fresh.port} ns"))
                began, failed = time.monotonic(), 0
                for _ in range(CALLS):
                    try:
                        await client.get(f"http://{service}/who")
                    except flavour.family.ConnectError:
                        failed += 1
                        end = time.monotonic() + 0.1
                        while time.monotonic() < end:
                            await flavour.pause()
                took_s = time.monotonic() - began
                assert (await client.get(f"http://{service}/who")).text == "fresh"
        assert took_s < LONG_S / 2
        # One list was read just now; the next comes within 2 s, of ten calls each.
        assert failed <= 25

    with HttpServer("fresh") as fresh:
        flavour.run(main, fresh)
