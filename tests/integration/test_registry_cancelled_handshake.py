"""A registry that accepts connections and never answers the TLS handshake."""

from __future__ import annotations

import asyncio

import pytest

from trimtab.errors import RegistryUnavailableError
from trimtab.registries.asking import Asker

pytestmark = pytest.mark.anyio
DEADLINE_S = 20


@pytest.fixture
async def ended():
    """A server that keeps silent, and puts here what it has heard of each ended connection."""
    connections = asyncio.Queue()

    async def hear(reader, writer):
        connections.put_nowait((await reader.read(), writer))

    server = await asyncio.start_server(hear, "127.0.0.1", 0)
    connections.port = server.sockets[0].getsockname()[1]
    yield connections
    server.close()
    await server.wait_closed()


async def test_a_handshake_that_is_cancelled_closes_its_connection(ended):
    asker = Asker("registry")
    with pytest.raises(RegistryUnavailableError, match="no answer within 2 s"):
        await asker.ask("GET", f"https://127.0.0.1:{ended.port}/", timeout_s=2.0)
    # While the client lives: it is not its end that closes the connection.
    heard, writer = await asyncio.wait_for(ended.get(), DEADLINE_S)
    writer.close()
    await asker.aclose()
    assert heard.startswith(b"\x16\x03")
