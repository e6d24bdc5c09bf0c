"""What is in flight on instances that left, or on connections that grew old, while all closes."""

from __future__ import annotations

import contextlib
from types import SimpleNamespace

import pytest

from transport_kit import FLAVOURS, HttpServer, every, figures, listing, unique
from trimtab import Instance


@pytest.fixture(scope="module")
def kit():
    with HttpServer("stays") as stays:
        yield SimpleNamespace(stays=stays)


async def begun(flavour, client):
    """A response of which the rest is held back, and the key that lets it go on."""
    key = unique()
    request = client.build_request("GET", f"http://orders/held/{key}")
    return await client.send(request, stream=True), key


async def gone(flavour, client, transport, registry, kit):
    """Take the only instance off the list, and put another one there."""
    registry.set("orders", [kit.stays.instance()])
    await flavour.until(lambda: "stays" in figures(transport).members)
    assert (await client.get("http://orders/who")).text == "stays"


@every(FLAVOURS)
async def test_closing_waits_for_what_a_removed_instance_still_sends(flavour, kit):
    with HttpServer("leaves") as leaves:
        registry = listing(leaves.instance())
        transport, said = flavour.transport(registry, drain_timeout_s=60.0), []
        client = flavour.client(transport)
        response, key = await begun(flavour, client)
        await gone(flavour, client, transport, registry, kit)

        async def close():
            await client.aclose()
            said.append("closed")

        async def read():
            await flavour.until(lambda: transport.is_closed)
            assert said == [], "closing waits"
            leaves.open(key)
            assert await flavour.read(response) == b"first last"

        await flavour.together(close, read)
        assert said == ["closed"]
        await flavour.until(lambda: leaves.connections == 0)


@every(FLAVOURS)
async def test_closing_ends_what_a_removed_instance_still_sends_in_the_end(flavour, kit):
    with HttpServer("leaves") as leaves:
        registry = listing(leaves.instance())
        transport = flavour.transport(registry, drain_timeout_s=0.05)
        client = flavour.client(transport)
        response, _ = await begun(flavour, client)
        await gone(flavour, client, transport, registry, kit)
        assert leaves.connections == 1
        await client.aclose()
        await flavour.until(lambda: leaves.connections == 0)
        with contextlib.suppress(
            flavour.family.HTTPError, flavour.family.StreamError, RuntimeError
        ):
            await flavour.close(response)


@every(FLAVOURS)
async def test_an_old_connection_ends_with_its_response_and_not_before(flavour, kit):
    with HttpServer("old") as old:
        transport = flavour.transport(listing(old.instance()), connection_max_age_s=0.05)
        async with flavour.client(transport) as client:
            response, key = await begun(flavour, client)

            async def is_replaced():
                assert (await client.get("http://orders/who")).text == "old"
                (side,) = transport._sides()
                return bool(side.connections._leaving)

            while not await is_replaced():
                await flavour.pause()
            old.open(key)
            assert await flavour.read(response) == b"first last"
            await client.get("http://orders/who")
            # The kept one, and perhaps one whose turn it is to be closed.
            await flavour.until(lambda: old.connections <= 1)
            assert figures(transport).members["old"].failures == 0


@every(FLAVOURS)
async def test_a_transport_that_does_not_close_keeps_nothing_else_from_closing(flavour, kit):
    closed = []

    class Stubborn(flavour.family.MockTransport):
        def close(self):
            closed.append("close")
            raise ValueError("not today")

        async def aclose(self):
            self.close()

    def make(_):
        return Stubborn(lambda _: flavour.family.Response(200))

    one, two, three = (Instance(host="h", port=port, id=f"{port}") for port in (1, 2, 3))
    registry = listing(one, two)
    transport = flavour.transport(registry, inner=make, strategy="round_robin")
    async with flavour.client(transport) as client:
        for _ in range(2):
            await client.get("http://orders/")
        registry.set("orders", [three])
        await flavour.until(lambda: "3" in figures(transport).members)
        await client.get("http://orders/")
        await flavour.until(lambda: len(closed) == 2)
    assert len(closed) == 3
