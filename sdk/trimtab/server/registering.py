"""From what a client sent to what the catalog keeps."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

from trimtab.server.records import Check, Service, ServiceAddress

if TYPE_CHECKING:
    from trimtab.server.definitions import CheckDefinition, ServiceDefinition

__all__ = ["check_record", "identified_checks", "service_record"]


def service_record(definition: ServiceDefinition, service_id: str) -> Service:
    """Make the instance; an address that is an IP is also listed by its family, as in Consul."""
    tagged = dict(definition.tagged_addresses or {})
    family = "ipv6" if ":" in definition.address else "ipv4"
    if definition.address[:1].isdigit() or family == "ipv6":
        for side in ("lan", "wan"):
            own = ServiceAddress(address=definition.address, port=definition.port)
            tagged.setdefault(f"{side}_{family}", own)
    return Service(
        id=service_id,
        service=definition.name,
        tags=definition.tags,
        address=definition.address,
        tagged_addresses=tagged or msgspec.UNSET,
        meta=definition.meta,
        port=definition.port,
        weights=definition.weights_given(),
        enable_tag_override=definition.enable_tag_override,
    )


def identified_checks(definition: ServiceDefinition, service_id: str) -> list[CheckDefinition]:
    """List an instance's checks with their ids and names filled in.

    A single one is `service:<id>`, several are `service:<id>:1` and so on, by their place.
    """
    checks = definition.all_checks()
    default = f"service:{service_id}"
    return [
        replace(
            check,
            check_id=check.check_id or (f"{default}:{place}" if len(checks) > 1 else default),
            name=check.name or f"Service '{definition.name}' check",
            service_id=service_id,
        )
        for place, check in enumerate(checks, start=1)
    ]


def check_record(
    definition: CheckDefinition, node: str, service: Service | None, old: Check | None
) -> Check:
    """Make the check; one that is registered again keeps its status and output."""
    return Check(
        node=node,
        check_id=definition.check_id,
        name=definition.name,
        status=old.status if old else definition.status or "critical",
        notes=definition.notes,
        output=old.output if old else "",
        service_id=definition.service_id,
        service_name=service.service if service else "",
        service_tags=service.tags if service else (),
        type=definition.type,
    )
