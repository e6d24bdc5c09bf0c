"""Register instances in ZooKeeper: nodes that live by a session, in Curator's layout.

A registration lives as long as its session, whose timeout is its TTL: it is gone that long after a
crash, and at once after `aclose`. kazoo's threads keep the session alive, also while the event
loop is busy. The servers keep timeouts between 2 and 20 of their ticks (4 and 40 s by default),
whatever TTL is asked for; sessions below 0.5 s are not asked for.

The node of a crashed process lives on until its session ends, and a new process with the same id
finds it there. It would vanish under the new one; so it is replaced, in one transaction, by a node
of the own session. The same tells a registrant that another has replaced its node.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from kazoo.exceptions import (
    BadVersionError,
    ConnectionLoss,
    NoAuthError,
    NodeExistsError,
    NoNodeError,
    RolledBackError,
    RuntimeInconsistency,
)

from trimtab.errors import NotRegisteredError, RegistryUnavailableError
from trimtab.registries.zookeeper.layouts import node_name, write_node
from trimtab.registries.zookeeper.settings import LEAST_SESSION_S

if TYPE_CHECKING:
    from trimtab.instance import Instance
    from trimtab.registries.zookeeper.ensemble import Ensemble
    from trimtab.registries.zookeeper.session import Session
    from trimtab.registries.zookeeper.settings import ZooKeeperSettings

__all__ = ["ZooKeeperWriter", "is_ours", "put", "remove"]

_TRIES = 5
_OVERTAKEN = (
    BadVersionError,
    NoNodeError,
    NodeExistsError,
    RolledBackError,
    RuntimeInconsistency,
)
"""Answers of a transaction's steps when another client was faster, or another step failed."""


@dataclass(frozen=True, slots=True)
class _Lease:
    session_s: float
    registered_at_ms: int
    data: bytes


class ZooKeeperWriter:
    """Writes the nodes of instances, and remembers their sessions.

    Args:
        settings: see `ZooKeeperSettings`.
        ensemble: asks ZooKeeper.
    """

    def __init__(self, settings: ZooKeeperSettings, ensemble: Ensemble) -> None:
        self._settings, self._ensemble, self._layout = settings, ensemble, settings.layout()
        self._leases: dict[str, _Lease] = {}

    async def register(self, service: str, instance: Instance, *, ttl_s: float) -> None:
        """Create the node, or take over the one that a predecessor has left.

        The session of the node outlives this process by `ttl_s`.

        Raises:
            RegistryError: see `trimtab.registries.protocol`.
        """
        path = self._path(service, instance)
        # A date for people to read, as Curator has it; nothing is measured by it.
        now_ms = int(time.time() * 1000)
        data = write_node(service, instance, registered_at_ms=now_ms)
        lease = _Lease(max(ttl_s, LEAST_SESSION_S), now_ms, data)
        await self._ensemble.ask(
            f"register {service} {instance.id!r}",
            lambda session: put(session, path, data),
            session_s=lease.session_s,
        )
        self._leases[path] = lease

    async def heartbeat(self, service: str, instance: Instance) -> None:
        """Check that the node is there and ours; write it again if the instance has changed.

        Raises:
            NotRegisteredError: the node is gone, or belongs to another session.
        """
        path = self._path(service, instance)
        what = f"heartbeat of {service} {instance.id!r}"
        lease = self._leases.get(path)
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
        self._leases[path] = replace(lease, data=data)

    async def deregister(self, service: str, instance: Instance) -> None:
        """Delete the node; one that was registered here only if it is still ours.

        Raises:
            RegistryError: see `trimtab.registries.protocol`.
        """
        path = self._path(service, instance)
        lease = self._leases.get(path)
        await self._ensemble.ask(
            f"deregister {service} {instance.id!r}",
            lambda session: remove(session, path, only_ours=lease is not None),
            session_s=lease.session_s if lease else None,
        )
        self._leases.pop(path, None)

    def _path(self, service: str, instance: Instance) -> str:
        folder = self._layout.folder(self._settings.url, service)
        return f"{folder}/{node_name(instance.id)}"


async def put(session: Session, path: str, data: bytes) -> None:
    """Create the node or take it over, so that it lives by this session.

    Missing nodes above are made, and stay: kazoo knows no containers, which ZooKeeper removes
    when they are empty.

    Raises:
        KazooException: see `Session.ask`.
        RegistryUnavailableError: others keep changing the node.
    """
    client = session.client
    for _ in range(_TRIES):
        try:
            await session.ask(client.create_async, path, data, ephemeral=True, makepath=True)
        except NodeExistsError:
            if await _take_over(session, path, data):
                return
        else:
            return
    raise RegistryUnavailableError(f"node {path!r} is changed by others again and again")


async def is_ours(session: Session, path: str) -> bool:
    """Tell whether the node is there and lives by this session.

    Raises:
        ConnectionLoss: the connection broke under the question, and the session may be another.
    """
    stat = await session.ask(session.client.exists_async, path)
    if session.id is None:
        raise ConnectionLoss
    return stat is not None and stat.ephemeralOwner == session.id


async def remove(session: Session, path: str, *, only_ours: bool) -> None:
    """Delete the node if it is there; with `only_ours` the node of another session stays."""
    if only_ours and not await is_ours(session, path):
        return
    try:
        await session.ask(session.client.delete_async, path)
    except NoNodeError:
        return


async def _take_over(session: Session, path: str, data: bytes) -> bool:
    """Make an existing node ours, with this data; False if it changed meanwhile."""
    client = session.client
    try:
        if await is_ours(session, path):
            await session.ask(client.set_async, path, data)
            return True
    except NoNodeError:
        return False
    transaction = client.transaction()
    transaction.delete(path)
    transaction.create(path, data, ephemeral=True)
    results = await session.ask(transaction.commit_async)
    failures = [result for result in results if isinstance(result, Exception)]
    for failure in failures:
        if isinstance(failure, NoAuthError) or not isinstance(failure, _OVERTAKEN):
            raise failure
    return not failures
