"""The reading side of Consul: one whole list per question.

Sources: developer.hashicorp.com/consul/api-docs (health, catalog, features/blocking,
features/consistency), and the behaviour of Consul 1.8.7 where it differs from them.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import msgspec
from cachetools import LRUCache

from trimtab.errors import RegistryAnswerError, RegistryUnavailableError
from trimtab.registries.asking import parse_json
from trimtab.registries.consul.agent import Agent
from trimtab.registries.consul.entries import read_health
from trimtab.registries.consul.headers import check_age, hidden_by_acl, index_of
from trimtab.registries.consul.question import Consistency, Question
from trimtab.registries.consul.rights import check_catalog, check_sight
from trimtab.registries.consul.urls import agents_of
from trimtab.registries.endpoints import Endpoints
from trimtab.registries.entries import Complaints
from trimtab.registries.options import digest
from trimtab.registries.protocol import Listing

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from random import Random

    import httpx

    from trimtab.instance import Instance
    from trimtab.registries.asking import Answer

__all__ = ["ConsulReader", "Reading"]

_MAX_SERVICES_REMEMBERED = 4096


@dataclass(frozen=True, slots=True)
class Reading:
    """A list, and the index up to which it holds; None where a proxy has dropped that."""

    listing: Listing
    index: int | None


class ConsulReader:
    """Ask Consul for lists, without blocking.

    Several agents may be named for reading, of one datacenter. One is asked until it does not
    answer, or answers what cannot be read; then the next one. What one agent's index says means
    nothing to another, and is never compared.

    Args:
        url: `consul://host:port[,host:port...]` or `consul+https://...`; a path is a prefix.
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
        timeout_s: bound on a question that does not block. Without a leader Consul holds it
            for 7 s.
        max_bytes: the largest answer that is read.
        verify: an SSL context, or whether to check certificates.
        verify_name: what stands for the SSL context in `key`, where an equal one is made anew
            each time; the object itself by default.
        rng: which agent is asked first.
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
        timeout_s: float = 8.0,
        max_bytes: int = 64 * 2**20,
        verify: Any = True,
        verify_name: str = "",
        rng: Random | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        agents, self.url = agents_of(url)
        self._question = Question(
            datacenter=datacenter,
            tags=tuple(tags),
            near=near,
            only_passing=only_passing,
            filter_=filter_,
            consistency=consistency,
        )
        self._max_stale_s, self._timeout_s = max_stale_s, timeout_s
        settings = (self._question, max_stale_s, timeout_s, max_bytes, token, transport)
        marks = digest(*settings, verify_name or verify)
        self.key = f"{type(self).__name__} {self.url} {marks}"
        self._agents = {
            base: Agent(
                base,
                shown,
                headers={"X-Consul-Token": token} if token else {},
                verify=verify if base.startswith("https:") else False,
                max_bytes=max_bytes,
                transport=transport,
            )
            for base, shown in agents
        }
        self._endpoints = Endpoints(tuple(self._agents), rng=rng)
        self._indexes: LRUCache[tuple[str, str], int] = LRUCache(_MAX_SERVICES_REMEMBERED)
        self._complaints = Complaints()

    async def fetch(self, service: str) -> Listing:
        """Ask for the whole list; a service that Consul has never seen is empty.

        Raises:
            RegistryError: see `trimtab.registries.protocol`. RegistryDeniedError also for an
                empty list of a service that the token may not see.
        """
        with self._asked() as agent:
            return (await self._health(agent, service)).listing

    async def services(self) -> list[str]:
        """Name the services in the catalog.

        Raises:
            RegistryError: see `trimtab.registries.protocol`. RegistryDeniedError also for an
                empty catalog, if the token hides it.
        """
        params = self._question.whole()
        with self._asked() as agent:
            answer = await agent.read("/v1/catalog/services", params, timeout_s=self._timeout_s)
            names = parse_json(agent.url, answer.body, dict[str, msgspec.Raw])
            hidden_by_acl(agent.url, answer, is_empty=not names)
            if not names:
                await check_catalog(agent, params, timeout_s=self._timeout_s)
        return sorted(names)

    async def aclose(self) -> None:
        """Close the connections."""
        for agent in self._agents.values():
            await agent.aclose()

    @contextmanager
    def _asked(self) -> Iterator[Agent]:
        """Give the agent to ask; if that fails, the next question goes to the next agent."""
        member = self._endpoints.current
        try:
            yield self._agents[member]
        except (RegistryUnavailableError, RegistryAnswerError):
            self._endpoints.failed(member)
            raise

    async def _health(
        self, agent: Agent, service: str, index: int = 0, wait_s: float = 0.0
    ) -> Reading:
        """Ask for the list; with an index, wait until it is no longer the newest."""
        params, timeout_s = self._question.narrowed(), self._timeout_s
        if index:
            params += [("index", str(index)), ("wait", f"{round(wait_s * 1000)}ms")]
            # Consul adds up to a sixteenth, and holds a question for 7 s without a leader.
            timeout_s = wait_s * 17 / 16 + 8
        path = f"/v1/health/service/{quote(service, safe='')}"
        answer = await agent.read(
            path,
            params,
            timeout_s=timeout_s,
            is_stale=self._question.is_stale,
            is_held=index > 0,
        )
        place = f"{agent.url}: {service!r}"
        check_age(place, answer, max_stale_s=self._max_stale_s)
        instances, skipped = read_health(place, answer.body)
        skipped += hidden_by_acl(place, answer, is_empty=not instances)
        if not instances:
            whole = self._question.whole()
            await check_sight(agent, service, whole, timeout_s=self._timeout_s)
        return self._reading(agent, service, answer, instances, skipped=skipped)

    def _reading(
        self,
        agent: Agent,
        service: str,
        answer: Answer,
        instances: tuple[Instance, ...],
        *,
        skipped: tuple[str, ...],
    ) -> Reading:
        self._complaints.about(service, skipped)
        place, index = (agent.url, service), index_of(answer)
        reset = index is not None and index < self._indexes.get(place, 0)
        if index is not None:
            self._indexes[place] = index
        return Reading(
            Listing(instances=instances, version=digest(instances), reset=reset, skipped=skipped),
            index,
        )
