"""Nacos's open API: the paths of its versions, its login, its answers, and its instances.

Nacos has weights, health and metadata of its own; zone, priority, scheme and our ids are in the
metadata. A healthy instance that must get no traffic (it drains) is registered with weight 0, so
that other clients spare it too: a disabled one would vanish from all lists.

Source: nacos.io, "Open API Guide" of versions 1 to 3, and the controllers of alibaba/nacos where
it is silent: version 2's heartbeat, which it leaves out, wants the group in the service's name.
"""

from __future__ import annotations

import asyncio
import json
import math
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import httpx
import msgspec

from trimtab.errors import RegistryDeniedError, RegistryRequestError, RegistryUnavailableError
from trimtab.instance import Instance, Status
from trimtab.registries.asking import Answer, parse_json, refusal
from trimtab.registries.entries import check_protocol, gather, take_priority, text_or_json

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from trimtab.registries.members import Members

__all__ = [
    "DIALECTS",
    "Dialect",
    "LoggedIn",
    "Result",
    "read_hosts",
    "registration",
    "result_of",
]

_REFUSED = (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN)
_RENEW_RATIO = 0.9
_DENIED = 10001
_SERVER_ERROR = 30000
_ID = "trimtab.id"
_OWN_METADATA = (_ID, "scheme", "secure", "status", "weight", "zone")
"""The keys of the metadata that carry an instance's own fields, besides `priority`; `secure` is
Spring Cloud's."""
_DUBBO = "dubbo"
"""Dubbo's providers tell their version by this key."""
_PRESERVED = "preserved."
_SCHEMES = ("http", "https")
_MAX_WEIGHT = 10_000.0
_WITH_TRAFFIC = (Status.PASSING, Status.WARNING)
_HEARTBEATS_PER_TTL = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """The paths and parameters of one version of the API.

    Attributes:
        instances: the path of instances.
        clusters: the parameter that names the clusters of a list.
        beat: method and path of the heartbeat.
        beat_params: the parameters that mark it as one.
        beat_names_group: whether the heartbeat's service name holds the group.
        login: the path of the login.
        services: the path that names all services; "" where clients have no such question.
    """

    instances: str
    clusters: str = "clusterName"
    beat: tuple[str, str]
    beat_params: Mapping[str, str] = field(default_factory=dict)
    beat_names_group: bool = False
    login: str = "/v1/auth/login"
    services: str = ""


DIALECTS: Mapping[str, Dialect] = MappingProxyType(
    {
        "v1": Dialect(
            instances="/v1/ns/instance",
            clusters="clusters",
            beat=("PUT", "/v1/ns/instance/beat"),
            beat_names_group=True,
            services="/v1/ns/service/list",
        ),
        "v2": Dialect(
            instances="/v2/ns/instance",
            beat=("PUT", "/v2/ns/instance/beat"),
            beat_names_group=True,
            services="/v2/ns/service/list",
        ),
        "v3": Dialect(
            instances="/v3/client/ns/instance",
            beat=("POST", "/v3/client/ns/instance"),
            beat_params={"heartBeat": "true"},
            login="/v3/auth/user/login",
        ),
    }
)


class _Token(msgspec.Struct, rename="camel"):
    access_token: str
    token_ttl: float = 0.0


class Result(msgspec.Struct):
    """An answer of versions 2 and 3: `data` counts if `code` is 0."""

    code: int
    data: msgspec.Raw
    message: str | None = None


@dataclass(frozen=True, slots=True)
class _Held:
    token: str
    until: float


class LoggedIn:
    """Asks with the token of a login, and logs in again before it expires or when it is refused.

    Args:
        place: how messages name the registry.
        members: the servers to ask.
        login: user and password; None asks without a token.
        path: where the login is.
    """

    def __init__(
        self, place: str, members: Members, login: tuple[str, str] | None, path: str
    ) -> None:
        self._place, self._members = place, members
        self._login, self._path = login, path
        self._held: _Held | None = None

    async def ask(self, method: str, path: str, params: Mapping[str, str]) -> Answer:
        """Send one question; another one if the token of the first is no longer good.

        Raises:
            RegistryUnavailableError: no answer.
            RegistryDeniedError: the login is refused.
        """
        if self._login is None:
            return await self._members.ask(method, path, params=params)
        held = await self._token(self._login)
        answer = await self._send(method, path, params, held)
        if answer.status not in _REFUSED:
            return answer
        if self._held is held:
            self._held = None
        return await self._send(method, path, params, await self._token(self._login))

    async def aclose(self) -> None:
        """Close the connections."""
        await self._members.aclose()

    async def _send(self, method: str, path: str, params: Mapping[str, str], held: _Held) -> Answer:
        params = {**params, "accessToken": held.token}
        return await self._members.ask(method, path, params=params)

    async def _token(self, login: tuple[str, str]) -> _Held:
        now = asyncio.get_running_loop().time()
        if self._held is not None and now < self._held.until:
            return self._held
        body = {"username": login[0], "password": login[1]}
        answer = await self._members.ask("POST", self._path, data=body)
        place = f"{self._place}: login"
        if answer.status != httpx.codes.OK:
            raise refusal(place, answer)
        token: _Token = parse_json(place, answer.body, _Token)
        self._held = _Held(token.access_token, now + token.token_ttl * _RENEW_RATIO)
        return self._held


