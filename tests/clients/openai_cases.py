"""The package openai: https://github.com/openai/openai-python#configuring-the-http-client."""

from __future__ import annotations

import httpx
import openai
import pytest

BASE = "http://llm/openai/v1"
SAID = "Hold fast and steer small"
ASKED = {"model": "m", "messages": [{"role": "user", "content": "?"}]}
# Clients of both families are taken.
SYNC = pytest.mark.parametrize("make", [openai.DefaultHttpxClient, httpx.Client])
ASYNC = pytest.mark.parametrize("make", [openai.DefaultAsyncHttpxClient, httpx.AsyncClient])
pytestmark = [
    pytest.mark.anyio,
    # openai's own word on clients of httpx.
    pytest.mark.filterwarnings("ignore::DeprecationWarning:openai"),
]


def client_of(transport, make, **options):
    kind = openai.AsyncOpenAI if "Async" in make.__name__ else openai.OpenAI
    return kind(api_key="k", base_url=BASE, http_client=make(transport=transport), **options)


@SYNC
def test_no_idempotent_call_fails_when_an_instance_dies(fleet, make):
    with fleet.balanced() as transport, client_of(transport, make) as client:
        models = fleet.calls(lambda _: client.models.list().data[0].id)
    assert set(models[:60]) == {"a", "b", "c"}


@SYNC
def test_its_own_retries_bring_every_post_home(fleet, make):
    def ask(_):
        return client.chat.completions.create(**ASKED).choices[0].message.content

    with fleet.balanced() as transport, client_of(transport, make) as client:
        assert set(fleet.calls(ask)) == {SAID}


@SYNC
def test_a_stream_comes_piece_by_piece_and_may_be_left(fleet, make):
    with fleet.balanced() as transport, client_of(transport, make) as client:
        for number in range(30):
            if number == 10:
                fleet.kill()
            with client.chat.completions.create(**ASKED, stream=True, user="0.001") as stream:
                pieces = [chunk.choices[0].delta.content for chunk in stream]
            assert "".join(pieces) == SAID
            with client.chat.completions.create(**ASKED, stream=True, user="5") as stream:
                assert next(iter(stream)).choices[0].delta.content == "Hold"
            raw = client.chat.completions.with_raw_response.create(**ASKED)
            assert raw.parse().choices[0].message.content == SAID


@SYNC
def test_a_stream_whose_instance_dies_says_so(fleet, make):
    with fleet.balanced(strategy="round_robin") as transport:
        client = client_of(transport, make, max_retries=0)
        streams = [
            client.chat.completions.create(**ASKED, stream=True, user="0.3") for _ in range(6)
        ]
        fleet.kill()
        ended = [whole(stream) for stream in streams]
        client.close()
    assert ended.count(SAID) == 4
    assert ended.count(None) == 2


def whole(stream):
    try:
        return "".join(chunk.choices[0].delta.content for chunk in stream)
    except openai.APIConnectionError:
        return None


@ASYNC
async def test_asynchronous_calls_and_streams(fleet, make):
    async def ask(number):
        try:
            return await ask_once(number)
        except openai.APIConnectionError:  # a stream is the caller's to begin anew
            assert number % 2 == 0
            return await ask_once(number)

    async def ask_once(number):
        if number % 2:
            return (await client.models.list()).data[0].id
        stream = await client.chat.completions.create(**ASKED, stream=True, user="0.001")
        async with stream:
            if number % 4:
                return "".join([chunk.choices[0].delta.content async for chunk in stream])
            return (await anext(aiter(stream))).choices[0].delta.content

    with fleet.balanced() as transport:
        async with client_of(transport, make) as client:
            got = await fleet.async_calls(ask)
    assert {SAID, "Hold"} < set(got) <= {SAID, "Hold", "a", "b", "c"}
