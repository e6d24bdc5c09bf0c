"""One question over HTTP: answers line by line, their bounds, and secrets that stay hidden."""

from __future__ import annotations

import asyncio
import base64
import gzip
import logging
from contextlib import aclosing

import httpx
import pytest

from trimtab.errors import RegistryAnswerError, RegistryUnavailableError
from trimtab.registries.asking import Answer, Asker, confided, parse_json, refusal, without

pytestmark = pytest.mark.anyio
URL = "http://registry.test/watch"
BASIC = base64.b64encode(b"alice:hunter2").decode()


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


async def test_a_line_is_bounded_and_the_stream_is_not():
    line = b"x" * 60 + b"\n"
    assert len(await collected(*[line] * 100, max_bytes=64)) == 100
    with pytest.raises(RegistryAnswerError, match="one line of the answer is larger than 64"):
        await collected(b"x" * 40, b"x" * 40, max_bytes=64)


@pytest.mark.parametrize(
    "encoding",
    ["gzip", "gzip, gzip, gzip", "x-gzip", "deflate", "br", "zstd", "identity, gzip", "?"],
)
async def test_compression_that_was_not_asked_for_is_refused_unread(encoding):
    body = Body(gzip.compress(b"one\n"), RuntimeError("the body was read"))
    answer = httpx.Response(200, headers={"content-encoding": encoding}, stream=body)
    with pytest.raises(RegistryAnswerError, match="is compressed"):
        await anext(lines_of(asker(answer)))
    with pytest.raises(RegistryAnswerError, match="is compressed"):
        await asker(answer).ask("GET", URL, timeout_s=1.0)


async def test_an_error_with_a_compressed_page_stays_that_error():
    body = Body(RuntimeError("the body was read"))
    answer = httpx.Response(503, headers={"content-encoding": "gzip"}, stream=body)
    with pytest.raises(RegistryUnavailableError, match="HTTP 503"):
        await anext(lines_of(asker(answer)))


@pytest.mark.parametrize("name", ["accept-encoding", "Accept-Encoding"])
async def test_no_setting_makes_it_ask_for_compression(name):
    asked = []

    async def handle(request):
        asked.append(request)
        return httpx.Response(200)

    subject = Asker("registry", headers={name: "gzip"}, transport=httpx.MockTransport(handle))
    await subject.ask("GET", URL, timeout_s=1.0)
    assert asked[0].headers.get_list("accept-encoding") == ["identity"]


async def test_numbers_written_as_text_are_read_where_that_is_meant():
    assert parse_json("here", b'"17"', int, strict=False) == 17
    with pytest.raises(RegistryAnswerError, match="here: the answer cannot be read"):
        parse_json("here", b'"17"', int)


@pytest.mark.parametrize(
    "url",
    ["http://h:1/x?index=5&wait=30s", "http://h:1/", "http://h/x%20y?a=b%26c", "http://[::1]/"],
)
def test_a_url_without_secrets_stays_as_it_is(url):
    assert confided(httpx.URL(url)) == (url, {})


def test_a_url_with_secrets_is_shown_without_and_sent_with_them():
    url = httpx.URL("http://alice:hunter2@h:1/x%20y/z?api_key=hunter3&a=b%26")
    shown, options = confided(url)
    assert shown == "http://h:1/x%20y/z?api_key=...&a=b%26"
    assert options["extensions"] == {"target": b"/x%20y/z?api_key=hunter3&a=b%26"}
    flow = options["auth"].auth_flow(httpx.Request("GET", shown))
    assert next(flow).headers["authorization"] == f"Basic {BASIC}"
    assert "auth" not in confided(httpx.URL("http://h/?token=x"))[1]


def request(url="http://h/x", headers=(), **extensions):
    return httpx.Request("GET", url, headers=dict(headers), extensions=extensions)


@pytest.mark.parametrize(
    ("sent", "said", "shown"),
    [
        (request(headers={"X-Consul-Token": "hunter2"}), "no ACL hunter2!", "no ACL ...!"),
        (request(headers={"Authorization": "Bearer hunter2"}), "bad: hunter2", "bad: ..."),
        (request(headers={"Authorization": f"Basic {BASIC}"}), f"Basic {BASIC}.", "...."),
        (request("http://h/x?api_key=hunter2&a=b"), "GET /x?api_key=hunter2&a=b",
         "GET /x?api_key=...&a=b"),
        (request("http://h/x?api_key=h%2Bunter"), "what is h+unter or h%2Bunter",
         "what is ... or ..."),
        (request(target=b"/x?token=hunter2"), "GET /x?token=hunter2", "GET /x?token=..."),
        (request("http://h/x?q=hunter2", {"Accept": "text"}), "hunter2 text", "hunter2 text"),
        (request("http://h/x?token=abc"), "abcdefg", "abcdefg"),
    ],
)  # fmt: skip
def test_secrets_of_a_question_are_not_repeated(sent, said, shown):
    assert without(said, sent) == shown
    assert Answer(500, httpx.Headers(), said.encode(), sent).detail == shown


async def test_a_transport_of_the_users_own_sees_the_whole_url(caplog):
    seen = []

    def serve(asked):
        seen.append(asked.url)
        return httpx.Response(200)

    asker = Asker("here", transport=httpx.MockTransport(serve))
    with caplog.at_level(logging.WARNING):
        await asker.ask("GET", "http://h/x", timeout_s=1.0, params={"token": "hunter2"})
    await asker.aclose()
    assert seen == ["http://h/x?token=hunter2"]
