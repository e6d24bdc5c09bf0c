"""Register instances in etcd: an instance is a key that lives as long as its lease."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from trimtab.errors import NotRegisteredError, RegistryError
from trimtab.registries.etcd.entries import key_of, lease_ttl_s, value_of
from trimtab.registries.etcd.wire import (
    KeepaliveAnswer,
    KeyValue,
    LeaseAnswer,
    RangeAnswer,
    error_of,
    key_named,
    put_of,
    read,
    words_of,
)

if TYPE_CHECKING:
    from trimtab.instance import Instance
    from trimtab.registries.etcd.gateway import Gateway
    from trimtab.registries.etcd.settings import EtcdSettings

__all__ = ["EtcdWriter"]

_TIMEOUT_S = 3.0
"""After a leader's death etcd holds questions for 7 s; asking again sooner is faster."""


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
