"""Whatever an API server says: a list, with the unreadable named, or an error of ours."""

from __future__ import annotations

import asyncio
import json
from contextlib import aclosing, suppress

import httpx
from hypothesis import given
from hypothesis import strategies as st

from garbage import garbled
from registry_kit import made, recorded
from trimtab.errors import RegistryError
from trimtab.registries import kubernetes

SLICES = recorded("kubernetes/list")
EVENTS = recorded("kubernetes/watch")
GOOD = json.dumps(SLICES).encode()
END = json.dumps(EVENTS[-1]).encode() + b"\n"


def read(body, events):
    async def answer(request):
        return httpx.Response(200, content=events if "watch" in request.url.params else body)

    async def main():
        registry = made(
            kubernetes,
            "kubernetes://h/shop?tls=0",
            port="http",
            transport=httpx.MockTransport(answer),
        )
        listings = []
        with suppress(RegistryError):
            async with aclosing(registry.watch("orders")) as watch:
                async for listing in watch:
                    listings.append(listing)  # noqa: PERF401 - those before an error count
        return listings

    return asyncio.run(main())


@given(garbled(SLICES))
def test_a_list_with_anything_anywhere(answer):
    for listing in read(json.dumps(answer).encode(), END):
        assert len({each.id for each in listing.instances}) == len(listing.instances)
        assert listing.instances or not listing.skipped


@given(garbled(EVENTS[0]))
def test_an_event_with_anything_anywhere(event):
    assert read(GOOD, json.dumps(event).encode() + b"\n" + END)


@given(st.binary(max_size=200), st.integers(0, len(GOOD)))
def test_bytes(garbage, length):
    assert read(GOOD, garbage + b"\n" + END)
    read(GOOD[:length] + garbage, END)
