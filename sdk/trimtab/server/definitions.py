"""What clients may send when they register: service and check definitions, checked.

Consul reads JSON as Go does: field names in any case (and in snake case), null means "not
given", durations are texts like `10s`, and a field it does not know is refused by name.
"""

from __future__ import annotations

import ipaddress
import re
from functools import cache
from typing import Any, ClassVar, TypeVar

import msgspec

from trimtab.server.durations import duration_s
from trimtab.server.records import ServiceAddress, Weights
from trimtab.server.refusals import Refusal

__all__ = ["CheckDefinition", "CheckUpdate", "ServiceDefinition", "read"]

STATUSES = ("passing", "warning", "critical")
_UNSUPPORTED = ("kind", "proxy", "connect", "grpc", "dockercontainerid", "aliasnode")
_META_KEY = re.compile(r"[a-zA-Z0-9_-]{1,128}")
_MAX_META_PAIRS = 64
_MAX_META_VALUE = 512
_MAX_PORT = 65535

StructT = TypeVar("StructT", bound=msgspec.Struct)


class CheckDefinition(msgspec.Struct, frozen=True):
    """How to find out whether an instance is well. Field names are ours, times are seconds."""

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
        """Give it back if it makes sense, in Consul's order of complaints.

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
    """An instance that wants to be registered, with its checks."""

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
        """Give it back if it makes sense.

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
        """Read the weights: 1 and 1 when none are given, else a missing one is 0, as in Go."""
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
        """List `Check` and then `Checks`; a `Check` with nothing in it is none."""
        alone = [self.check] if self.check and self.check != CheckDefinition() else []
        return [*alone, *self.checks]


class CheckUpdate(msgspec.Struct, frozen=True):
    """The body of check/update."""

    aliases: ClassVar[dict[str, str]] = {}

    status: str = ""
    output: str = ""


def read(body: bytes, kind: type[StructT]) -> StructT:
    """Read a JSON body into one of the structs above, or any other of the same make.

    Raises:
        Refusal: 400; the text names the field at fault.
    """
    if not body.strip():
        raise Refusal(400, "Request decode failed: EOF")
    try:
        return msgspec.convert(_named(msgspec.json.decode(body), kind), kind)
    except msgspec.ValidationError as error:
        raise Refusal(400, f"Request decode failed: {error}") from None
    except msgspec.DecodeError as error:
        reason = "unexpected EOF" if "truncated" in str(error) else str(error)
        raise Refusal(400, f"Request decode failed: {reason}") from None
    except (UnicodeDecodeError, RecursionError) as error:
        raise Refusal(400, f"Request decode failed: {error}") from None


def _named(raw: Any, kind: type[msgspec.Struct]) -> dict[str, Any]:
    """Give the fields our names, drop nulls, read durations; all that Go does on the way."""
    if not isinstance(raw, dict):
        raise Refusal(400, f"Request decode failed: Expected `object`, got `{_go_type(raw)}`")
    known, nested, named = _known_names(kind), getattr(kind, "nested", {}), {}
    for given, value in raw.items():
        plain = _plain(given)
        field = known.get(plain)
        if field is None:
            _refuse_unknown(given, plain, value)
        elif value is None:
            continue
        elif field in nested:
            named[field] = _nested(value, nested[field])
        else:
            named[field] = _duration(value) if field.endswith("_s") else value
    return named


def _nested(value: Any, kind: type[msgspec.Struct]) -> Any:
    return (
        [_named(each, kind) for each in value] if isinstance(value, list) else _named(value, kind)
    )


def _refuse_unknown(given: str, plain: str, value: Any) -> None:
    if plain not in _UNSUPPORTED:
        raise Refusal(400, f'Request decode failed: json: unknown field "{given}"')
    if value:
        raise Refusal(400, f"{given} is not supported by this registry; leave it out")


def _duration(value: Any) -> float:
    try:
        return duration_s(value)
    except ValueError as error:
        raise Refusal(400, f"Request decode failed: {error}") from None


@cache
def _known_names(kind: type[msgspec.Struct]) -> dict[str, str]:
    fields = kind.__struct_fields__
    aliases: dict[str, str] = getattr(kind, "aliases", {})
    return {_plain(field.removesuffix("_s")): field for field in fields} | aliases


def _plain(name: str) -> str:
    return name.lower().replace("_", "")


def _go_type(value: Any) -> str:
    return {list: "array", str: "string", bool: "bool", type(None): "null"}.get(
        type(value), "number"
    )


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
