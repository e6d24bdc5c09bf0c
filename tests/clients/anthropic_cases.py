"""The package anthropic: https://github.com/anthropics/anthropic-sdk-python#configuring-the-http-client."""

from __future__ import annotations

import anthropic
import httpx2
import pytest

BASE = "http://llm/anthropic"
BROKEN = (anthropic.APIConnectionError, httpx2.TransportError)
SAID = "Hold fast and steer small"
ASKED = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "?"}]}
pytestmark = pytest.mark.anyio


def client_of(transport, **options):
    http = anthropic.DefaultHttpxClient(transport=transport)
    return anthropic.Anthropic(api_key="k", base_url=BASE, http_client=http, **options)


def paused(pause_s):
    return {**ASKED, "metadata": {"user_id": str(pause_s)}}


def test_no_idempotent_call_fails_when_an_instance_dies(fleet):
    with fleet.balanced() as transport, client_of(transport, max_retries=0) as client:
        models = fleet.calls(lambda _: client.models.list().data[0].id)
    assert set(models[:60]) == {"a", "b", "c"}


def test_its_own_retries_bring_every_post_home(fleet):
    def ask(_):
        return client.messages.create(**ASKED).content[0].text

    with fleet.balanced() as transport, client_of(transport) as client:
        assert set(fleet.calls(ask)) == {SAID}


def test_a_stream_comes_piece_by_piece_and_may_be_left(fleet):
    with fleet.balanced() as transport, client_of(transport) as client:
        for number in range(30):
            if number == 10:
                fleet.kill()
            with client.messages.stream(**paused(0.001)) as stream:
                assert "".join(stream.text_stream) == SAID
                assert stream.get_final_message().stop_reason == "end_turn"
            with client.messages.stream(**paused(5)) as stream:
                assert next(iter(stream)).type == "message_start"


def test_a_stream_whose_instance_dies_says_so(fleet):
    with fleet.balanced(strategy="round_robin") as transport:
        client = client_of(transport, max_retries=0)
        streams = [client.messages.create(**paused(0.2), stream=True) for _ in range(6)]
        fleet.kill()
        ended = [whole(stream) for stream in streams]
        client.close()
    assert ended.count("message_stop") == 4
    assert ended.count(None) == 2


def whole(stream):
    try:
        return [event.type for event in stream][-1]
    except BROKEN:
        return None


async def test_asynchronous_calls_and_streams(fleet):
    async def ask(number):
        try:
            return await ask_once(number)
        except BROKEN:  # a stream is the caller's to begin anew
            assert number % 2 == 0
            return await ask_once(number)

    async def ask_once(number):
        if number % 2:
            return (await client.models.list()).data[0].id
        async with client.messages.stream(**paused(0.001)) as stream:
            if number % 4:
                return "".join([text async for text in stream.text_stream])
            return (await anext(aiter(stream))).type

    with fleet.balanced() as transport:
        http = anthropic.DefaultAsyncHttpxClient(transport=transport)
        made = anthropic.AsyncAnthropic(api_key="k", base_url=BASE, http_client=http)
        async with made as client:
            got = await fleet.async_calls(ask)
    assert {SAID, "message_start"} < set(got) <= {SAID, "message_start", "a", "b", "c"}
