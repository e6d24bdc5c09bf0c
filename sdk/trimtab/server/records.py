"""The records of the catalog, in the shapes of Consul's JSON.

The structs are the state and the wire format at once: msgspec writes them as they are, under
Consul's names. They are frozen; a change makes a new one.
"""

from __future__ import annotations

from typing import Any

import msgspec

__all__ = ["Check", "Node", "Service", "ServiceAddress", "Weights"]

_ACRONYMS = {"id": "ID"}
# Consul lists these for every instance; they mean "no service mesh".
_NO_PROXY: dict[str, Any] = {"MeshGateway": {}, "Expose": {}}


def consul_name(field: str) -> str:
    """Turn `service_id` into `ServiceID`."""
    return "".join(_ACRONYMS.get(part, part.capitalize()) for part in field.split("_"))


class Weights(msgspec.Struct, frozen=True, rename=consul_name):
    """A service's DNS weights: its share of the traffic in each state."""

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
    """One registered instance; `service` is the name of its service."""

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
    """One health check and its status; without a `service_id` it is a check of the whole node."""

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
