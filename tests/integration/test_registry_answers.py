"""Answers that cost more than they weigh, over sockets and on every adapter that speaks HTTP."""

from __future__ import annotations

import asyncio
import gzip
import tracemalloc
from contextlib import asynccontextmanager
from functools import cache, reduce

import pytest

from trimtab.errors import RegistryAnswerError
from trimtab.registries import connect

pytestmark = pytest.mark.anyio

URLS = [
    "http://{}/{{service}}",
    "consul://{}",
    "etcd://{}/services?poll",
    "eureka://{}",
    "nacos://{}",
    "kubernetes://{}/shop?tls=0&poll",
]
UNPACKED = 128 * 2**20


@cache
def bomb(times):
    """Give zeros that unpack to 128 MiB, compressed so many times over."""
    return reduce(lambda body, _: gzip.compress(body), range(times), bytes(UNPACKED))


@asynccontextmanager
async def serving(*headers, body):
    async def answer(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        head = ["HTTP/1.1 200 OK", f"Content-Length: {len(body)}", "Connection: close", *headers]
        writer.write("\r\n".join([*head, "", ""]).encode() + body)
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    try:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


@pytest.mark.parametrize("url", URLS)
@pytest.mark.parametrize(
    ("headers", "times"),
    [
        (["Content-Encoding: gzip, gzip, gzip"], 3),
        (["Content-Encoding: gzip", "Content-Encoding: gzip"], 2),
        (["Content-Encoding: gzip"], 1),
        (["content-encoding: deflate"], 1),
        (["Content-Encoding: zstd"], 1),
        (["Content-Encoding: br"], 1),
    ],
)
async def test_a_compressed_answer_is_refused_and_not_unpacked(url, headers, times):
    body = bomb(times)
    async with serving(*headers, body=body) as place:
        registry = connect(url.format(place))
        tracemalloc.start()
        try:
            with pytest.raises(RegistryAnswerError, match="compressed"):
                await registry.fetch("orders")
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
            await registry.aclose()
    assert peak < 16 * 2**20
