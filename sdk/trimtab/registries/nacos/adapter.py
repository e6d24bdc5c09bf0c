"""The Nacos adapter: a service's instances, and registration kept by heartbeats.

Tested against recorded answers, not a real server.
"""

from __future__ import annotations

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
from trimtab.registries.members import Members, place_of
from trimtab.registries.nacos.asking import LoggedIn, result_of
from trimtab.registries.nacos.dialects import DIALECTS
from trimtab.registries.nacos.entries import read_hosts, registration
from trimtab.registries.options import digest
from trimtab.registries.protocol import Listing

if TYPE_CHECKING:
    from collections.abc import Iterable
    from random import Random

    from trimtab.instance import Instance

__all__ = ["NacosRegistry"]

_PORT = 8848
_PATH = "/nacos"
_PAGE_SIZE = 1000
# What a heartbeat's answer says: in versions 1 and 2, and in version 3.
_FORGOTTEN = (20404, 21003)
_BEAT_DONE = (0, 10200)


class _Names(msgspec.Struct):
    count: int = 0
    doms: list[str] = []
    services: list[str] = []


class _Beat(msgspec.Struct):
    code: int = 0
    message: str | None = None


class NacosRegistry:
    """Ask Nacos for the instances of services, and register there.

    Instances are ephemeral: without heartbeats they turn critical after the lease, and go after
    `delete_after_s`. To Nacos an instance is its address: one that is registered again elsewhere
    is taken away from where this object has registered it before.

    Args:
        url: `nacos://[user:password@]host:port,host:port/path` or `nacos+https://`, which takes
            the options `ca`, `cert`, `key` (files) and `verify`.
        api: "v1", "v2" or "v3".
        namespace: its id; "" is the public one.
        group: the group of all services.
        clusters: list instances of these alone, and register in the first; none means any, and
            Nacos's DEFAULT.
        delete_after_s: when Nacos drops an instance without heartbeats; twice the lease at least.
        timeout_s: bound on each question, above 0.
        max_bytes: the largest answer that is read.
        transport: used instead of the network, in tests and simulations.
        rng: the source of chance for the member to begin with.

    Raises:
        ConfigurationError: the URL or a setting is wrong.
    """

    def __init__(
        self,
        url: str,
        *,
        api: str = "v1",
        namespace: str = "",
        group: str = "DEFAULT_GROUP",
        clusters: Iterable[str] = (),
        delete_after_s: float = 30.0,
        timeout_s: float = 10.0,
        max_bytes: int = 64 * 2**20,
        transport: httpx.AsyncBaseTransport | None = None,
        rng: Random | None = None,
    ) -> None:
        place = place_of(url, kind="nacos", port=_PORT, path=_PATH)
        self.url = place.url
        if api not in DIALECTS:
            known = ", ".join(DIALECTS)
            raise ConfigurationError(f"{self.url}: api is {api!r}; it must be one of {known}")
        if not group or "@@" in group:
            raise ConfigurationError(f"{self.url}: {group!r} is no group's name")
        self._dialect, self._group = DIALECTS[api], group
        self._clusters, self._delete_after_s = tuple(clusters), delete_after_s
        self._names = {"groupName": group} | ({"namespaceId": namespace} if namespace else {})
        settings = (api, self._names, self._clusters, delete_after_s, timeout_s, transport)
        self.key = f"nacos {place.url} {digest(place.mark, *settings)}"
        self._members = Members(
            place,
            headers={},
            timeout_s=timeout_s,
            max_bytes=max_bytes,
            transport=transport,
            rng=rng,
        )
        self._asker = LoggedIn(self.url, self._members, place.login, self._dialect.login)
        self._registered: dict[tuple[str, str], Instance] = {}
        self._complaints = Complaints()

    async def fetch(self, service: str) -> Listing:
        """Ask for the whole list; a service that Nacos does not know is empty.

        Raises:
            RegistryError: see `trimtab.registries.protocol`.
        """
        place = f"{self.url}: {service!r}"
        params = {**self._names, "serviceName": service, "healthyOnly": "false"}
        if self._clusters:
            params[self._dialect.clusters] = ",".join(self._clusters)
        answer = await self._asker.ask("GET", f"{self._dialect.instances}/list", params)
        instances, skipped = read_hosts(place, result_of(place, answer))
        self._complaints.about(service, skipped)
        return Listing(instances=instances, version=digest(instances), skipped=skipped)

    async def services(self) -> list[str]:
        """Name the services of the group, page by page.

        Raises:
            RegistryRequestError: version 3 of the API tells administrators alone.
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

    async def register(self, service: str, instance: Instance, *, ttl_s: float) -> None:
        """Register with a lease of `ttl_s`, after which Nacos calls the instance unhealthy."""
        before = self._registered.get((service, instance.id))
        if before is not None and before.address != instance.address:
            await self.deregister(service, before)
        params = registration(
            instance,
            ttl_s=ttl_s,
            delete_after_s=self._delete_after_s,
            clusters=self._clusters,
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
            params["serviceName"] = f"{self._group}@@{service}"
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

    async def aclose(self) -> None:
        """Close the connections."""
        await self._members.aclose()

    async def _page(self, number: int) -> _Names:
        params = {**self._names, "pageNo": str(number), "pageSize": str(_PAGE_SIZE)}
        answer = await self._asker.ask("GET", self._dialect.services, params)
        found: _Names = parse_json(self.url, bytes(result_of(self.url, answer)), _Names)
        return found

    def _where(self, service: str, instance: Instance) -> dict[str, str]:
        cluster = {"clusterName": self._clusters[0]} if self._clusters else {}
        address = {"ip": instance.host, "port": str(instance.port)}
        return {**self._names, "serviceName": service, **address, **cluster}


def _read_beat(place: str, answer: Answer) -> _Beat:
    """Read what a heartbeat's answer says; old servers answer with less, refusals with anything."""
    try:
        beat: _Beat = parse_json(place, answer.body, _Beat)
    except RegistryAnswerError:
        if answer.status == httpx.codes.OK:
            raise
        return _Beat()
    return beat
