"""A service that speaks as much of each protocol as its clients ask for: `backend_program.py NAME`.

It prints its port once it listens. Of OpenAI's and Anthropic's APIs it has the list of models and
messages, whole and streamed; of OAuth 2, tokens that end after a second; and it has pages that may
be cached, server-sent events and web sockets.
"""

from __future__ import annotations

import asyncio
import json
import socket
import sys
import time

import uvicorn
from starlette.applications import Starlette
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocketDisconnect
from uvicorn.protocols.http.h11_impl import H11Protocol

NAME = sys.argv[1]
WORDS = ["Hold", " fast", " and", " steer", " small"]
TOKEN_S = 1.0
hits = 0


def main():
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(200)
        print(listening.getsockname()[1], flush=True)
        config = uvicorn.Config(app, http=Whole, ws="wsproto", log_level="warning", lifespan="off")
        uvicorn.Server(config).run([listening])


class Whole(H11Protocol):
    """Sends a head and a short body at once: no client repeats a call that has got a head."""

    def connection_made(self, transport):
        super().connection_made(OneWrite(transport))


class OneWrite:
    """A connection that sends together what is written in one turn of the loop."""

    def __init__(self, transport):
        self._transport, self._parts = transport, []

    def write(self, data):
        if not self._parts:
            asyncio.get_running_loop().call_soon(self._flush)
        self._parts.append(data)

    def close(self):
        self._flush()
        self._transport.close()

    def _flush(self):
        self._transport.write(b"".join(self._parts))
        self._parts.clear()

    def __getattr__(self, name):
        return getattr(self._transport, name)


async def who(request):
    return JSONResponse({"name": NAME, "headers": dict(request.headers)})


# -- OpenAI ----------------------------------------------------------------------------------------


async def openai_models(_request):
    model = {"id": NAME, "object": "model", "created": 1, "owned_by": "trimtab"}
    return JSONResponse({"object": "list", "data": [model]})


async def chat(request):
    asked = await request.json()
    about = {"id": "c1", "created": 1, "model": NAME}
    if asked.get("stream"):
        return events(_chunks(about), pause_s=_pause_s(asked))
    message = {"role": "assistant", "content": "".join(WORDS)}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    return JSONResponse({**about, "object": "chat.completion", "choices": [choice]})


def _chunks(about):
    for word in WORDS:
        choice = {"index": 0, "delta": {"content": word}, "finish_reason": None}
        chunk = {**about, "object": "chat.completion.chunk", "choices": [choice]}
        yield f"data: {json.dumps(chunk)}\n\n"
    yield "data: [DONE]\n\n"


# -- Anthropic -------------------------------------------------------------------------------------


async def anthropic_models(_request):
    model = {
        "type": "model",
        "id": NAME,
        "display_name": NAME,
        "created_at": "2026-01-01T00:00:00Z",
    }
    return JSONResponse({"data": [model], "has_more": False, "first_id": NAME, "last_id": NAME})


async def messages(request):
    asked = await request.json()
    message = {
        "id": "m1",
        "type": "message",
        "role": "assistant",
        "model": NAME,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {"input_tokens": 1, "output_tokens": 1},
    }
    if asked.get("stream"):
        return events(_steps(message), pause_s=_pause_s(asked))
    text = {"type": "text", "text": "".join(WORDS)}
    return JSONResponse({**message, "content": [text], "stop_reason": "end_turn"})


def _steps(message):
    def step(kind, **fields):
        return f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n"

    yield step("message_start", message=message)
    yield step("content_block_start", index=0, content_block={"type": "text", "text": ""})
    for word in WORDS:
        delta = {"type": "text_delta", "text": word}
        yield step("content_block_delta", index=0, delta=delta)
    yield step("content_block_stop", index=0)
    end = {"stop_reason": "end_turn", "stop_sequence": None}
    yield step("message_delta", delta=end, usage={"output_tokens": 5})
    yield step("message_stop")


# -- events and web sockets ------------------------------------------------------------------------


def events(texts, *, pause_s):
    async def body():
        for text in texts:
            yield text
            await asyncio.sleep(pause_s)

    return StreamingResponse(body(), media_type="text/event-stream")


def _pause_s(asked):
    return float(asked.get("metadata", {}).get("user_id") or asked.get("user") or 0)


async def ticks(request):
    """Number events up to `until`, on from the last one that the client has seen."""
    seen = int(request.headers.get("last-event-id", 0))
    until = int(request.query_params["until"])
    texts = (f"id: {n}\nretry: 10\ndata: {n} {NAME}\n\n" for n in range(seen + 1, until + 1))
    return events(texts, pause_s=0.01)


async def echo(websocket):
    await websocket.accept()
    try:
        while True:
            await websocket.send_text(f"{NAME}: {await websocket.receive_text()}")
    except WebSocketDisconnect:
        return


# -- pages that may be cached ----------------------------------------------------------------------


async def fresh(_request):
    global hits  # noqa: PLW0603 - a program of one file
    hits += 1
    return JSONResponse({"hits": hits}, headers={"cache-control": "max-age=600"})


async def checked(request):
    headers = {"cache-control": "no-cache", "etag": '"v1"'}
    if request.headers.get("if-none-match") == '"v1"':
        return Response(status_code=304, headers=headers)
    return Response(b"x" * 10_000, headers=headers)


# -- OAuth 2 ---------------------------------------------------------------------------------------


async def token(request):
    form = await request.body()
    if b"grant_type=client_credentials" not in form and b"grant_type=refresh_token" not in form:
        return JSONResponse({"error": "unsupported_grant_type"}, 400)
    until = time.time() + TOKEN_S
    answer = {"access_token": f"{until:.3f}", "token_type": "bearer", "expires_in": TOKEN_S}
    if b"refresh_token" in form or b"scope=offline" in form:
        answer["refresh_token"] = "again"
    return JSONResponse(answer)


async def guarded(request):
    scheme, _, until = request.headers.get("authorization", "").partition(" ")
    # Tokens have whole seconds in their clients, and are a moment on their way.
    if scheme != "Bearer" or time.time() > float(until) + 1.0:
        return JSONResponse({"error": "invalid_token"}, 401)
    return JSONResponse({"name": NAME, "token": until})


app = Starlette(
    routes=[
        Route("/who", who),
        Route("/openai/v1/models", openai_models),
        Route("/openai/v1/chat/completions", chat, methods=["POST"]),
        Route("/anthropic/v1/models", anthropic_models),
        Route("/anthropic/v1/messages", messages, methods=["POST"]),
        Route("/ticks", ticks),
        Route("/fresh", fresh),
        Route("/checked", checked),
        Route("/token", token, methods=["POST"]),
        Route("/guarded", guarded),
        WebSocketRoute("/echo", echo),
    ]
)

if __name__ == "__main__":
    main()
