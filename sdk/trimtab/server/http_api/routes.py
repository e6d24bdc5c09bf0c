"""Which path leads to which handler."""

from __future__ import annotations

from starlette.routing import Route

from trimtab.server.http_api import agent, catalog, health, page, status

__all__ = ["routes"]


def routes() -> list[Route]:
    """List all routes. Ids and names may contain slashes, so they take the rest of the path."""
    return [
        Route("/", page.overview),
        Route("/v1/agent/service/register", agent.register_service, methods=["PUT"]),
        Route(
            "/v1/agent/service/deregister/{name:path}", agent.deregister_service, methods=["PUT"]
        ),
        Route("/v1/agent/service/maintenance/{name:path}", agent.maintain_service, methods=["PUT"]),
        Route("/v1/agent/service/{name:path}", agent.show_service),
        Route("/v1/agent/services", agent.list_services),
        Route("/v1/agent/check/register", agent.register_check, methods=["PUT"]),
        Route("/v1/agent/check/deregister/{name:path}", agent.deregister_check, methods=["PUT"]),
        Route("/v1/agent/check/pass/{name:path}", agent.heartbeat("passing"), methods=["PUT"]),
        Route("/v1/agent/check/warn/{name:path}", agent.heartbeat("warning"), methods=["PUT"]),
        Route("/v1/agent/check/fail/{name:path}", agent.heartbeat("critical"), methods=["PUT"]),
        Route("/v1/agent/check/update/{name:path}", agent.update_check, methods=["PUT"]),
        Route("/v1/agent/checks", agent.list_checks),
        Route("/v1/agent/self", agent.show_self),
        Route("/v1/agent/members", agent.list_members),
        Route("/v1/health/service/{name:path}", health.service),
        Route("/v1/health/checks/{name:path}", health.checks),
        Route("/v1/health/state/{name:path}", health.in_state),
        Route("/v1/health/node/{name:path}", health.node),
        Route("/v1/catalog/register", catalog.register, methods=["PUT"]),
        Route("/v1/catalog/deregister", catalog.deregister, methods=["PUT"]),
        Route("/v1/catalog/services", catalog.services),
        Route("/v1/catalog/service/{name:path}", catalog.service),
        Route("/v1/catalog/nodes", catalog.nodes),
        Route("/v1/catalog/node/{name:path}", catalog.node),
        Route("/v1/catalog/datacenters", catalog.datacenters),
        Route("/v1/status/leader", status.leader),
        Route("/v1/status/peers", status.peers),
    ]
