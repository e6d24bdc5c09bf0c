"""/v1/catalog: services, instances and nodes without their health."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trimtab.server import external, views
from trimtab.server.definitions import read
from trimtab.server.http_api.health import index_of_service
from trimtab.server.http_api.queries import answer, as_json, required, state_of
from trimtab.server.indexes import NODES, SERVICES, service_topic
from trimtab.server.refusals import Refusal

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response


async def services(request: Request) -> Response:
    """GET /v1/catalog/services: names and their tags."""
    state = state_of(request)
    return await answer(
        request,
        [SERVICES, NODES],
        index_of=lambda: state.catalog.indexes.of(SERVICES, NODES),
        read=lambda: state.bodies.get(("tags",), lambda: views.service_tags(state.catalog)),
    )


async def service(request: Request) -> Response:
    """GET /v1/catalog/service/<name>?tag=."""
    name, catalog = required(request, "service name"), state_of(request).catalog
    tags = request.query_params.getlist("tag")
    return await answer(
        request,
        [service_topic(name)],
        index_of=index_of_service(catalog, name),
        read=lambda: views.instances(catalog, name, tags=tags),
    )


async def nodes(request: Request) -> Response:
    """GET /v1/catalog/nodes."""
    catalog = state_of(request).catalog
    return await answer(
        request,
        [NODES],
        index_of=lambda: catalog.indexes.of(NODES),
        read=lambda: [node for _, node in sorted(catalog.nodes.items())],
    )


async def node(request: Request) -> Response:
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


async def datacenters(request: Request) -> Response:
    """GET /v1/catalog/datacenters: the one."""
    return as_json(request, [state_of(request).settings.datacenter])


async def register(request: Request) -> Response:
    """PUT /v1/catalog/register: a node of somebody else's, with an instance and checks."""
    registration, state = read(await request.body(), external.Registration), state_of(request)
    _refuse_own_node(request, registration.node, "/v1/agent/service/register")
    external.register(state.catalog, registration, state.settings.datacenter)
    state.commit()
    return as_json(request, value=True)


async def deregister(request: Request) -> Response:
    """PUT /v1/catalog/deregister: such a node, or something on it."""
    deregistration, state = read(await request.body(), external.Deregistration), state_of(request)
    _refuse_own_node(request, deregistration.node, "/v1/agent/service/deregister")
    external.deregister(state.catalog, deregistration)
    state.commit()
    return as_json(request, value=True)


def _refuse_own_node(request: Request, node: str, instead: str) -> None:
    # A real agent would undo such a write within a minute, as it is not in its own list.
    if node == state_of(request).settings.node_name:
        raise Refusal(400, f'Node "{node}" is this registry\'s own; use {instead}')
