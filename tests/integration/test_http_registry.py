"""The HTTP adapter and real servers: conditional requests, compression, slow and torn answers."""

from __future__ import annotations

import asyncio
import json
import os
from contextlib import asynccontextmanager
from uuid import uuid4

import pytest

from registry_kit import reader_of
from trimtab.errors import (
    RegistryAnswerError,
    RegistryRequestError,
    RegistryUnavailableError,
)
from trimtab.registries.http import HttpSettings, make

pytestmark = pytest.mark.anyio


@pytest.fixture
def service():
    return f"orders-{uuid4().hex[:8]}"


@asynccontextmanager
async def answering(*chunks, then=None):
    """A server that sends these bytes for every request, and waits for `then` before closing."""

    async def answer(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        for chunk in chunks:
            writer.write(chunk)
            await writer.drain()
        if then is not None:
            await then.wait()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}/{{service}}"
        if then is not None:
            then.set()


@pytest.mark.real
class TestNginx:
    async def test_an_unchanged_list_is_a_304_and_comes_uncompressed(self, nginx, service):
        nginx.publish(f"{service}.json", json.dumps(["h:1", "h:2"]))
        registry = make(HttpSettings(template=f"{nginx.http}/{{service}}.json"))
        first = await registry.fetch(service)
        assert reader_of(registry)._seen[service].conditions["If-None-Match"].startswith('"')
        assert await registry.fetch(service) is first
        await registry.aclose()

    async def test_a_change_that_its_etag_hides_is_seen_at_the_next_unconditional_poll(
        self, nginx, service
    ):
        """The ETag is made of the second and the size, and this change has both in common."""
        registry = make(HttpSettings(template=f"{nginx.http}/{{service}}.json", revalidate_every=2))
        for port in (1, 2):
            nginx.publish(f"{service}.json", json.dumps([f"h:{port}"]))
            os.utime(nginx.root / f"{service}.json", (1_700_000_000, 1_700_000_000))
            seen = [(await registry.fetch(service)).instances[0].port for _ in range(3)]
        assert seen[-1] == 2
        await registry.aclose()

    async def test_a_service_that_is_not_there_is_no_empty_list(self, nginx, service):
        registry = make(HttpSettings(template=f"{nginx.http}/{{service}}.json"))
        with pytest.raises(RegistryRequestError, match=f"{service}.*HTTP 404"):
            await registry.fetch(service)
        await registry.aclose()

    async def test_torn_files_are_refused_and_the_next_whole_one_is_read(self, nginx, service):
        registry = make(HttpSettings(template=f"{nginx.http}/{{service}}.json"))
        nginx.publish(f"{service}.json", '["h:1", "h')
        with pytest.raises(RegistryAnswerError, match="truncated"):
            await registry.fetch(service)
        nginx.publish(f"{service}.json", '["h:1", "h:2"]')
        assert len((await registry.fetch(service)).instances) == 2
        await registry.aclose()


async def test_a_server_that_trickles_is_given_up():
    head = b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n["
    async with answering(head, then=asyncio.Event()) as url:
        registry = make(HttpSettings(template=url, timeout_s=0.2))
        with pytest.raises(RegistryUnavailableError, match=r"no answer within 0\.2 s"):
            await registry.fetch("orders")
        await registry.aclose()


async def test_a_connection_cut_in_the_middle_is_unavailable():
    async with answering(b'HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n["h:1"') as url:
        registry = make(HttpSettings(template=url))
        with pytest.raises(RegistryUnavailableError, match="RemoteProtocolError"):
            await registry.fetch("orders")
        await registry.aclose()


async def test_compression_that_was_not_asked_for_is_unreadable():
    head = b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 4\r\n\r\nnope"
    async with answering(head) as url:
        registry = make(HttpSettings(template=url))
        with pytest.raises(RegistryAnswerError, match="compressed"):
            await registry.fetch("orders")
        await registry.aclose()


async def test_an_endless_answer_is_cut_off():
    head = b"HTTP/1.1 200 OK\r\n\r\n"
    async with answering(head, b"[" * 100_000, then=asyncio.Event()) as url:
        registry = make(HttpSettings(template=url, max_bytes=50_000))
        with pytest.raises(RegistryAnswerError, match="larger than 50000 bytes"):
            await registry.fetch("orders")
        await registry.aclose()


async def test_an_unreachable_server_is_unavailable():
    async with answering() as url:
        pass
    registry = make(HttpSettings(template=url))
    with pytest.raises(RegistryUnavailableError, match="ConnectError"):
        await registry.fetch("orders")
    await registry.aclose()
