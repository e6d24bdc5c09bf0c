"""What stands before the handlers: the token and the size limit."""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse

from trimtab.server.refusals import Refusal

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["SizeGuard", "TokenGuard"]


class TokenGuard:
    """Lets through who shows the token: X-Consul-Token, Authorization: Bearer, or ?token=.

    A wrong one gets 403 "ACL not found", none at all 403 "Permission denied": Consul would
    give an anonymous reader an empty list, which a client could take for the truth. The
    status endpoints are open, as in Consul: they say only that somebody is there.
    """

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app = app
        self._token = token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 403, or pass the request on."""
        if scope["type"] == "http" and not scope["path"].startswith("/v1/status/"):
            shown = _shown_token(scope)
            if not hmac.compare_digest(shown.encode(), self._token):
                text = "ACL not found" if shown else "Permission denied"
                await PlainTextResponse(text, 403)(scope, receive, send)
                return
        await self._app(scope, receive, send)


class SizeGuard:
    """Refuses request bodies above `limit` bytes with 413, announced or not."""

    def __init__(self, app: ASGIApp, limit: int) -> None:
        self._app = app
        self._limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 413, or pass the request on, counting."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        announced = Headers(scope=scope).get("content-length", "0")
        if int(announced) > self._limit:
            await PlainTextResponse(self._text, 413)(scope, receive, send)
            return
        await self._app(scope, self._counted(receive), send)

    @property
    def _text(self) -> str:
        return f"Request body too large: the limit is {self._limit} bytes"

    def _counted(self, receive: Receive) -> Receive:
        seen = 0

        async def counting() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > self._limit:
                raise Refusal(413, self._text)
            return message

        return counting


def _shown_token(scope: Scope) -> str:
    text: str = scope["query_string"].decode("latin-1")
    query = parse_qs(text)
    if "token" in query:
        return query["token"][-1]
    headers = Headers(scope=scope)
    scheme, _, credentials = headers.get("authorization", "").partition(" ")
    bearer = credentials.strip() if scheme.lower() == "bearer" else ""
    return headers.get("x-consul-token", bearer)
