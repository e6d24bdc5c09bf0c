"""The Consul adapter: health endpoint, blocking queries, and registration at an agent.

Sources: developer.hashicorp.com/consul/api-docs (health, agent, catalog, features/blocking,
features/consistency), and the behaviour of Consul 1.8.7 where it differs from them.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import quote

import httpx
from cachetools import LRUCache

from trimtab.errors import (
    ConfigurationError,
    NotRegisteredError,
    RegistryAnswerError,
)
from trimtab.registries.asking import Answer, Asker, parse_json, refusal
from trimtab.registries.consul.headers import (
    check_age,
    hidden_by_acl,
    index_of,
    is_unknown,
    read_refusal,
)
from trimtab.registries.consul.reading import read_health
from trimtab.registries.consul.urls import base_urls
from trimtab.registries.consul.writing import check_id, heartbeat_verb, registration
from trimtab.registries.entries import Complaints
from trimtab.registries.options import digest
from trimtab.registries.protocol import Listing

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from trimtab.instance import Instance

__all__ = ["ConsulPolledRegistry", "ConsulRegistry"]

Consistency = Literal["default", "stale", "consistent"]

_MAX_WAIT_S = 60.0
_PAUSE_S = 0.2
_MAX_SERVICES_REMEMBERED = 4096


class ConsulPolledRegistry:
    """Ask Consul for lists without blocking, and register at its agent; see `ConsulRegistry`.

    Registering, heartbeats and deregistering go to the one agent that `url` names: a
    registration belongs to its agent, and a second agent would list it twice.

    Args:
        url: `consul://host:port` or `consul+https://host:port`; a path is a prefix.
        token: the ACL token; needs service:read and node:read. Environment variables are not
            read: pass `os.environ["CONSUL_HTTP_TOKEN"]` if that is where it lies.
        datacenter: another than the agent's own.
        tags: instances must have all of them; they are also given to what is registered here.
        near: "_agent" or a node: instances sorted by distance from it.
        only_passing: let Consul leave out the others; better leave them in, and see them.
        filter_: an expression of Consul's filter language.
        consistency: "stale" reads from any server, also without a leader; "consistent" asks
            the leader to verify that it is one.
        max_stale_s: refuse a stale answer whose server has not heard its leader for longer.
        deregister_after_s: Consul drops a registration that has been critical for so long (at
            least 60); None means never.
        timeout_s: bound on a question that does not block. Without a leader Consul holds it
            for 7 s.
        max_bytes: the largest answer that is read.
        verify: an SSL context, or whether to check certificates.
        transport: used instead of the network, in tests and simulations.

    Raises:
        ConfigurationError: a setting is wrong.
    """

    def __init__(
        self,
        url: str,
        *,
        token: str | None = None,
        datacenter: str | None = None,
        tags: Iterable[str] = (),
        near: str | None = None,
        only_passing: bool = False,
        filter_: str | None = None,
        consistency: Consistency = "default",
        max_stale_s: float = 30.0,
        deregister_after_s: float | None = 600.0,
        timeout_s: float = 10.0,
        max_bytes: int = 64 * 2**20,
        verify: Any = True,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._base, self.url = base_urls(url)
        if consistency not in {"default", "stale", "consistent"}:
            raise ConfigurationError(
                f"{self.url}: consistency is {consistency!r}; "
                "it must be 'default', 'stale' or 'consistent'"
            )
        self._tags = tuple(tags)
        self._max_stale_s, self._timeout_s = max_stale_s, timeout_s
        self._deregister_after_s = deregister_after_s
        self._is_stale = consistency == "stale"
        mode = [] if consistency == "default" else [(consistency, "")]
        self._catalog_params = mode + ([("dc", datacenter)] if datacenter else [])
        self._params = [
            *self._catalog_params,
            *(("tag", tag) for tag in self._tags),
            *([("near", near)] if near else []),
            *([("filter", filter_)] if filter_ else []),
            *([("passing", "1")] if only_passing else []),
        ]
        settings = (self._params, max_stale_s, deregister_after_s, timeout_s, token, transport)
        self.key = f"{type(self).__name__} {self._base} {digest(*settings)}"
        self._asker = Asker(
            self.url,
            headers={"X-Consul-Token": token} if token else {},
            verify=verify if self._base.startswith("https:") else False,
            max_bytes=max_bytes,
            transport=transport,
        )
        self._indexes: LRUCache[str, int] = LRUCache(_MAX_SERVICES_REMEMBERED)
        self._complaints = Complaints()

    async def fetch(self, service: str) -> Listing:
        """Ask for the whole list; a service that Consul has never seen is empty.

        Raises:
            RegistryError: see `trimtab.registries.protocol`.
        """
        return (await self._health(service)).listing

    async def services(self) -> list[str]:
        """Name the services in the catalog."""
        answer = await self._get("/v1/catalog/services", self._catalog_params, self._timeout_s)
        return sorted(parse_json(self.url, answer.body, dict[str, Any]))

    async def register(self, service: str, instance: Instance, *, ttl_s: float) -> None:
        """Register at the agent, with a check that turns critical after `ttl_s`."""
        body = registration(
            service,
            instance,
            ttl_s=ttl_s,
            tags=self._tags,
            deregister_after_s=self._deregister_after_s,
        )
        answer = await self._put("/v1/agent/service/register", json=body)
        if answer.status != httpx.codes.OK:
            raise refusal(f"{self.url}: register {instance.id!r}", answer)
        # A check that was there before keeps its state: one that had lapsed stays critical.
        await self.heartbeat(service, instance)

    async def heartbeat(self, service: str, instance: Instance) -> None:
        """Renew the lease, with the check's state following the instance's status.

        Raises:
            NotRegisteredError: the agent has no such check (any more).
        """
        check = quote(check_id(instance), safe="")
        answer = await self._put(f"/v1/agent/check/{heartbeat_verb(instance)}/{check}")
        place = f"{self.url}: heartbeat of {service} {instance.id!r}"
        if is_unknown(answer):
            raise NotRegisteredError(f"{place}: {answer.detail}")
        if answer.status != httpx.codes.OK:
            raise refusal(place, answer)

    async def deregister(self, service: str, instance: Instance) -> None:
        """Remove the registration from the agent, if it is there."""
        answer = await self._put(f"/v1/agent/service/deregister/{quote(instance.id, safe='')}")
        if answer.status != httpx.codes.OK and not is_unknown(answer):
            raise refusal(f"{self.url}: deregister {service} {instance.id!r}", answer)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._asker.aclose()

    async def _health(self, service: str, index: int = 0, wait_s: float = 0.0) -> _Reading:
        """Ask for the list; with an index, wait until it is no longer the newest."""
        params, timeout_s = self._params, self._timeout_s
        if index:
            params = [*params, ("index", str(index)), ("wait", f"{round(wait_s * 1000)}ms")]
            # Consul adds up to a sixteenth, and holds a question for 7 s without a leader.
            timeout_s = wait_s * 17 / 16 + 8
        path = f"/v1/health/service/{quote(service, safe='')}"
        answer = await self._get(path, params, timeout_s)
        place = f"{self.url}: {service!r}"
        check_age(place, answer, max_stale_s=self._max_stale_s)
        instances, skipped = read_health(place, answer.body)
        skipped += hidden_by_acl(place, answer, is_empty=not instances)
        self._complaints.about(service, skipped)
        new = index_of(answer)
        reset = new is not None and new < self._indexes.get(service, 0)
        if new is not None:
            self._indexes[service] = new
        listing = Listing(
            instances=instances, version=digest(instances), reset=reset, skipped=skipped
        )
        return _Reading(listing, new)

    async def _get(self, path: str, params: list[tuple[str, str]], timeout_s: float) -> Answer:
        # Only an answer of 200 is returned: error answers carry index 1, which means nothing.
        url = self._base + path
        answer = await self._asker.ask("GET", url, params=params, timeout_s=timeout_s)
        if self._is_stale and answer.status == httpx.codes.INTERNAL_SERVER_ERROR:
            # The agent still holds a connection to a dead server; the next try takes another.
            answer = await self._asker.ask("GET", url, params=params, timeout_s=timeout_s)
        if answer.status == httpx.codes.OK:
            return answer
        raise read_refusal(self.url, answer)

    async def _put(self, path: str, **options: Any) -> Answer:
        return await self._asker.ask("PUT", self._base + path, timeout_s=self._timeout_s, **options)


class ConsulRegistry(ConsulPolledRegistry):
    """Follow Consul's lists by blocking queries, and register at its agent.

    Each watch holds one connection to Consul, which permits 200 per client address by default.

    Args:
        url: see `ConsulPolledRegistry`, also for the settings not named here.
        wait_s: how long Consul may hold a question while nothing changes; more than 0, at most
            60: a question that its client abandoned lives on in the server for so long.
        settings: those of `ConsulPolledRegistry`.
    """

    def __init__(self, url: str, *, wait_s: float = 30.0, **settings: Any) -> None:
        super().__init__(url, **settings)
        if not 0 < wait_s <= _MAX_WAIT_S:
            raise ConfigurationError(
                f"{self.url}: wait_s is {wait_s!r}; it must be more than 0 and at most 60"
            )
        self._wait_s = wait_s
        self.key += f" {wait_s:g}"

    async def watch(self, service: str) -> AsyncIterator[Listing]:
        """Yield the list at once, and after every answer to a blocking query.

        The index rules: an index that goes back is started over from 0, 0 itself would not
        block, and only an answer of 200 has one that means something.

        Raises:
            RegistryError: see `trimtab.registries.protocol`.
        """
        loop = asyncio.get_running_loop()
        index, version = 0, ""
        while True:
            asked_at = loop.time()
            reading = await self._health(service, index, self._wait_s)
            if reading.index is None:
                raise RegistryAnswerError(
                    f"{self.url}: no X-Consul-Index in the answer, so it cannot be watched; "
                    "add ?poll=1 if this is a proxy that drops it"
                )
            index = 0 if reading.index < index else max(reading.index, 1)
            yield reading.listing
            if reading.listing.version == version and loop.time() - asked_at < _PAUSE_S:
                # It answered at once with nothing new: other services changed, or it ignores
                # the index. What changes during the pause is not lost, thanks to the index.
                await asyncio.sleep(_PAUSE_S)
            version = reading.listing.version


@dataclass(frozen=True, slots=True)
class _Reading:
    listing: Listing
    index: int | None
