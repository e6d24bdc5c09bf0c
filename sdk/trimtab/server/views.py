"""Answers to questions about the catalog, ready to be written as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trimtab.server.records import Check, HealthEntry, InstanceView, Node, Service, instance_view

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trimtab.server.catalog import Catalog, Key

__all__ = [
    "checks_in_state",
    "checks_of_node",
    "checks_of_service",
    "health_entries",
    "instances",
    "service_tags",
    "services_on_node",
]


def health_entries(
    catalog: Catalog, name: str, *, tags: Sequence[str] = (), passing: bool = False
) -> list[HealthEntry]:
    """List a service's instances with their nodes and checks, by node and then id.

    `passing` drops those of which any check, also one of the node, is not passing.
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
    """Name all services, each with the tags that any of its instances has."""
    return {
        name: sorted({tag for service in group.values() for tag in service.tags})
        for name, group in sorted(catalog.by_name.items())
    }


def checks_of_service(catalog: Catalog, name: str) -> list[Check]:
    """List the checks of all instances of a service."""
    keys = sorted(catalog.by_name.get(name, {}))
    return [check for key in keys for check in _sorted_checks(catalog, key)]


def checks_in_state(catalog: Catalog, state: str) -> list[Check]:
    """List all checks in a state, or all there are for "any"."""
    return [check for _, check in sorted(catalog.checks.items()) if state in {"any", check.status}]


def checks_of_node(catalog: Catalog, node: str) -> list[Check]:
    """List the checks of a node and of all instances on it."""
    return [check for key, check in sorted(catalog.checks.items()) if key[0] == node]


def services_on_node(catalog: Catalog, node: str) -> tuple[Node, list[Service]] | None:
    """Give a node and its instances by id, or None when it is unknown."""
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
