"""The ASGI application: its routes, and the guards before them (the token, the size limit)."""

from __future__ import annotations

import hmac
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from starlette.applications import Starlette
from starlette.convertors import Convertor, register_url_convertor
from starlette.datastructures import Headers
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from trimtab.server.decoding import Refusal
from trimtab.server.http_api import agent, catalog, page
from trimtab.server.state import RegistryState, Settings

if TYPE_CHECKING:
    import random
    from collections.abc import AsyncIterator

    from starlette.requests import Request
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

_LENGTH_DIGITS = 20  # Python refuses to read a number of thousands of digits

__all__ = ["SizeGuard", "TokenGuard", "create_app", "routes"]


def create_app(*, rng: random.Random | None = None, **settings: Any) -> Starlette:
    """Make the registry as an ASGI application, for a server of your own choice.

    It reads its state and runs checks from the start of its lifespan to the end. The server must
    support the lifespan protocol and run the application in one process. How many connections there
    are, and what idle ones may hold, is up to that server; `EmbeddedRegistry` and `serve` bound it.

    Args:
        rng: the source of randomness, for tests.
        settings: those of `trimtab.server.state.Settings`.

    Raises:
        ConfigurationError: a setting is wrong.
    """
    chosen = Settings(**settings)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        app.state.registry = RegistryState(chosen, rng)
        try:
            await app.state.registry.settle()
            yield
        finally:
            await app.state.registry.aclose()

    middleware = [Middleware(SizeGuard, limit=chosen.max_body_bytes)]
    if chosen.token is not None:
        middleware.append(Middleware(TokenGuard, token=chosen.token))
    return Starlette(
        routes=routes(),
        lifespan=lifespan,
        middleware=middleware,
        exception_handlers={
            Refusal: _refused,
            404: _not_found,
            405: _wrong_method,
        },
    )


class RestOfPath(Convertor[str]):
    """The rest of a path, whatever it holds: Starlette's own `path` ends at a line break."""

    regex = r"(?s:.*)"

    def convert(self, value: str) -> str:
        """Return the text as it is."""
        return value

    def to_string(self, value: str) -> str:
        """Return the text as it is."""
        return value


register_url_convertor("rest", RestOfPath())


async def _refused(_: Request, refusal: Exception) -> Response:
    assert isinstance(refusal, Refusal)
    return PlainTextResponse(refusal.text, refusal.status, refusal.headers)


async def _not_found(_: Request, __: Exception) -> Response:
    return PlainTextResponse("", 404)


async def _wrong_method(request: Request, error: Exception) -> Response:
    headers = getattr(error, "headers", None)
    return PlainTextResponse(f"method {request.method} not allowed", 405, headers)


class TokenGuard:
    """Passes on requests with the token: X-Consul-Token, Authorization: Bearer, or ?token=.

    A wrong token gets 403 "ACL not found", a missing one 403 "Permission denied". (Consul gives
    anonymous readers an empty list, which a client could take for the truth.) The status
    endpoints need no token, as in Consul: they show only that the server is up.
    """

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app = app
        self._token = token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 403, or pass the request on."""
        if scope["type"] == "http" and not scope["path"].startswith("/v1/status/"):
            given = _token_of(scope)
            if not hmac.compare_digest(given.encode(), self._token):
                text = "ACL not found" if given else "Permission denied"
                await PlainTextResponse(text, 403)(scope, receive, send)
                return
        await self._app(scope, receive, send)


class SizeGuard:
    """Refuses request bodies above `limit` bytes with 413, with a Content-Length or without."""

    def __init__(self, app: ASGIApp, limit: int) -> None:
        self._app = app
        self._limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 413, or pass the request on and count its bytes."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        announced = Headers(scope=scope).get("content-length", "0")
        if len(announced) > _LENGTH_DIGITS or int(announced) > self._limit:
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


def _token_of(scope: Scope) -> str:
    text: str = scope["query_string"].decode("latin-1")
    query = parse_qs(text)
    if "token" in query:
        return query["token"][-1]
    headers = Headers(scope=scope)
    scheme, _, credentials = headers.get("authorization", "").partition(" ")
    bearer = credentials.strip() if scheme.lower() == "bearer" else ""
    return headers.get("x-consul-token", bearer)


def routes() -> list[Route]:
    """List all routes. Ids and names may contain slashes, so they take the rest of the path."""
    return [
        Route("/", page.overview),
        Route("/v1/agent/service/register", agent.register_service, methods=["PUT"]),
        Route(
            "/v1/agent/service/deregister/{name:rest}", agent.deregister_service, methods=["PUT"]
        ),
        Route("/v1/agent/service/maintenance/{name:rest}", agent.maintain_service, methods=["PUT"]),
        Route("/v1/agent/service/{name:rest}", agent.show_service),
        Route("/v1/agent/services", agent.list_services),
        Route("/v1/agent/check/register", agent.register_check, methods=["PUT"]),
        Route("/v1/agent/check/deregister/{name:rest}", agent.deregister_check, methods=["PUT"]),
        Route("/v1/agent/check/pass/{name:rest}", agent.heartbeat("passing"), methods=["PUT"]),
        Route("/v1/agent/check/warn/{name:rest}", agent.heartbeat("warning"), methods=["PUT"]),
        Route("/v1/agent/check/fail/{name:rest}", agent.heartbeat("critical"), methods=["PUT"]),
        Route("/v1/agent/check/update/{name:rest}", agent.update_check, methods=["PUT"]),
        Route("/v1/agent/checks", agent.list_checks),
        Route("/v1/agent/self", agent.show_self),
        Route("/v1/agent/members", agent.list_members),
        Route("/v1/health/service/{name:rest}", catalog.health_service),
        Route("/v1/health/checks/{name:rest}", catalog.health_checks),
        Route("/v1/health/state/{name:rest}", catalog.health_state),
        Route("/v1/health/node/{name:rest}", catalog.health_node),
        Route("/v1/catalog/register", catalog.catalog_register, methods=["PUT"]),
        Route("/v1/catalog/deregister", catalog.catalog_deregister, methods=["PUT"]),
        Route("/v1/catalog/services", catalog.catalog_services),
        Route("/v1/catalog/service/{name:rest}", catalog.catalog_service),
        Route("/v1/catalog/nodes", catalog.catalog_nodes),
        Route("/v1/catalog/node/{name:rest}", catalog.catalog_node),
        Route("/v1/catalog/datacenters", catalog.catalog_datacenters),
        Route("/v1/status/leader", catalog.status_leader),
        Route("/v1/status/peers", catalog.status_peers),
    ]
