"""Answers that go on: lines, their size, silence, and the end."""

from __future__ import annotations

import asyncio
import gzip
from contextlib import aclosing

import httpx
import pytest

from trimtab.errors import RegistryAnswerError, RegistryUnavailableError
from trimtab.registries.asking import Asker, parse_json, refusal

pytestmark = pytest.mark.anyio
URL = "http://registry.test/watch"


class Body(httpx.AsyncByteStream):
    """Gives its pieces; None stands for silence, an error is raised."""

    def __init__(self, *pieces):
        self.pieces, self.closed = pieces, False

    async def __aiter__(self):
        for piece in self.pieces:
            if piece is None:
                await asyncio.Event().wait()
            if isinstance(piece, Exception):
                raise piece
            yield piece

    async def aclose(self):
        self.closed = True


def asker(answer, **settings):
    async def handle(request):
        if answer is None:
            await asyncio.Event().wait()
        return answer

    return Asker("registry", transport=httpx.MockTransport(handle), **settings)


def lines_of(subject, *, timeout_s=1.0, silence_s=1.0):
    return subject.stream_lines(
        "POST",
        URL,
        timeout_s=timeout_s,
        silence_s=silence_s,
        refused=lambda answer: refusal("registry", answer),
    )


async def collected(*pieces, **settings):
    answer = httpx.Response(200, stream=Body(*pieces))
    return [each async for each in lines_of(asker(answer, **settings))]


async def test_lines_are_put_together_from_pieces():
    assert await collected(b"o", b"ne\ntwo\n\n  \nth", b"r", b"ee\n") == [b"one", b"two", b"three"]


async def test_what_follows_the_last_line_end_is_torn_and_left_out():
    assert await collected(b"one\ntw") == [b"one"]
    assert await collected() == []


async def test_closing_gives_the_connection_back():
    body = Body(b"one\n", None)
    async with aclosing(lines_of(asker(httpx.Response(200, stream=body)))) as lines:
        assert await anext(lines) == b"one"
    assert body.closed


async def test_cancelling_gives_the_connection_back():
    body = Body(None)
    task = asyncio.ensure_future(anext(lines_of(asker(httpx.Response(200, stream=body)))))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert body.closed


async def test_silence_is_told_apart_from_trouble():
    body = Body(b"one\nhalf a line", None)
    lines = lines_of(asker(httpx.Response(200, stream=body)), silence_s=0.02)
    assert await anext(lines) == b"one"
    with pytest.raises(TimeoutError):
        await anext(lines)
    assert body.closed


async def test_an_answer_that_does_not_begin_is_unavailable():
    with pytest.raises(RegistryUnavailableError, match=r"no answer within 0\.02 s"):
        await anext(lines_of(asker(None), timeout_s=0.02))


async def test_a_connection_that_breaks_is_unavailable():
    torn = httpx.RemoteProtocolError("incomplete chunked read")
    answer = httpx.Response(200, stream=Body(b"one\n", torn))
    lines = lines_of(asker(answer))
    assert await anext(lines) == b"one"
    with pytest.raises(RegistryUnavailableError, match="incomplete chunked read"):
        await anext(lines)


async def test_a_refusal_is_read_whole_and_told():
    with pytest.raises(RegistryUnavailableError, match="HTTP 503: later"):
        await anext(lines_of(asker(httpx.Response(503, text="later"))))


async def test_a_line_has_a_bound_and_the_stream_has_none():
    line = b"x" * 60 + b"\n"
    assert len(await collected(*[line] * 100, max_bytes=64)) == 100
    with pytest.raises(RegistryAnswerError, match="one line of the answer is larger than 64"):
        await collected(b"x" * 40, b"x" * 40, max_bytes=64)


async def test_broken_compression_is_an_unreadable_answer():
    body = gzip.compress(b"one\n")[:-4] + b"none"
    answer = httpx.Response(
        200, headers={"content-encoding": "gzip"}, stream=Body(b"not gzip", body)
    )
    with pytest.raises(RegistryAnswerError, match="broken compression"):
        await anext(lines_of(asker(answer)))


async def test_numbers_written_as_text_are_read_where_that_is_meant():
    assert parse_json("here", b'"17"', int, strict=False) == 17
    with pytest.raises(RegistryAnswerError, match="here: the answer cannot be read"):
        parse_json("here", b'"17"', int)
