"""Nacos's registry: the settings, the reader of lists, and the writer kept alive by heartbeats.

Tested against recorded answers, not a real server.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import httpx
import msgspec

from trimtab.errors import (
    ConfigurationError,
    NotRegisteredError,
    RegistryAnswerError,
    RegistryRequestError,
)
from trimtab.registries.asking import Answer, parse_json, refusal
from trimtab.registries.entries import Complaints
from trimtab.registries.members import Members, MemberSettings, read_members
from trimtab.registries.nacos.api import (
    DIALECTS,
    Dialect,
    LoggedIn,
    read_hosts,
    registration,
    result_of,
)
from trimtab.registries.protocol import ComposedRegistry, Listing
from trimtab.registries.urls import TLS_OPTIONS, above_zero, digest, duration_s, split_options

if TYPE_CHECKING:
    from random import Random

    from trimtab.instance import Instance

__all__ = ["NacosReader", "NacosSettings", "NacosWriter", "make"]

_PAGE_SIZE = 1000
# The codes of a heartbeat's answer: in versions 1 and 2, and in version 3.
_FORGOTTEN = (20404, 21003)
_BEAT_DONE = (0, 10200)


class _Names(msgspec.Struct):
    count: int = 0
    doms: list[str] = []
    services: list[str] = []


class _Beat(msgspec.Struct):
    code: int = 0
    message: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NacosSettings(MemberSettings):
    """How Nacos is asked; see `MemberSettings`.

    Attributes:
        api: "v1", "v2" or "v3".
        namespace: its id; "" is the public one.
        group: the group of all services.
        clusters: list instances of these alone, and register in the first; none means any, and
            Nacos's DEFAULT.
        delete_after_s: when Nacos drops an instance without heartbeats; twice the lease at least.
    """

    api: str = "v1"
    namespace: str = ""
    group: str = "DEFAULT_GROUP"
    clusters: tuple[str, ...] = ()
    delete_after_s: float = 30.0

    def __post_init__(self) -> None:
        above_zero(self, "timeout_s")
        if self.api not in DIALECTS:
            known = ", ".join(DIALECTS)
            raise ConfigurationError(f"{self.url}: api is {self.api!r}; it must be one of {known}")
        if not self.group or "@@" in self.group:
            raise ConfigurationError(f"{self.url}: {self.group!r} is no group's name")

    @classmethod
    def from_url(cls, url: str) -> NacosSettings:
        """Read `nacos://[user:password@]host:port,host:port/path` or `nacos+https://`.

        Raises:
            ConfigurationError: the URL or one of its options is wrong.
        """
        known = ("api", "namespace", "group", "cluster", "timeout", *TLS_OPTIONS)
        base, options = split_options(url, known=known, repeatable=("cluster",))
        return cls(
            **read_members(base, options, kind="nacos", port=8848, path="/nacos"),
            api=options.get("api", ["v1"])[0],
            namespace=options.get("namespace", [""])[0],
            group=options.get("group", ["DEFAULT_GROUP"])[0],
            clusters=tuple(options.get("cluster", ())),
            timeout_s=duration_s(url, options, "timeout", 10.0),
        )

    @property
    def dialect(self) -> Dialect:
        """The paths of this version of the API."""
        return DIALECTS[self.api]

    def names(self) -> dict[str, str]:
        """Return the parameters that name group and namespace."""
        namespace = {"namespaceId": self.namespace} if self.namespace else {}
        return {"groupName": self.group, **namespace}


def make(settings: NacosSettings, *, rng: Random | None = None) -> ComposedRegistry:
    """Make the registry; `rng` chooses the member to begin with."""
    members = Members(settings, rng=rng)
    asker = LoggedIn(settings.url, members, settings.login, settings.dialect.login)
    reader = NacosReader(settings, asker)
    return ComposedRegistry(settings, reader, writer=NacosWriter(settings, asker))


class NacosReader:
    """Asks Nacos for the instances of services.

    Args:
        settings: see `NacosSettings`.
        asker: asks the members.
    """

    def __init__(self, settings: NacosSettings, asker: LoggedIn) -> None:
        self.url, self._settings, self._asker = settings.url, settings, asker
        self._dialect, self._names = settings.dialect, settings.names()
        self._complaints = Complaints()

    async def fetch(self, service: str) -> Listing:
        """Ask for the whole list; a service that Nacos does not know is empty.

        Raises:
            RegistryError: see `trimtab.registries.protocol`.
        """
        place = f"{self.url}: {service!r}"
        params = {**self._names, "serviceName": service, "healthyOnly": "false"}
        if self._settings.clusters:
            params[self._dialect.clusters] = ",".join(self._settings.clusters)
        answer = await self._asker.ask("GET", f"{self._dialect.instances}/list", params)
        instances, skipped = read_hosts(place, result_of(place, answer))
        self._complaints.about(service, skipped)
        return Listing(instances=instances, version=digest(instances), skipped=skipped)

    async def services(self) -> list[str]:
        """Name the services of the group, page by page.

        Raises:
            RegistryRequestError: version 3 of the API answers administrators alone.
        """
        if not self._dialect.services:
            raise RegistryRequestError(f"{self.url}: api=v3 names no services to clients")
        names: set[str] = set()
        page = 0
        while True:
            page += 1
            found = await self._page(page)
            names |= {*found.doms, *found.services}
            if len(names) >= found.count or not (found.doms or found.services):
                return sorted(names)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._asker.aclose()

    async def _page(self, number: int) -> _Names:
        params = {**self._names, "pageNo": str(number), "pageSize": str(_PAGE_SIZE)}
        answer = await self._asker.ask("GET", self._dialect.services, params)
        found: _Names = parse_json(self.url, bytes(result_of(self.url, answer)), _Names)
        return found


class NacosWriter:
    """Registers ephemeral instances, which live by their heartbeats.

    Without heartbeats they turn critical after the lease, and are dropped after
    `delete_after_s`. For Nacos the address is the instance: an instance that is registered again
    at another address is first removed from the one where this object has registered it before.

    Args:
        settings: see `NacosSettings`.
        asker: asks the members.
    """

    def __init__(self, settings: NacosSettings, asker: LoggedIn) -> None:
        self.url, self._settings, self._asker = settings.url, settings, asker
        self._dialect, self._names = settings.dialect, settings.names()
        self._registered: dict[tuple[str, str], Instance] = {}

    async def register(self, service: str, instance: Instance, *, ttl_s: float) -> None:
        """Register with a lease of `ttl_s`, after which Nacos calls the instance unhealthy."""
        before = self._registered.get((service, instance.id))
        if before is not None and before.address != instance.address:
            await self.deregister(service, before)
        params = registration(
            instance,
            ttl_s=ttl_s,
            delete_after_s=self._settings.delete_after_s,
            clusters=self._settings.clusters,
        )
        params |= {**self._names, "serviceName": service}
        answer = await self._asker.ask("POST", self._dialect.instances, params)
        result_of(f"{self.url}: register {service} {instance.id!r}", answer)
        self._registered[service, instance.id] = instance

    async def heartbeat(self, service: str, instance: Instance) -> None:
        """Renew the lease.

        Raises:
            NotRegisteredError: Nacos does not know the instance (any more).
        """
        params = {**self._where(service, instance), **self._dialect.beat_params}
        if self._dialect.beat_names_group:
            params["serviceName"] = f"{self._settings.group}@@{service}"
        answer = await self._asker.ask(*self._dialect.beat, params)
        place = f"{self.url}: heartbeat of {service} {instance.id!r}"
        beat = _read_beat(place, answer)
        if answer.status == httpx.codes.NOT_FOUND or beat.code in _FORGOTTEN:
            raise NotRegisteredError(f"{place}: no such registration")
        if answer.status != httpx.codes.OK:
            raise refusal(place, answer)
        if beat.code not in _BEAT_DONE:
            raise RegistryRequestError(f"{place}: code {beat.code}: {beat.message}")

    async def deregister(self, service: str, instance: Instance) -> None:
        """Remove the registration, if it is there."""
        params = {**self._where(service, instance), "ephemeral": "true"}
        answer = await self._asker.ask("DELETE", self._dialect.instances, params)
        if answer.status != httpx.codes.NOT_FOUND:
            result_of(f"{self.url}: deregister {service} {instance.id!r}", answer)
        self._registered.pop((service, instance.id), None)

    def _where(self, service: str, instance: Instance) -> dict[str, str]:
        cluster = {"clusterName": self._settings.clusters[0]} if self._settings.clusters else {}
        address = {"ip": instance.host, "port": str(instance.port)}
        return {**self._names, "serviceName": service, **address, **cluster}


def _read_beat(place: str, answer: Answer) -> _Beat:
    """Read the answer to a heartbeat; old servers leave fields out, refusals may have any form."""
    try:
        beat: _Beat = parse_json(place, answer.body, _Beat)
    except RegistryAnswerError:
        if answer.status == httpx.codes.OK:
            raise
        return _Beat()
    return beat
