"""/v1/status: is anybody there; asked without a token."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trimtab.server.http_api.queries import as_json

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response


async def leader(request: Request) -> Response:
    """GET /v1/status/leader: this server, under the address that the request came to."""
    return as_json(request, _address(request))


async def peers(request: Request) -> Response:
    """GET /v1/status/peers: this server alone."""
    return as_json(request, [_address(request)])


def _address(request: Request) -> str:
    host, port = request.scope.get("server") or ("127.0.0.1", 0)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
