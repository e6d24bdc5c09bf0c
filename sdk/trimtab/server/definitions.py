"""Definitions of services and checks: what clients send when they register.

`read` in `trimtab.server.decoding` makes them of JSON, `checked()` refuses invalid
ones, and the functions at the end turn them into the catalog's records.
"""

from __future__ import annotations

import ipaddress
import re
from typing import ClassVar

import msgspec
from msgspec.structs import replace

from trimtab.server.decoding import Refusal
from trimtab.server.records import Check, Service, ServiceAddress, Weights

__all__ = [
    "CheckDefinition",
    "CheckUpdate",
    "ServiceDefinition",
    "check_record",
    "identified_checks",
    "service_record",
]

STATUSES = ("passing", "warning", "critical")
_META_KEY = re.compile(r"[a-zA-Z0-9_-]{1,128}")
_MAX_META_PAIRS = 64
_MAX_META_VALUE = 512
_MAX_PORT = 65535


class CheckDefinition(msgspec.Struct, frozen=True):
    """How to find out whether an instance is healthy. Field names are ours, times are seconds."""

    aliases: ClassVar[dict[str, str]] = {"id": "check_id", "scriptargs": "args"}

    check_id: str = ""
    name: str = ""
    service_id: str = ""
    notes: str = ""
    status: str = ""
    ttl_s: float = 0.0
    interval_s: float = 0.0
    timeout_s: float = 0.0
    success_before_passing: int = 0
    failures_before_critical: int = 0
    deregister_critical_service_after_s: float = 0.0
    http: str = ""
    method: str = ""
    header: dict[str, list[str]] = {}
    body: str = ""
    tls_skip_verify: bool = False
    tcp: str = ""
    args: list[str] = []
    output_max_size: int = 4096
    token: str = ""

    @property
    def type(self) -> str:
        """Name the kind: script, http, tcp or ttl."""
        if self.args:
            return "script"
        if self.http:
            return "http"
        return "tcp" if self.tcp else "ttl"

    def checked(self) -> CheckDefinition:
        """Return it if it is valid; the first error is the one that Consul reports first.

        Raises:
            Refusal: 400, with the reason.
        """
        if self.interval_s > 0 and self.ttl_s > 0:
            raise Refusal(400, "Invalid check: Interval and TTL cannot both be specified")
        if self.type != "ttl" and self.interval_s <= 0:
            raise Refusal(
                400, "Invalid check: Interval must be > 0 for Script, HTTP, or TCP checks"
            )
        if self.type == "ttl" and self.ttl_s <= 0:
            raise Refusal(400, "Invalid check: TTL must be > 0 for TTL checks")
        if self.status not in {"", *STATUSES}:
            raise Refusal(400, "Status for checks must 'passing', 'warning', 'critical'")
        return self


class ServiceDefinition(msgspec.Struct, frozen=True):
    """An instance to be registered, with its checks."""

    aliases: ClassVar[dict[str, str]] = {}
    nested: ClassVar[dict[str, type[msgspec.Struct]]] = {
        "check": CheckDefinition,
        "checks": CheckDefinition,
    }

    id: str = ""
    name: str = ""
    tags: tuple[str, ...] = ()
    address: str = ""
    tagged_addresses: dict[str, ServiceAddress] | None = None
    port: int = 0
    meta: dict[str, str] = {}
    weights: dict[str, int] | None = None
    check: CheckDefinition | None = None
    checks: list[CheckDefinition] = []
    enable_tag_override: bool = False
    token: str = ""

    def checked(self) -> ServiceDefinition:
        """Return it if it is valid.

        Raises:
            Refusal: 400, with the reason.
        """
        if not self.name:
            raise Refusal(400, "Missing service name")
        if _is_wildcard(self.address):
            raise Refusal(400, "Invalid service address")
        if not 0 <= self.port <= _MAX_PORT:
            raise Refusal(400, f"Invalid service port: {self.port} is not from 0 to {_MAX_PORT}")
        _check_meta(self.meta)
        self.weights_given()
        for check in self.all_checks():
            check.checked()
        return self

    def weights_given(self) -> Weights:
        """Return the weights: 1 and 1 if both are missing, else 0 for a missing one, as in Go."""
        if self.weights is None:
            return Weights()
        given = {name.lower(): value for name, value in self.weights.items()}
        weights = Weights(passing=given.pop("passing", 0), warning=given.pop("warning", 0))
        for name in given:
            raise Refusal(400, f'Request decode failed: json: unknown field "{name}"')
        if weights.passing < 1:
            raise Refusal(400, "Invalid Weights: Passing must be greater than 0")
        if weights.warning < 0:
            raise Refusal(400, "Invalid Weights: Warning must be greater or equal than 0")
        if max(weights.passing, weights.warning) > _MAX_PORT:
            raise Refusal(400, "Invalid Weights: DNS Weight must be between 0 and 65535")
        return weights

    def all_checks(self) -> list[CheckDefinition]:
        """List `Check` and then `Checks`; an empty `Check` is ignored."""
        alone = [self.check] if self.check and self.check != CheckDefinition() else []
        return [*alone, *self.checks]


class CheckUpdate(msgspec.Struct, frozen=True):
    """The body of check/update."""

    aliases: ClassVar[dict[str, str]] = {}

    status: str = ""
    output: str = ""


def _is_wildcard(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_unspecified
    except ValueError:
        return False


def _check_meta(meta: dict[str, str]) -> None:
    if len(meta) > _MAX_META_PAIRS:
        raise Refusal(400, f"Invalid Service Meta: more than {_MAX_META_PAIRS} pairs")
    for key, value in meta.items():
        if not _META_KEY.fullmatch(key):
            reason = "Key contains invalid characters"
        elif len(value) > _MAX_META_VALUE:
            reason = f"Value is too long (limit: {_MAX_META_VALUE} characters)"
        else:
            continue
        raise Refusal(
            400, f"Invalid Service Meta: Couldn't load metadata pair ('{key}', '{value}'): {reason}"
        )


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