def result_of(place: str, answer: Answer) -> msgspec.Raw:
    """Return the data of an answer, out of its wrapping if there is one.

    Raises:
        RegistryError: the answer is a refusal, by its status or by the code in it.
    """
    if answer.status != httpx.codes.OK:
        raise refusal(place, answer)
    try:
        result = msgspec.json.decode(answer.body, type=Result)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return msgspec.Raw(answer.body)  # Version 1 does not wrap; the caller parses it.
    if result.code == 0:
        return result.data
    message = f"{place}: code {result.code}: {result.message}"
    if result.code == _DENIED:
        raise RegistryDeniedError(f"{message}; check the login or its rights")
    if result.code >= _SERVER_ERROR:
        raise RegistryUnavailableError(message)
    raise RegistryRequestError(message)


class _Host(msgspec.Struct, rename="camel"):
    ip: str
    port: int
    instance_id: str = ""
    weight: float = 1.0
    healthy: bool = True
    enabled: bool = True
    cluster_name: str = ""
    metadata: dict[str, Any] | None = None


class _Service(msgspec.Struct):
    hosts: list[msgspec.Raw]


def read_hosts(place: str, data: msgspec.Raw) -> tuple[tuple[Instance, ...], tuple[str, ...]]:
    """Read a service with its `hosts`, or just these: the instances, and what was skipped.

    Raises:
        RegistryAnswerError: it is of another shape, or nothing in it can be read.
    """
    found: list[msgspec.Raw] | _Service = parse_json(
        place, bytes(data), list[msgspec.Raw] | _Service
    )
    hosts = found.hosts if isinstance(found, _Service) else found

    def read(raw: msgspec.Raw) -> Instance:
        return _instance(parse_json("this entry", bytes(raw), _Host))

    return gather(hosts, read, place=place)


def registration(
    instance: Instance, *, ttl_s: float, delete_after_s: float, clusters: Sequence[str]
) -> dict[str, str]:
    """Write the parameters that register an instance, besides those that name the service."""
    weight = instance.weight if instance.status in _WITH_TRAFFIC else 0.0
    weight = min(weight, _MAX_WEIGHT)
    lease = {
        "heart.beat.interval": ttl_s / _HEARTBEATS_PER_TTL,
        "heart.beat.timeout": ttl_s,
        "ip.delete.timeout": max(delete_after_s, 2 * ttl_s),
    }
    own = {
        _ID: instance.id if instance.id != instance.address else "",
        "zone": instance.zone,
        "priority": str(instance.priority or ""),
        "scheme": instance.scheme or "",
        "weight": repr(instance.weight) if instance.weight != weight else "",
        "status": instance.status.value if instance.status is not Status.PASSING else "",
    }
    metadata = {
        **instance.metadata,
        **{name: value for name, value in own.items() if value},
        **{f"{_PRESERVED}{name}": str(round(each_s * 1000)) for name, each_s in lease.items()},
    }
    return {
        "ip": instance.host,
        "port": str(instance.port),
        "weight": repr(weight),
        "enabled": "true",
        "healthy": "true",
        "ephemeral": "true",
        "metadata": json.dumps(metadata),
        **({"clusterName": clusters[0]} if clusters else {}),
    }


def _instance(host: _Host) -> Instance:
    stored = {name: text_or_json(value) for name, value in (host.metadata or {}).items()}
    if _DUBBO in stored and "protocol" in stored:
        check_protocol(stored["protocol"])
    metadata = {
        name: value
        for name, value in stored.items()
        if name not in _OWN_METADATA and not name.startswith(_PRESERVED)
    }
    if host.cluster_name not in {"", "DEFAULT"}:
        metadata["cluster"] = host.cluster_name
    return Instance(
        id=stored.get(_ID, "") or host.instance_id,
        host=host.ip,
        port=host.port,
        scheme=_scheme(stored),
        weight=_weight(host, stored),
        zone=stored.get("zone", ""),
        priority=take_priority(metadata),
        metadata=metadata,
        status=_status(host, stored),
    )


def _status(host: _Host, stored: Mapping[str, str]) -> Status:
    if not host.enabled:
        return Status.DRAINING
    if not host.healthy:
        return Status.CRITICAL
    word = stored.get("status", "")
    return Status(word) if word in set(Status) else Status.PASSING


def _scheme(stored: Mapping[str, str]) -> str | None:
    if stored.get("scheme") in _SCHEMES:
        return stored["scheme"]
    return "https" if stored.get("secure") == "true" else None


def _weight(host: _Host, stored: Mapping[str, str]) -> float:
    """Return the weight; the one in the metadata, which our registrar writes, is the exact one."""
    try:
        weight = float(stored.get("weight", ""))
    except ValueError:
        return host.weight
    return weight if weight >= 0 and math.isfinite(weight) else host.weight
