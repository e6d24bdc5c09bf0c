"""/v1/catalog, /v1/health and /v1/status: what is registered, and in which state.

Discovery uses `/v1/health/service/<name>`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from trimtab.server import external, views
from trimtab.server.catalog import CHECKS, NODES, SERVICES, service_topic
from trimtab.server.decoding import Refusal, read
from trimtab.server.http_api.queries import answer, as_json, body_of, flag, required, state_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.requests import Request
    from starlette.responses import Response

    from trimtab.server.catalog import Catalog

__all__ = []


async def catalog_services(request: Request) -> Response:
    """GET /v1/catalog/services: names and their tags."""
    state = state_of(request)
    return await answer(
        request,
        [SERVICES, NODES],
        index_of=lambda: state.catalog.indexes.of(SERVICES, NODES),
        read=lambda: state.bodies.get(("tags",), lambda: views.service_tags(state.catalog)),
    )


async def catalog_service(request: Request) -> Response:
    """GET /v1/catalog/service/<name>?tag=."""
    name, catalog = required(request, "service name"), state_of(request).catalog
    tags = request.query_params.getlist("tag")
    return await answer(
        request,
        [service_topic(name)],
        index_of=index_of_service(catalog, name),
        read=lambda: views.instances(catalog, name, tags=tags),
    )


async def catalog_nodes(request: Request) -> Response:
    """GET /v1/catalog/nodes."""
    catalog = state_of(request).catalog
    return await answer(
        request,
        [NODES],
        index_of=lambda: catalog.indexes.of(NODES),
        read=lambda: [node for _, node in sorted(catalog.nodes.items())],
    )


async def catalog_node(request: Request) -> Response:
    """GET /v1/catalog/node/<node>: the node and its instances by id, or null."""

    def find() -> object:
        found = views.services_on_node(catalog, name)
        if found is None:
            return None
        return {"Node": found[0], "Services": {service.id: service for service in found[1]}}

    name, catalog = required(request, "node name"), state_of(request).catalog
    return await answer(
        request,
        [SERVICES, NODES],
        index_of=lambda: catalog.indexes.of(SERVICES, NODES),
        read=find,
    )


async def catalog_datacenters(request: Request) -> Response:
    """GET /v1/catalog/datacenters: the only one."""
    return as_json(request, [state_of(request).settings.datacenter])


async def catalog_register(request: Request) -> Response:
    """PUT /v1/catalog/register: an external node, with an instance and checks."""
    registration, state = read(await body_of(request), external.Registration), state_of(request)
    _refuse_own_node(request, registration.node, "/v1/agent/service/register")
    external.register(state.catalog, registration, state.settings.datacenter)
    state.commit()
    return as_json(request, value=True)


async def catalog_deregister(request: Request) -> Response:
    """PUT /v1/catalog/deregister: an external node, or an instance or check on it."""
    deregistration, state = read(await body_of(request), external.Deregistration), state_of(request)
    _refuse_own_node(request, deregistration.node, "/v1/agent/service/deregister")
    external.deregister(state.catalog, deregistration)
    state.commit()
    return as_json(request, value=True)


def _refuse_own_node(request: Request, node: str, instead: str) -> None:
    # A real agent would undo such a write within a minute, since its own list does not have it.
    if node == state_of(request).settings.node_name:
        raise Refusal(400, f'Node "{node}" is this registry\'s own; use {instead}')


async def health_service(request: Request) -> Response:
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


async def health_checks(request: Request) -> Response:
    """GET /v1/health/checks/<service>."""
    name, catalog = required(request, "service name"), state_of(request).catalog
    return await answer(
        request,
        [service_topic(name)],
        index_of=index_of_service(catalog, name),
        read=lambda: views.checks_of_service(catalog, name),
    )


async def health_state(request: Request) -> Response:
    """GET /v1/health/state/<any, passing, warning or critical>."""
    name, catalog = required(request, "check state"), state_of(request).catalog
    return await answer(
        request,
        [CHECKS],
        index_of=lambda: catalog.indexes.of(CHECKS),
        read=lambda: views.checks_in_state(catalog, name),
    )


async def health_node(request: Request) -> Response:
    """GET /v1/health/node/<node>."""
    name, catalog = required(request, "node name"), state_of(request).catalog
    return await answer(
        request,
        [CHECKS],
        index_of=lambda: catalog.indexes.of(CHECKS),
        read=lambda: views.checks_of_node(catalog, name),
    )


def index_of_service(catalog: Catalog, name: str) -> Callable[[], int]:
    """Return a function that returns the service's current index."""
    return lambda: catalog.indexes.of_service(name, known=name in catalog.by_name)


async def status_leader(request: Request) -> Response:
    """GET /v1/status/leader: this server, under the address that the request came to."""
    return as_json(request, _address(request))


async def status_peers(request: Request) -> Response:
    """GET /v1/status/peers: this server alone."""
    return as_json(request, [_address(request)])


def _address(request: Request) -> str:
    host, port = request.scope.get("server") or ("127.0.0.1", 0)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
