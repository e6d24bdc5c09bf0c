"""What the registry keeps and what it answers, in the shapes of Consul's JSON.

The structs are the state and the wire format at once: msgspec writes them as they are, under
the names that Consul uses. They are frozen; a change makes a new one.
"""

from __future__ import annotations

from typing import Any

import msgspec

__all__ = [
    "AgentService",
    "Check",
    "HealthEntry",
    "InstanceView",
    "Node",
    "Service",
    "ServiceAddress",
    "Weights",
    "agent_view",
    "instance_view",
]

_ACRONYMS = {"id": "ID"}
# Consul lists these for every instance; they mean "no service mesh".
_NO_PROXY: dict[str, Any] = {"MeshGateway": {}, "Expose": {}}


def consul_name(field: str) -> str:
    """Turn `service_id` into `ServiceID`."""
    return "".join(_ACRONYMS.get(part, part.capitalize()) for part in field.split("_"))


class Weights(msgspec.Struct, frozen=True, rename=consul_name):
    """A service's DNS weights: how much traffic it wants in each state."""

    passing: int = 1
    warning: int = 1


class ServiceAddress(msgspec.Struct, frozen=True, rename=consul_name):
    """One of an instance's tagged addresses."""

    address: str
    port: int


class Node(msgspec.Struct, frozen=True, rename=consul_name):
    """A machine. The registry itself is one, and external ones come by catalog/register."""

    id: str
    node: str
    address: str
    datacenter: str = "dc1"
    tagged_addresses: dict[str, str] | None = None
    meta: dict[str, str] | None = None
    create_index: int = 0
    modify_index: int = 0


class Service(msgspec.Struct, frozen=True, rename=consul_name):
    """One registered instance; `service` is the name it goes by."""

    id: str
    service: str
    tags: tuple[str, ...] = ()
    address: str = ""
    tagged_addresses: dict[str, ServiceAddress] | msgspec.UnsetType = msgspec.UNSET
    meta: dict[str, str] = {}
    port: int = 0
    weights: Weights = Weights()
    enable_tag_override: bool = False
    proxy: dict[str, Any] = msgspec.field(default_factory=lambda: _NO_PROXY)
    connect: dict[str, Any] = {}
    create_index: int = 0
    modify_index: int = 0


class Check(msgspec.Struct, frozen=True, rename=consul_name):
    """One health check as it stands; without a `service_id` it speaks for the whole node."""

    node: str
    check_id: str
    name: str
    status: str = "critical"
    notes: str = ""
    output: str = ""
    service_id: str = ""
    service_name: str = ""
    service_tags: tuple[str, ...] = ()
    type: str = ""
    definition: dict[str, Any] = {}
    create_index: int = 0
    modify_index: int = 0


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
    """Show an instance the way the agent endpoints do."""
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
    """Show an instance the way catalog/service does."""
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
