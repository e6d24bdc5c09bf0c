"""Read, follow and register services in etcd: an instance is a key that lives while its lease does.

Sources: etcd.io/docs (API reference, gRPC gateway, authentication), and the behaviour of etcd
3.4.23 and 3.5.16 where it differs from them.
"""

from __future__ import annotations

from contextlib import aclosing, suppress
from typing import TYPE_CHECKING, Any

from cachetools import LRUCache

from trimtab.errors import NotRegisteredError, RegistryError
from trimtab.registries.entries import Complaints
from trimtab.registries.etcd.entries import View, key_of, lease_ttl_s, services_of, value_of
from trimtab.registries.etcd.wire import (
    KeepaliveAnswer,
    KeyValue,
    LeaseAnswer,
    RangeAnswer,
    error_of,
    key_named,
    keys_under,
    put_of,
    read,
    watch_of,
    words_of,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from random import Random

    from trimtab.instance import Instance
    from trimtab.registries.etcd.gateway import Gateway
    from trimtab.registries.etcd.settings import EtcdSettings
    from trimtab.registries.protocol import Listing

__all__ = ["EtcdReader", "EtcdWatch", "EtcdWriter"]

_SPREAD_RATIO = 0.25
_MAX_SERVICES_REMEMBERED = 4096
_TIMEOUT_S = 3.0
"""After a leader's death etcd holds questions for 7 s; asking again sooner is faster."""


class EtcdReader:
    """Asks for whole lists.

    Args:
        settings: see `EtcdSettings`.
        gateway: asks the members.
    """

    def __init__(self, settings: EtcdSettings, gateway: Gateway) -> None:
        self.url, self._prefix, self._gateway = settings.url, settings.prefix, gateway
        self._complaints = Complaints()
        self._seen: LRUCache[str, tuple[int | str, int]] = LRUCache(_MAX_SERVICES_REMEMBERED)

    async def fetch(self, service: str) -> Listing:
        """Ask for the whole list; a service without keys is empty.

        Raises:
            RegistryError: see `trimtab.registries.protocol`.
        """
        view, _ = await self.view(service)
        return self.listing(service, view)

    async def services(self) -> list[str]:
        """Name the services that have keys under the prefix."""
        question = keys_under(self._prefix, only_keys=True)
        answer = await self._gateway.ask("/v3/kv/range", question, RangeAnswer)
        return services_of(self._prefix, answer)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._gateway.aclose()

    async def view(self, service: str) -> tuple[View, int]:
        """Read the whole list, and the revision that it is of."""
        # Read before asking: of two questions at once the older may be answered last.
        cluster, newest = self._seen.get(service, (0, 0))
        prefix = self.prefix_of(service)
        answer: RangeAnswer = await self._gateway.ask(
            "/v3/kv/range", keys_under(prefix), RangeAnswer
        )
        revision, id_ = answer.header.revision, answer.header.cluster_id
        # The cluster was wiped or restored if revisions begin anew; its id may stay the same.
        reset = bool(newest) and (revision < newest or id_ != cluster)
        if reset or revision > newest:
            self._seen[service] = (id_, revision)
        return View(f"{self.url}: {service!r}", prefix, answer, reset=reset), revision

    def listing(self, service: str, view: View) -> Listing:
        """Return the list that a view holds, and log what was skipped."""
        listing = view.listing()
        self._complaints.about(service, listing.skipped)
        return listing

    def prefix_of(self, service: str) -> str:
        """Return the beginning of the service's keys."""
        return f"{self._prefix}{service}/"


class EtcdWatch:
    """Follows the keys of services.

    Each watch holds one connection. A watch that was silent for about `resync_s` is closed, and
    the list is read anew: a member that hangs is silent, and a watch whose revision is in the
    future (the cluster was restored) is silent for ever.

    Args:
        settings: see `EtcdSettings`.
        gateway: asks the members.
        reader: asks for whole lists.
        rng: spreads the bounds on silence.
    """

    def __init__(
        self, settings: EtcdSettings, gateway: Gateway, reader: EtcdReader, *, rng: Random
    ) -> None:
        self._gateway, self._reader, self._rng = gateway, reader, rng
        self._resync_s = settings.resync_s

    async def watch(self, service: str) -> AsyncIterator[Listing]:
        """Yield the list at once, after every change, and after every silence.

        It always begins with the whole list: missed changes may be compacted, and a revision from
        before a restore may be in the future, from where no change is ever reported.

        Raises:
            RegistryCursorLostError: etcd has cancelled the watch.
            RegistryError: see `trimtab.registries.protocol`.
        """
        while True:
            view, revision = await self._reader.view(service)
            yield self._reader.listing(service, view)
            messages = self._gateway.watch(
                watch_of(self._reader.prefix_of(service), revision=revision + 1),
                silence_s=self._resync_s * (1 - _SPREAD_RATIO * self._rng.random()),
            )
            async with aclosing(messages):
                async for message in messages:
                    view.apply(message)
                    if not message.created:
                        yield self._reader.listing(service, view)


class EtcdWriter:
    """Registers instances under leases, and remembers the leases.

    So a registration belongs to the object that made it. A lease that is given up (its key could
    not be put, or the lease not revoked) lapses, since no heartbeat renews it.

    Args:
        settings: see `EtcdSettings`.
        gateway: asks the members.
    """

    def __init__(self, settings: EtcdSettings, gateway: Gateway) -> None:
        self.url, self._prefix, self._gateway = settings.url, settings.prefix, gateway
        self._held: dict[tuple[str, str], int] = {}

    async def register(self, service: str, instance: Instance, *, ttl_s: float) -> None:
        """Put the key under a new lease of `ttl_s` in whole seconds; etcd's shortest is 2.

        The lease that the key had before is revoked.
        """
        question = {"TTL": str(lease_ttl_s(ttl_s))}
        granted: LeaseAnswer = await self._ask("/v3/lease/grant", question, LeaseAnswer)
        lease = granted.id
        await self._put(service, instance, lease)
        before = self._held.get((service, instance.id))
        self._held[service, instance.id] = lease
        if before is not None:
            with suppress(RegistryError):
                await self._revoke(before)

    async def heartbeat(self, service: str, instance: Instance) -> None:
        """Renew the lease, and check that the key is still there, ours, and up to date.

        A lease outlives its key: another process may have deleted the key, or put it under a
        lease of its own.

        Raises:
            NotRegisteredError: the lease has lapsed, or the key is gone or under another lease.
        """
        message = f"{self.url}: heartbeat of {service} {instance.id!r}"
        found = await self._find(service, instance)
        if found is None:
            raise NotRegisteredError(f"{message}: its lease has lapsed, or its key was deleted")
        lease = self._held.get((service, instance.id))
        if found.lease != lease:
            raise NotRegisteredError(
                f"{message}: its key is under another lease than ours; does another process "
                "register the same id?"
            )
        if not await self._renew(lease):
            raise NotRegisteredError(f"{message}: its lease has lapsed")
        if found.value != value_of(instance):
            await self._put(service, instance, lease)

    async def deregister(self, service: str, instance: Instance) -> None:
        """Revoke the lease, which deletes the key; delete the key if we have no lease.

        A key that another process has put under a lease of its own meanwhile stays.
        """
        lease = self._held.get((service, instance.id))
        if lease is None:
            question = key_named(key_of(self._prefix, service, instance.id))
            await self._ask("/v3/kv/deleterange", question, Any)
            return
        with suppress(NotRegisteredError):
            await self._revoke(lease)
        del self._held[service, instance.id]

    async def _put(self, service: str, instance: Instance, lease: int) -> None:
        key = key_of(self._prefix, service, instance.id)
        await self._ask("/v3/kv/put", put_of(key, value_of(instance), lease), Any)

    async def _renew(self, lease: int) -> bool:
        answer: KeepaliveAnswer = await self._ask(
            "/v3/lease/keepalive", {"ID": str(lease)}, KeepaliveAnswer
        )
        if answer.result is None:
            raise error_of(self.url, *words_of(answer.error))
        return answer.result.ttl_s > 0

    async def _find(self, service: str, instance: Instance) -> KeyValue | None:
        question = key_named(key_of(self._prefix, service, instance.id))
        answer: RangeAnswer = await self._ask("/v3/kv/range", question, RangeAnswer)
        for raw in answer.kvs:
            found: KeyValue = read(self.url, bytes(raw), KeyValue)
            return found
        return None

    async def _ask(self, path: str, question: dict[str, Any], shape: Any) -> Any:
        return await self._gateway.ask(path, question, shape, timeout_s=_TIMEOUT_S)

    async def _revoke(self, lease: int) -> None:
        await self._ask("/v3/lease/revoke", {"ID": str(lease)}, Any)
