"""The ASGI application."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse, Response

from trimtab.server.guards import SizeGuard, TokenGuard
from trimtab.server.http_api.routes import routes
from trimtab.server.refusals import Refusal
from trimtab.server.settings import Settings
from trimtab.server.state import RegistryState

if TYPE_CHECKING:
    import random
    from collections.abc import AsyncIterator

    from starlette.requests import Request

__all__ = ["create_app"]


def create_app(*, rng: random.Random | None = None, **settings: Any) -> Starlette:
    """Make the registry as an ASGI application, for a server of your own choice.

    State is read, and checks run, from the start of its lifespan to the end; the server must
    support the lifespan protocol and run it in one process.

    Args:
        rng: the source of all chance, for tests.
        settings: those of `trimtab.server.settings.Settings`.

    Raises:
        ConfigurationError: a setting is wrong.
    """
    chosen = Settings(**settings)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        app.state.registry = RegistryState(chosen, rng)
        try:
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
            404: _nothing_here,
            405: _wrong_method,
        },
    )


async def _refused(_: Request, refusal: Exception) -> Response:
    assert isinstance(refusal, Refusal)
    return PlainTextResponse(refusal.text, refusal.status, refusal.headers)


async def _nothing_here(_: Request, __: Exception) -> Response:
    return PlainTextResponse("", 404)


async def _wrong_method(request: Request, error: Exception) -> Response:
    headers = getattr(error, "headers", None)
    return PlainTextResponse(f"method {request.method} not allowed", 405, headers)
