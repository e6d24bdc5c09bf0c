"""The writing side: an instance is a key that lives as long as its lease."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from trimtab.errors import NotRegisteredError, RegistryError
from trimtab.registries.etcd.refusals import error_of, words_of
from trimtab.registries.etcd.wire import (
    KeepaliveAnswer,
    KeyValue,
    LeaseAnswer,
    RangeAnswer,
    key_named,
    put_of,
    read,
)
from trimtab.registries.etcd.writing import key_of, lease_ttl_s, value_of

if TYPE_CHECKING:
    from trimtab.instance import Instance
    from trimtab.registries.etcd.gateway import Gateway
    from trimtab.registries.etcd.urls import Place

__all__ = ["Leases"]

_TIMEOUT_S = 3.0
"""After a leader's death etcd keeps what was asked of it meanwhile for 7 s: ask again sooner."""


class Leases:
    """What is registered through one adapter, and the leases that keep it there.

    A lease that is lost sight of (its key could not be put, it could not be revoked) lapses by
    itself, since nobody renews it.
    """

    def __init__(self, gateway: Gateway, place: Place) -> None:
        self._gateway = gateway
        self._place = place
        self._held: dict[tuple[str, str], int] = {}

    async def register(self, service: str, instance: Instance, *, ttl_s: float) -> None:
        """Put the key under a new lease, and give the lease back that it had before."""
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
        """Renew the lease, and see that the key is still there, ours, and says what it should.

        A lease outlives its key: somebody may have deleted it, or put it under another lease.

        Raises:
            NotRegisteredError: the lease has lapsed, or the key is gone or under another lease.
        """
        said = f"{self._place.url}: heartbeat of {service} {instance.id!r}"
        found = await self._find(service, instance)
        if found is None:
            raise NotRegisteredError(f"{said}: its lease has lapsed, or its key was deleted")
        lease = self._held.get((service, instance.id))
        if found.lease != lease:
            raise NotRegisteredError(
                f"{said}: its key is under another lease than ours; does another process "
                "register the same id?"
            )
        if not await self._renew(lease):
            raise NotRegisteredError(f"{said}: its lease has lapsed")
        if found.value != value_of(instance):
            await self._put(service, instance, lease)

    async def deregister(self, service: str, instance: Instance) -> None:
        """Give the lease back, and with it the key; delete the key if we have no lease.

        A key that another process has put under a lease of its own meanwhile stays.
        """
        lease = self._held.get((service, instance.id))
        if lease is None:
            question = key_named(key_of(self._place.prefix, service, instance.id))
            await self._ask("/v3/kv/deleterange", question, Any)
            return
        with suppress(NotRegisteredError):
            await self._revoke(lease)
        del self._held[service, instance.id]

    async def _put(self, service: str, instance: Instance, lease: int) -> None:
        key = key_of(self._place.prefix, service, instance.id)
        await self._ask("/v3/kv/put", put_of(key, value_of(instance), lease), Any)

    async def _renew(self, lease: int) -> bool:
        answer: KeepaliveAnswer = await self._ask(
            "/v3/lease/keepalive", {"ID": str(lease)}, KeepaliveAnswer
        )
        if answer.result is None:
            raise error_of(self._place.url, *words_of(answer.error))
        return answer.result.ttl_s > 0

    async def _find(self, service: str, instance: Instance) -> KeyValue | None:
        question = key_named(key_of(self._place.prefix, service, instance.id))
        answer: RangeAnswer = await self._ask("/v3/kv/range", question, RangeAnswer)
        for raw in answer.kvs:
            found: KeyValue = read(self._place.url, bytes(raw), KeyValue)
            return found
        return None

    async def _ask(self, path: str, question: dict[str, Any], shape: Any) -> Any:
        return await self._gateway.ask(path, question, shape, timeout_s=_TIMEOUT_S)

    async def _revoke(self, lease: int) -> None:
        await self._ask("/v3/lease/revoke", {"ID": str(lease)}, Any)
