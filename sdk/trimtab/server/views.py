"""Answers to questions about the catalog, in the shapes of Consul's JSON.

Each function reads the catalog and returns records or structs that msgspec writes as they are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from trimtab.server.records import Check, Node, Service, ServiceAddress, Weights, consul_name

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trimtab.server.catalog import Catalog, Key
    from trimtab.server.records import Check, Node, Service

__all__ = [
    "AgentService",
    "HealthEntry",
    "InstanceView",
    "agent_view",
    "checks_in_state",
    "checks_of_node",
    "checks_of_service",
    "health_entries",
    "instance_view",
    "instances",
    "service_tags",
    "services_on_node",
]


class HealthEntry(msgspec.Struct, frozen=True, rename=consul_name):
    """An instance with its node and all checks that concern it."""

    node: Node
    service: Service
    checks: list[Check]


class AgentService(msgspec.Struct, frozen=True, rename=consul_name):
    """An instance as the agent endpoints show it."""

    id: str
    service: str
    tags: tuple[str, ...]
    meta: dict[str, str]
    port: int
    address: str
    weights: Weights
    enable_tag_override: bool
    tagged_addresses: dict[str, ServiceAddress] | msgspec.UnsetType = msgspec.UNSET
    content_hash: str | msgspec.UnsetType = msgspec.UNSET


class InstanceView(msgspec.Struct, frozen=True, rename=consul_name):
    """An instance as catalog/service shows it: flat, the node's fields first."""

    id: str
    node: str
    address: str
    datacenter: str
    tagged_addresses: dict[str, str] | None
    node_meta: dict[str, str] | None
    service_kind: str
    service_id: str
    service_name: str
    service_tags: tuple[str, ...]
    service_address: str
    service_weights: Weights
    service_meta: dict[str, str]
    service_port: int
    service_enable_tag_override: bool
    service_proxy: dict[str, Any]
    service_connect: dict[str, Any]
    create_index: int
    modify_index: int
    service_tagged_addresses: dict[str, ServiceAddress] | msgspec.UnsetType = msgspec.UNSET


def agent_view(service: Service) -> AgentService:
    """Return an instance in the form of the agent endpoints."""
    return AgentService(
        id=service.id,
        service=service.service,
        tags=service.tags,
        meta=service.meta,
        port=service.port,
        address=service.address,
        weights=service.weights,
        enable_tag_override=service.enable_tag_override,
        tagged_addresses=service.tagged_addresses,
    )


def instance_view(node: Node, service: Service) -> InstanceView:
    """Return an instance in the form of catalog/service."""
    return InstanceView(
        id=node.id,
        node=node.node,
        address=node.address,
        datacenter=node.datacenter,
        tagged_addresses=node.tagged_addresses,
        node_meta=node.meta,
        service_kind="",
        service_id=service.id,
        service_name=service.service,
        service_tags=service.tags,
        service_address=service.address,
        service_tagged_addresses=service.tagged_addresses,
        service_weights=service.weights,
        service_meta=service.meta,
        service_port=service.port,
        service_enable_tag_override=service.enable_tag_override,
        service_proxy=service.proxy,
        service_connect=service.connect,
        create_index=service.create_index,
        modify_index=service.modify_index,
    )


def health_entries(
    catalog: Catalog, name: str, *, tags: Sequence[str] = (), passing: bool = False
) -> list[HealthEntry]:
    """List a service's instances with their nodes and checks, by node and then id.

    With `passing`, an instance is listed only if all its checks and all its node's pass.
    """
    on_nodes: dict[str, list[Check]] = {}
    entries = []
    for key, service in sorted(catalog.by_name.get(name, {}).items()):
        if not _has_tags(service, tags):
            continue
        if key[0] not in on_nodes:
            on_nodes[key[0]] = _sorted_checks(catalog, (key[0], ""))
        checks = on_nodes[key[0]] + _sorted_checks(catalog, key)
        if passing and any(check.status != "passing" for check in checks):
            continue
        entries.append(HealthEntry(node=catalog.nodes[key[0]], service=service, checks=checks))
    return entries


def instances(catalog: Catalog, name: str, *, tags: Sequence[str] = ()) -> list[InstanceView]:
    """List a service's instances, flat, by node and then id."""
    return [
        instance_view(catalog.nodes[node], service)
        for (node, _), service in sorted(catalog.by_name.get(name, {}).items())
        if _has_tags(service, tags)
    ]


def service_tags(catalog: Catalog) -> dict[str, list[str]]:
    """List all services by name, each with the tags of all its instances."""
    return {
        name: sorted({tag for service in group.values() for tag in service.tags})
        for name, group in sorted(catalog.by_name.items())
    }


def checks_of_service(catalog: Catalog, name: str) -> list[Check]:
    """List the checks of all instances of a service."""
    keys = sorted(catalog.by_name.get(name, {}))
    return [check for key in keys for check in _sorted_checks(catalog, key)]


def checks_in_state(catalog: Catalog, state: str) -> list[Check]:
    """List all checks in a state; "any" stands for every state."""
    return [check for _, check in sorted(catalog.checks.items()) if state in {"any", check.status}]


def checks_of_node(catalog: Catalog, node: str) -> list[Check]:
    """List the checks of a node and of all instances on it."""
    return [check for key, check in sorted(catalog.checks.items()) if key[0] == node]


def services_on_node(catalog: Catalog, node: str) -> tuple[Node, list[Service]] | None:
    """Return a node and its instances by id, or None if it is unknown."""
    if node not in catalog.nodes:
        return None
    on_it = [service for key, service in sorted(catalog.services.items()) if key[0] == node]
    return catalog.nodes[node], on_it


def _has_tags(service: Service, tags: Sequence[str]) -> bool:
    return all(tag in service.tags for tag in tags)


def _sorted_checks(catalog: Catalog, key: Key) -> list[Check]:
    checks = catalog.checks_on.get(key)
    if not checks:
        return []
    return [checks[check_id] for check_id in sorted(checks)]
