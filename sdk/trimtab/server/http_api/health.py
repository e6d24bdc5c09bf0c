"""/v1/health: instances with their checks, the endpoint that discovery lives on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trimtab.server import views
from trimtab.server.http_api.queries import answer, flag, required, state_of
from trimtab.server.indexes import CHECKS, service_topic

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.requests import Request
    from starlette.responses import Response

    from trimtab.server.catalog import Catalog


async def service(request: Request) -> Response:
    """GET /v1/health/service/<name>?passing&tag=&index=&wait=."""
    name, passing = required(request, "service name"), flag(request, "passing")
    tags, state = tuple(request.query_params.getlist("tag")), state_of(request)
    return await answer(
        request,
        [service_topic(name)],
        index_of=index_of_service(state.catalog, name),
        read=lambda: state.bodies.get(
            ("health", name, tags, passing),
            lambda: views.health_entries(state.catalog, name, tags=tags, passing=passing),
        ),
    )


async def checks(request: Request) -> Response:
    """GET /v1/health/checks/<service>."""
    name, catalog = required(request, "service name"), state_of(request).catalog
    return await answer(
        request,
        [service_topic(name)],
        index_of=index_of_service(catalog, name),
        read=lambda: views.checks_of_service(catalog, name),
    )


async def in_state(request: Request) -> Response:
    """GET /v1/health/state/<any, passing, warning or critical>."""
    name, catalog = required(request, "check state"), state_of(request).catalog
    return await answer(
        request,
        [CHECKS],
        index_of=lambda: catalog.indexes.of(CHECKS),
        read=lambda: views.checks_in_state(catalog, name),
    )


async def node(request: Request) -> Response:
    """GET /v1/health/node/<node>."""
    name, catalog = required(request, "node name"), state_of(request).catalog
    return await answer(
        request,
        [CHECKS],
        index_of=lambda: catalog.indexes.of(CHECKS),
        read=lambda: views.checks_of_node(catalog, name),
    )


def index_of_service(catalog: Catalog, name: str) -> Callable[[], int]:
    """Make the function that gives a service's index as of when it is called."""
    return lambda: catalog.indexes.of_service(name, known=name in catalog.by_name)
