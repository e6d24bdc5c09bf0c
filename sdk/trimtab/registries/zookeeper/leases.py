"""What is registered here, each by the session that its TTL asks for."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from kazoo.exceptions import NoNodeError

from trimtab.errors import NotRegisteredError
from trimtab.registries.zookeeper.curator import write_node
from trimtab.registries.zookeeper.ephemeral import is_ours, put, remove
from trimtab.registries.zookeeper.paths import node_name

if TYPE_CHECKING:
    from trimtab.instance import Instance
    from trimtab.registries.zookeeper.ensemble import Ensemble
    from trimtab.registries.zookeeper.session import Session

__all__ = ["Leases"]


@dataclass(frozen=True, slots=True)
class _Lease:
    session_s: float
    registered_at_ms: int
    data: bytes


class Leases:
    """Write an ensemble's nodes, and remember what was written.

    Args:
        ensemble: where to.
        least_session_s: the shortest session that is asked for.
    """

    def __init__(self, ensemble: Ensemble, *, least_session_s: float) -> None:
        self._ensemble = ensemble
        self._least_session_s = least_session_s
        self._of: dict[str, _Lease] = {}

    async def begin(self, folder: str, service: str, instance: Instance, *, ttl_s: float) -> None:
        """Put the instance's node in place, by a session that outlives this process by `ttl_s`.

        Raises:
            RegistryError: see `trimtab.registries.protocol`.
        """
        path = f"{folder}/{node_name(instance.id)}"
        # A date for people to read, as Curator has it; nothing is measured by it.
        now_ms = int(time.time() * 1000)
        data = write_node(service, instance, registered_at_ms=now_ms)
        lease = _Lease(max(ttl_s, self._least_session_s), now_ms, data)
        await self._ensemble.ask(
            f"register {service} {instance.id!r}",
            lambda session: put(session, path, data),
            session_s=lease.session_s,
        )
        self._of[path] = lease

    async def renew(self, folder: str, service: str, instance: Instance) -> None:
        """Check that the node is still ours, and let its data follow the instance.

        Raises:
            NotRegisteredError: it is not.
        """
        path = f"{folder}/{node_name(instance.id)}"
        what = f"heartbeat of {service} {instance.id!r}"
        lease = self._of.get(path)
        data = b""
        if lease is not None:
            data = write_node(service, instance, registered_at_ms=lease.registered_at_ms)

        async def question(session: Session) -> bool:
            if not await is_ours(session, path) or lease is None:
                return False
            if data != lease.data:
                try:
                    await session.ask(session.client.set_async, path, data)
                except NoNodeError:
                    return False
            return True

        session_s = lease.session_s if lease else None
        if not await self._ensemble.ask(what, question, session_s=session_s) or lease is None:
            raise NotRegisteredError(f"{what}: node {path!r} is gone, or not ours (any more)")
        self._of[path] = replace(lease, data=data)

    async def end(self, folder: str, service: str, instance: Instance) -> None:
        """Delete the node; one that was registered here only if it is still ours.

        Raises:
            RegistryError: see `trimtab.registries.protocol`.
        """
        path = f"{folder}/{node_name(instance.id)}"
        lease = self._of.get(path)
        await self._ensemble.ask(
            f"deregister {service} {instance.id!r}",
            lambda session: remove(session, path, only_ours=lease is not None),
            session_s=lease.session_s if lease else None,
        )
        self._of.pop(path, None)
