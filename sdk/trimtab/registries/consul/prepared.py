"""Consul's prepared queries: the service's name is the query's name or id."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import msgspec

from trimtab.errors import ConfigurationError
from trimtab.registries.asking import parse_json
from trimtab.registries.consul.entries import read_executed
from trimtab.registries.consul.headers import check_age, hidden_by_acl
from trimtab.registries.consul.reader import ConsulReader
from trimtab.registries.options import digest
from trimtab.registries.protocol import Listing

__all__ = ["ConsulPreparedRegistry"]


class _Query(msgspec.Struct, rename="pascal"):
    id: str = msgspec.field(name="ID")
    name: str = ""


class ConsulPreparedRegistry(ConsulReader):
    """Execute prepared queries, which choose instances and other datacenters by themselves.

    Consul cannot hold such a question, so they are polled. What failed over to another
    datacenter carries its name as `metadata["datacenter"]`, and a warning is logged. A query
    leaves out critical instances by itself. An empty list is believed, on versions before 1.11
    also if the token is the cause: a query may carry a token of its own.

    Takes what `ConsulReader` takes, save `tags`, `filter_` and `only_passing`.

    Raises:
        ConfigurationError: a setting is wrong.
    """

    def __init__(self, url: str, **settings: Any) -> None:
        super().__init__(url, **settings)
        for name in ("tags", "filter_", "only_passing"):
            if settings.get(name):
                raise ConfigurationError(
                    f"{self.url}: {name} goes not with a prepared query, which says what it lists"
                )

    async def fetch(self, service: str) -> Listing:
        """Execute the query of this name or id.

        Raises:
            RegistryError: see `trimtab.registries.protocol`; RegistryRequestError if there is no
                such query.
        """
        path = f"/v1/query/{quote(service, safe='')}/execute"
        with self._asked() as agent:
            answer = await agent.read(
                path,
                self._question.sorted_(),
                timeout_s=self._timeout_s,
                is_stale=self._question.is_stale,
            )
            place = f"{agent.url}: query {service!r}"
            check_age(place, answer, max_stale_s=self._max_stale_s)
            instances, skipped, elsewhere = read_executed(place, answer.body)
            skipped += hidden_by_acl(place, answer, is_empty=not instances)
        failover = (f"{place}: failed over to datacenter {elsewhere!r}",) if elsewhere else ()
        self._complaints.about(service, skipped + failover)
        return Listing(instances=instances, version=digest(instances), skipped=skipped)

    async def services(self) -> list[str]:
        """Name the prepared queries that the token may see; by id where one has no name.

        Raises:
            RegistryError: see `trimtab.registries.protocol`.
        """
        with self._asked() as agent:
            answer = await agent.read(
                "/v1/query", self._question.whole(), timeout_s=self._timeout_s
            )
            queries = parse_json(agent.url, answer.body, list[_Query])
        return sorted(query.name or query.id for query in queries)
