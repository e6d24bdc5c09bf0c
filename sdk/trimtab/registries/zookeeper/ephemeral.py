"""Nodes that live by a session: put in place, renewed, taken away.

The node of a process that crashed lives on until its session ends, and a new process with the
same id finds it there. It would vanish under the new one; so it is replaced, in one transaction,
by a node of the own session. The same tells a registrant whose node another has replaced.
"""

from __future__ import annotations

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

from trimtab.errors import RegistryUnavailableError

if TYPE_CHECKING:
    from trimtab.registries.zookeeper.session import Session

__all__ = ["is_ours", "put", "remove"]

_TRIES = 5
_OVERTAKEN = (
    BadVersionError,
    NoNodeError,
    NodeExistsError,
    RolledBackError,
    RuntimeInconsistency,
)
"""What single steps of a transaction answer when another client was faster, or one failed."""


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
    """Delete the node if it is there; a node that is another session's only if told so."""
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
