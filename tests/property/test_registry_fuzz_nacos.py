"""Whatever a Nacos server says: a list, with the unreadable named, or an error of ours."""

from __future__ import annotations

import asyncio
import json

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from garbage import anything, garbled
from registry_kit import made, recorded
from trimtab.errors import RegistryError
from trimtab.instance import Instance
from trimtab.registries import nacos
from trimtab.registries.asking import Answer
from trimtab.registries.nacos.api import read_hosts, result_of

V1, V2, V3 = (recorded(f"nacos/list_{api}") for api in ("v1", "v2", "v3"))
GOOD = json.dumps(V2).encode()
MINE = Instance(host="10.0.0.1", port=80)


def registry(body, status, url):
    async def answer(request):
        return httpx.Response(status, content=body)

    return made(nacos, url, transport=httpx.MockTransport(answer))


def read(body):
    try:
        data = result_of("here", Answer(200, httpx.Headers(), body))
        instances, skipped = read_hosts("here", data)
    except RegistryError:
        return
    assert len({each.id for each in instances}) == len(instances)
    assert instances or not skipped


@given(st.one_of(garbled(V1), garbled(V2), garbled(V3)))
def test_a_list_with_anything_anywhere(answer):
    read(json.dumps(answer).encode())


@given(st.binary(max_size=99), st.integers(0, len(GOOD)))
def test_bytes(garbage, length):
    read(garbage)
    read(GOOD[:length] + garbage)


@pytest.mark.parametrize("question", ["services", "register", "heartbeat", "deregister", "login"])
@settings(max_examples=30)  # Each makes a client of its own.
@given(answer=anything, status=st.sampled_from([200, 400, 404, 500]))
def test_every_other_answer(question, answer, status):
    body = json.dumps(answer).encode()
    url = "nacos://user:password@h" if question == "login" else "nacos://h"
    asked = registry(body, status, url)

    async def main():
        match question:
            case "services":
                await asked.services()
            case "register":
                await asked.register("orders", MINE, ttl_s=9)
            case "login":
                await asked.fetch("orders")
            case _:
                await getattr(asked, question)("orders", MINE)

    try:
        asyncio.run(main())
    except RegistryError:
        return
    assert status in {200, 404}
