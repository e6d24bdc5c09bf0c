"""/v1/agent: the instances on this node, their registration and their heartbeats."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace
from starlette.responses import Response

from trimtab.server.decoding import Refusal, read
from trimtab.server.definitions import STATUSES, CheckDefinition, CheckUpdate, ServiceDefinition
from trimtab.server.http_api.queries import as_json, body_of, flag, required, state_of
from trimtab.server.views import agent_view

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.requests import Request


async def register_service(request: Request) -> Response:
    """PUT /v1/agent/service/register."""
    definition = read(await body_of(request), ServiceDefinition).checked()
    state = state_of(request)
    state.agent.register_service(
        definition,
        state.now,
        replace_existing_checks=flag(request, "replace-existing-checks"),
    )
    state.commit()
    return Response()


async def deregister_service(request: Request) -> Response:
    """PUT /v1/agent/service/deregister/<id>."""
    state = state_of(request)
    state.agent.deregister_service(request.path_params["name"])
    state.commit()
    return Response()


async def maintain_service(request: Request) -> Response:
    """PUT /v1/agent/service/maintenance/<id>?enable=true&reason=."""
    service_id = required(request, "service ID")
    if not request.query_params.get("enable"):
        raise Refusal(400, "Missing value for enable")
    try:
        enable = flag(request, "enable")
    except Refusal:
        value = request.query_params["enable"]
        raise Refusal(400, f'Invalid value for enable: "{value}"') from None
    state = state_of(request)
    reason = request.query_params.get("reason", "")
    state.agent.maintain(service_id, enable=enable, reason=reason)
    state.commit()
    return Response()


async def register_check(request: Request) -> Response:
    """PUT /v1/agent/check/register."""
    definition = read(await body_of(request), CheckDefinition)
    state = state_of(request)
    state.agent.register_check(definition, state.now)
    state.commit()
    return Response()


async def deregister_check(request: Request) -> Response:
    """PUT /v1/agent/check/deregister/<id>."""
    state = state_of(request)
    state.agent.deregister_check(request.path_params["name"])
    state.commit()
    return Response()


def heartbeat(status: str) -> Callable[[Request], Awaitable[Response]]:
    """Make PUT /v1/agent/check/pass, warn or fail/<id>?note=."""

    async def handle(request: Request) -> Response:
        state = state_of(request)
        note = request.query_params.get("note", "")
        state.agent.heartbeat(request.path_params["name"], status, note, now=state.now)
        state.commit()
        return Response()

    return handle


async def update_check(request: Request) -> Response:
    """PUT /v1/agent/check/update/<id> with Status and Output."""
    update = read(await body_of(request), CheckUpdate)
    if update.status not in STATUSES:
        raise Refusal(400, f"Invalid check status: '{update.status}'")
    state = state_of(request)
    check_id = request.path_params["name"]
    state.agent.heartbeat(check_id, update.status, update.output, now=state.now)
    state.commit()
    return Response()


async def list_services(request: Request) -> Response:
    """GET /v1/agent/services."""
    state = state_of(request)
    own = state.settings.node_name
    services = sorted(state.catalog.services.items())
    return as_json(
        request, {id_: agent_view(service) for (node, id_), service in services if node == own}
    )


async def show_service(request: Request) -> Response:
    """GET /v1/agent/service/<id>."""
    state = state_of(request)
    service_id = request.path_params["name"]
    service = state.catalog.services.get((state.settings.node_name, service_id))
    if service is None:
        raise Refusal(404, f"unknown service ID: {service_id}")
    view = agent_view(service)
    digest = hashlib.blake2b(msgspec.json.encode(view), digest_size=8).hexdigest()
    response = as_json(request, replace(view, content_hash=digest))
    response.headers["X-Consul-ContentHash"] = digest
    return response


async def list_checks(request: Request) -> Response:
    """GET /v1/agent/checks."""
    state = state_of(request)
    own, checks = state.settings.node_name, sorted(state.catalog.checks.items())
    return as_json(
        request,
        {
            check_id: check
            for (node, check_id), check in checks
            # In Consul the node's own liveness belongs to Serf, not to the agent's checks.
            if node == own and check_id != "serfHealth"
        },
    )


async def show_self(request: Request) -> Response:
    """GET /v1/agent/self, the part of it that clients read."""
    state = state_of(request)
    node = state.catalog.nodes[state.settings.node_name]
    return as_json(
        request,
        {
            "Config": {
                "Datacenter": node.datacenter,
                "NodeName": node.node,
                "NodeID": node.id,
                "Revision": "",
                "Server": True,
                "Version": "1.8.7",
            },
            "DebugConfig": {"EnableRemoteScriptChecks": state.settings.enable_script_checks},
            "Coord": None,
            "Member": _member(request),
            "Stats": {"agent": {"services": str(len(state.catalog.services))}},
            "Meta": node.meta,
        },
    )


async def list_members(request: Request) -> Response:
    """GET /v1/agent/members: this one."""
    return as_json(request, [_member(request)])


def _member(request: Request) -> dict[str, object]:
    state = state_of(request)
    node = state.catalog.nodes[state.settings.node_name]
    return {
        "Name": node.node,
        "Addr": node.address,
        "Port": request.url.port or 0,
        "Tags": {"dc": node.datacenter, "id": node.id, "role": "consul"},
        "Status": 1,
        "ProtocolMin": 1,
        "ProtocolMax": 5,
        "ProtocolCur": 2,
        "DelegateMin": 2,
        "DelegateMax": 5,
        "DelegateCur": 4,
    }
