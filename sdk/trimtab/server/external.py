"""External nodes, for instances that cannot register themselves: catalog/register and deregister.

The registry does not check them: their checks keep the status that was written until the next
write.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import msgspec

from trimtab.server.decoding import Refusal
from trimtab.server.definitions import ServiceDefinition, service_record
from trimtab.server.records import Check, Node

if TYPE_CHECKING:
    from trimtab.server.catalog import Catalog

__all__ = ["Deregistration", "Registration", "deregister", "register"]


class ExternalService(ServiceDefinition, frozen=True):
    """An instance as catalog/register takes it: the name is in `Service`."""

    aliases: ClassVar[dict[str, str]] = {"service": "name"}


class ExternalCheck(msgspec.Struct, frozen=True):
    """A check with its result."""

    aliases: ClassVar[dict[str, str]] = {"id": "check_id"}

    node: str = ""
    check_id: str = ""
    name: str = ""
    status: str = "critical"
    notes: str = ""
    output: str = ""
    service_id: str = ""
    service_name: str = ""
    type: str = ""
    definition: dict[str, object] = {}


class Registration(msgspec.Struct, frozen=True):
    """The body of catalog/register."""

    nested: ClassVar[dict[str, type[msgspec.Struct]]] = {
        "service": ExternalService,
        "check": ExternalCheck,
        "checks": ExternalCheck,
    }

    node: str = ""
    id: str = ""
    address: str = ""
    datacenter: str = ""
    tagged_addresses: dict[str, str] | None = None
    node_meta: dict[str, str] | None = None
    service: ExternalService | None = None
    check: ExternalCheck | None = None
    checks: list[ExternalCheck] = []
    skip_node_update: bool = False


class Deregistration(msgspec.Struct, frozen=True):
    """The body of catalog/deregister: names a check, or an instance, or else the whole node."""

    node: str = ""
    datacenter: str = ""
    service_id: str = ""
    check_id: str = ""


def register(catalog: Catalog, registration: Registration, datacenter: str) -> None:
    """Write a node, and an instance and checks on it.

    Raises:
        Refusal: 500 with what is missing, 400 for a wrong field of the instance.
    """
    name = registration.node
    if not name:
        raise Refusal(500, "Must provide node")
    if not registration.address and not registration.skip_node_update:
        raise Refusal(500, "Must provide address if SkipNodeUpdate is not set")
    service = registration.service.checked() if registration.service else None
    service_id = (service.id or service.name) if service else ""
    checks = [registration.check] if registration.check else []
    checks += registration.checks
    for check in checks:
        _refuse_orphan(catalog, name, check.service_id, service_id)
    if not registration.skip_node_update or name not in catalog.nodes:
        catalog.put_node(
            Node(
                id=registration.id,
                node=name,
                address=registration.address,
                datacenter=datacenter,
                tagged_addresses=registration.tagged_addresses,
                meta=registration.node_meta,
            )
        )
    if service:
        catalog.put_service(name, service_record(service, service_id))
    for check in checks:
        catalog.put_check(_check_record(catalog, name, check))


def deregister(catalog: Catalog, deregistration: Deregistration) -> None:
    """Remove what is named, if it exists.

    Raises:
        Refusal: 500, no node is named.
    """
    name = deregistration.node
    if not name:
        raise Refusal(500, "Must provide node")
    if deregistration.check_id:
        catalog.remove_check(name, deregistration.check_id)
    elif deregistration.service_id:
        catalog.remove_service(name, deregistration.service_id)
    else:
        catalog.remove_node(name)


def _refuse_orphan(catalog: Catalog, node: str, service_id: str, new_service_id: str) -> None:
    if service_id not in {"", new_service_id} and (node, service_id) not in catalog.services:
        raise Refusal(500, f'ServiceID "{service_id}" does not exist on node "{node}"')


def _check_record(catalog: Catalog, node: str, check: ExternalCheck) -> Check:
    service = catalog.services.get((node, check.service_id))
    return Check(
        node=node,
        check_id=check.check_id or check.name,
        name=check.name,
        status=check.status,
        notes=check.notes,
        output=check.output,
        service_id=check.service_id,
        service_name=service.service if service else "",
        service_tags=service.tags if service else (),
        type=check.type,
    )
