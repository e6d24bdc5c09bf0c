"""The inner transports over a network in memory: what they know of their connections."""

from __future__ import annotations

import asyncio

import httpx
import httpx2
import pytest

from trimtab.http import AsyncInnerTransport, Family, InnerTransport

FAMILIES = pytest.mark.parametrize("module", [httpx, httpx2], ids=["httpx", "httpx2"])
ANSWER = [b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n", b"body"]


@FAMILIES
def test_it_is_quiet_until_a_request_and_after_its_body(module):
    family = Family(module)
    with InnerTransport(family, network=family.core.MockBackend(ANSWER * 2)) as transport:
        for _ in range(2):
            assert transport.is_quiet
            response = transport.handle_request(module.Request("GET", "http://orders/"))
            assert not transport.is_quiet
            assert response.read() == b"body"
            response.close()
        assert transport.is_quiet


@FAMILIES
def test_it_is_not_quiet_while_a_request_is_sent(module):
    async def main():
        family, is_quiet = Family(module), []

        class Network(family.core.AsyncMockBackend):
            async def connect_tcp(self, *args, **options):
                is_quiet.append(transport.is_quiet)
                return await super().connect_tcp(*args, **options)

        transport = AsyncInnerTransport(family, network=Network(ANSWER))
        async with module.AsyncClient(transport=transport) as client:
            assert (await client.get("http://orders/")).content == b"body"
            assert is_quiet == [False]
            assert transport.is_quiet

    asyncio.run(main())


@FAMILIES
def test_a_request_that_a_cancellation_kept_from_closing_is_noticed(module):
    """asyncio's cancellation reaches into what httpcore shields."""

    async def main():
        family, closing = Family(module), asyncio.Event()

        class Stream(family.core.AsyncMockStream):
            async def aclose(self):
                closing.set()
                await asyncio.Event().wait()

        class Network(family.core.AsyncMockBackend):
            async def connect_tcp(self, *args, **options):
                return Stream(ANSWER[:1])

        transport = AsyncInnerTransport(family, network=Network([]))
        response = await transport.handle_async_request(module.Request("GET", "http://orders/"))
        task = asyncio.create_task(response.aclose())
        await closing.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not transport.is_quiet

    asyncio.run(main())


@FAMILIES
def test_a_response_that_was_dropped_unread_is_noticed(module):
    family = Family(module)
    transport = InnerTransport(family, network=family.core.MockBackend(ANSWER))
    transport.handle_request(module.Request("GET", "http://orders/"))
    assert not transport.is_quiet
    transport.close()


@FAMILIES
def test_the_whole_request_reaches_httpcore(module):
    """The method, the target as it was written, the headers in their case, and the extensions."""
    family, written = Family(module), []

    class Stream(family.core.MockStream):
        def write(self, buffer, timeout=None):
            written.append((buffer, timeout))

    class Network(family.core.MockBackend):
        def connect_tcp(self, host, port, **options):
            written.append((host, port, options["timeout"], options["local_address"]))
            return Stream(list(ANSWER))

    request = module.Request(
        "PATCH",
        "http://orders:8080/a%2Fb?q=%C3%A4#not-sent",
        headers=[("X-Case", "Kept"), ("X-Twice", "1"), ("X-Twice", "2")],
        content=b"parcel",
        extensions={"timeout": {"connect": 1, "write": 2, "read": 3, "pool": 4}},
    )
    with InnerTransport(family, network=Network([]), local_address="127.0.0.9") as transport:
        response = transport.handle_request(request)
        assert (response.status_code, response.read()) == (200, b"body")
    assert written[0] == ("orders", 8080, 1, "127.0.0.9")
    assert {timeout for _, timeout in written[1:]} == {2}
    sent = b"".join(buffer for buffer, _ in written[1:])
    head, _, body = sent.partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    assert lines[0] == b"PATCH /a%2Fb?q=%C3%A4 HTTP/1.1"
    assert {b"Host: orders:8080", b"X-Case: Kept", b"X-Twice: 1", b"X-Twice: 2"} <= {*lines}
    assert body == b"parcel"


@FAMILIES
def test_a_target_of_the_callers_own_is_sent_as_it_is(module):
    family, written = Family(module), []

    class Stream(family.core.MockStream):
        def write(self, buffer, timeout=None):
            written.append(buffer)

    class Network(family.core.MockBackend):
        def connect_tcp(self, host, port, **options):
            return Stream(list(ANSWER))

    request = module.Request("OPTIONS", "http://orders/", extensions={"target": b"*"})
    with InnerTransport(family, network=Network([])) as transport:
        transport.handle_request(request).read()
    assert written[0].startswith(b"OPTIONS * HTTP/1.1\r\n")
