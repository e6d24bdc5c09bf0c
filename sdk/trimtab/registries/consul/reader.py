"""Ask Consul for whole lists: of a service's health entries, or by a prepared query.

Sources: developer.hashicorp.com/consul/api-docs (health, catalog, features/blocking,
features/consistency), and the behaviour of Consul 1.8.7 where it differs from them.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote

import msgspec
from cachetools import LRUCache

from trimtab.errors import RegistryAnswerError, RegistryUnavailableError
from trimtab.registries.asking import parse_json
from trimtab.registries.consul.agent import (
    Agent,
    check_age,
    check_catalog,
    check_sight,
    hidden_by_acl,
    index_of,
)
from trimtab.registries.consul.entries import Ids, read_executed, read_health
from trimtab.registries.entries import Complaints
from trimtab.registries.members import Endpoints
from trimtab.registries.protocol import Listing
from trimtab.registries.urls import digest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from random import Random

    from trimtab.instance import Instance
    from trimtab.registries.asking import Answer
    from trimtab.registries.consul.settings import ConsulSettings

__all__ = ["Agents", "ConsulReader", "PreparedReader", "Reading"]

_MAX_SERVICES_REMEMBERED = 4096


@dataclass(frozen=True, slots=True)
class Reading:
    """A list, and the index up to which it holds; None if a proxy has dropped the header."""

    listing: Listing
    index: int | None


class Agents:
    """The agents of a registry, of one datacenter; the first is also the one to write to.

    One agent is asked until it does not answer, or its answer cannot be read; then the next one.

    Args:
        settings: see `ConsulSettings`.
        rng: chooses the agent to begin with.

    Raises:
        ConfigurationError: a file of `tls` cannot be read.
    """

    def __init__(self, settings: ConsulSettings, *, rng: Random | None = None) -> None:
        context = settings.context()
        self._all = {base: Agent(settings, base, context) for base in settings.bases}
        self.home = self._all[settings.bases[0]]
        self.endpoints = Endpoints(settings.bases, rng=rng)

    @contextmanager
    def asked(self) -> Iterator[Agent]:
        """Choose the agent to ask; if that fails, the next question goes to the next agent."""
        member = self.endpoints.current
        try:
            yield self._all[member]
        except (RegistryUnavailableError, RegistryAnswerError):
            self.endpoints.failed(member)
            raise

    async def aclose(self) -> None:
        """Close the connections."""
        for agent in self._all.values():
            await agent.aclose()


class ConsulReader:
    """Asks for lists of health entries; Consul holds a question that has an index.

    The index of one agent means nothing to another, and is never compared with it.

    Args:
        settings: see `ConsulSettings`.
        agents: the agents to ask.
    """

    def __init__(self, settings: ConsulSettings, agents: Agents) -> None:
        self._settings, self._agents = settings, agents
        self._indexes: LRUCache[tuple[str, str], int] = LRUCache(_MAX_SERVICES_REMEMBERED)
        self._ids: LRUCache[str, Ids] = LRUCache(_MAX_SERVICES_REMEMBERED)
        self._complaints = Complaints()

    async def fetch(self, service: str) -> Listing:
        """Ask for the whole list; a service that Consul has never seen is empty.

        Raises:
            RegistryError: see `trimtab.registries.protocol`. RegistryDeniedError also for an
                empty list of a service that the token may not see.
        """
        with self._agents.asked() as agent:
            return (await self.health(agent, service)).listing

    async def services(self) -> list[str]:
        """Name the services in the catalog.

        Raises:
            RegistryError: see `trimtab.registries.protocol`. RegistryDeniedError also for an
                empty catalog, if the token hides it.
        """
        params = self._settings.whole()
        with self._agents.asked() as agent:
            answer = await agent.read(
                "/v1/catalog/services", params, timeout_s=self._settings.timeout_s
            )
            names = parse_json(agent.url, answer.body, dict[str, msgspec.Raw])
            hidden_by_acl(agent.url, answer, is_empty=not names)
            if not names:
                await check_catalog(agent, params, timeout_s=self._settings.timeout_s)
        return sorted(names)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._agents.aclose()

    async def health(
        self, agent: Agent, service: str, index: int = 0, wait_s: float = 0.0
    ) -> Reading:
        """Ask for the list; with an index, wait until it is no longer the newest."""
        params, timeout_s = self._settings.narrowed(), self._settings.timeout_s
        if index:
            params += [("index", str(index)), ("wait", f"{round(wait_s * 1000)}ms")]
            # Consul adds up to a sixteenth, and holds a question for 7 s without a leader.
            timeout_s = wait_s * 17 / 16 + 8
        path = f"/v1/health/service/{quote(service, safe='')}"
        answer = await agent.read(
            path,
            params,
            timeout_s=timeout_s,
            is_stale=self._settings.is_stale,
            is_held=index > 0,
        )
        place = f"{agent.url}: {service!r}"
        check_age(place, answer, max_stale_s=self._settings.max_stale_s)
        instances, skipped = read_health(place, answer.body, _ids_of(self._ids, service))
        skipped += hidden_by_acl(place, answer, is_empty=not instances)
        if not instances:
            whole = self._settings.whole()
            await check_sight(agent, service, whole, timeout_s=self._settings.timeout_s)
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


class PreparedReader:
    """Executes prepared queries; the service's name is the query's name or id.

    A query chooses instances and other datacenters itself. Consul cannot hold such a question, so
    queries are polled. What failed over to another datacenter carries its name as
    `metadata["datacenter"]`, and a warning is logged. A query leaves out critical instances
    itself. An empty list is believed, on versions before 1.11 also if the token is the cause: a
    query may carry a token of its own.

    Args:
        settings: see `ConsulSettings`.
        agents: the agents to ask.
    """

    def __init__(self, settings: ConsulSettings, agents: Agents) -> None:
        self._settings, self._agents = settings, agents
        self._ids: LRUCache[str, Ids] = LRUCache(_MAX_SERVICES_REMEMBERED)
        self._complaints = Complaints()

    async def fetch(self, service: str) -> Listing:
        """Execute the query of this name or id.

        Raises:
            RegistryError: see `trimtab.registries.protocol`; RegistryRequestError if there is no
                such query.
        """
        path = f"/v1/query/{quote(service, safe='')}/execute"
        with self._agents.asked() as agent:
            answer = await agent.read(
                path,
                self._settings.sorted_(),
                timeout_s=self._settings.timeout_s,
                is_stale=self._settings.is_stale,
            )
            place = f"{agent.url}: query {service!r}"
            check_age(place, answer, max_stale_s=self._settings.max_stale_s)
            instances, skipped, elsewhere = read_executed(
                place, answer.body, _ids_of(self._ids, service)
            )
            skipped += hidden_by_acl(place, answer, is_empty=not instances)
        failover = (f"{place}: failed over to datacenter {elsewhere!r}",) if elsewhere else ()
        self._complaints.about(service, skipped + failover)
        return Listing(instances=instances, version=digest(instances), skipped=skipped)

    async def services(self) -> list[str]:
        """Name the prepared queries that the token may see; by id where one has no name.

        Raises:
            RegistryError: see `trimtab.registries.protocol`.
        """
        with self._agents.asked() as agent:
            answer = await agent.read(
                "/v1/query", self._settings.whole(), timeout_s=self._settings.timeout_s
            )
            queries = parse_json(agent.url, answer.body, list[_Query])
        return sorted(query.name or query.id for query in queries)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._agents.aclose()


def _ids_of(ids: LRUCache[str, Ids], service: str) -> Ids:
    found: Ids = ids.setdefault(service, Ids())
    return found


class _Query(msgspec.Struct, rename="pascal"):
    id: str = msgspec.field(name="ID")
    name: str = ""
