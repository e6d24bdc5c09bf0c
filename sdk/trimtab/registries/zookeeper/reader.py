"""Read a service's node and its children in ZooKeeper, and follow them by watches.

A watch of ZooKeeper fires once, and reports only that something has changed. So each reading
leaves new watches: on the list of children, on each child's data (a weight that changes does not
change the list), and on the node's creation where there is none. A change between a watch and its
re-arming is seen by the reading that re-arms it.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from kazoo.exceptions import NoNodeError

from trimtab.errors import RegistryAnswerError
from trimtab.registries.entries import Complaints
from trimtab.registries.protocol import Listing

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection

    from trimtab.registries.zookeeper.ensemble import Ensemble
    from trimtab.registries.zookeeper.session import Session
    from trimtab.registries.zookeeper.settings import ZooKeeperSettings

__all__ = ["Folder", "ZooKeeperReader", "ZooKeeperWatch"]

MAX_CHILDREN = 20_000


class ZooKeeperReader:
    """Reads whole lists, in the layout of the settings.

    One kazoo client, with its three threads, is started at the first question on each event
    loop, and ended by `aclose`.

    Args:
        settings: see `ZooKeeperSettings`.
        ensemble: asks ZooKeeper.
    """

    def __init__(self, settings: ZooKeeperSettings, ensemble: Ensemble) -> None:
        self.url, self._ensemble, self._layout = settings.url, ensemble, settings.layout()
        self._complaints = Complaints()
        self._seen_zxid = 0

    async def fetch(self, service: str) -> Listing:
        """Read the whole list; a service without a node is empty.

        Raises:
            RegistryError: see `trimtab.registries.protocol`.
        """
        return await self.read(service, self.folder(service), None, watch=False)

    async def services(self) -> list[str]:
        """Name the services: those too that have no instances left, if their nodes are there."""

        async def question(session: Session) -> list[str]:
            try:
                names: list[str] = await session.ask(
                    session.client.get_children_async, self._layout.base
                )
            except NoNodeError:
                return []
            return names

        children = await self._ensemble.ask("the list of services", question)
        return self._layout.services(children)

    async def aclose(self) -> None:
        """End the sessions: what was registered by them is gone at once."""
        await self._ensemble.aclose()

    def folder(self, service: str) -> Folder:
        """Return the folder of a service, not read yet."""
        path = self._layout.folder(self.url, service)
        return Folder(path, with_data=self._layout.with_data)

    async def read(
        self, service: str, folder: Folder, touched: Collection[str] | None, *, watch: bool
    ) -> Listing:
        """Read a folder, or the touched part of it; leave watches if wanted."""

        async def question(session: Session) -> int:
            await folder.read(session, touched, watch=watch)
            zxid: int = session.client.last_zxid
            return zxid

        zxid = await self._ensemble.ask(repr(service), question)
        place = f"{self.url}: {service!r}"
        instances, skipped = self._layout.read(place, service, folder.nodes)
        self._complaints.about(service, skipped)
        # The ensemble's count of changes went backwards: it was restarted without its data.
        reset, self._seen_zxid = zxid < self._seen_zxid, zxid
        return Listing(instances=instances, version=folder.version, reset=reset, skipped=skipped)


class ZooKeeperWatch:
    """Follows lists by watches, and reads everything again now and then.

    Args:
        settings: see `ZooKeeperSettings`.
        ensemble: reports changes.
        reader: reads what has changed.
    """

    def __init__(
        self, settings: ZooKeeperSettings, ensemble: Ensemble, reader: ZooKeeperReader
    ) -> None:
        self._ensemble, self._reader, self._recheck_s = ensemble, reader, settings.recheck_s

    async def watch(self, service: str) -> AsyncIterator[Listing]:
        """Yield the list at once, and whenever ZooKeeper reports a change.

        Only the nodes that have changed are read again; all nodes are after each loss of the
        connection, which takes all watches with it.

        Raises:
            RegistryError: see `trimtab.registries.protocol`.
        """
        folder, touched = self._reader.folder(service), None
        with self._ensemble.alarm(folder.path) as alarm:
            while True:
                yield await self._reader.read(service, folder, touched, watch=True)
                touched = await alarm.wait(self._recheck_s)


@dataclass(slots=True)
class Folder:
    """The children of a node, as last read.

    Attributes:
        path: the node.
        with_data: whether the children's data are read, or only their names.
        nodes: the data per child's name; b"" without data.
        version: equal while nothing has changed.
    """

    path: str
    with_data: bool
    nodes: dict[str, bytes] = field(default_factory=dict)
    version: str = ""
    _stat: Any = None
    _changed: dict[str, int] = field(default_factory=dict)
    _is_whole: bool = False

    async def read(self, session: Session, touched: Collection[str] | None, *, watch: bool) -> None:
        """Read what was touched, or everything, and leave watches if wanted.

        Everything is read too if the last reading did not come to its end.

        Raises:
            KazooException: see `Session.ask`.
            RegistryAnswerError: there are too many children.
        """
        touched = touched if self._is_whole else None
        self._is_whole = False
        if touched is None:
            # The member may lag behind the one that was read before.
            await session.ask(session.client.sync_async, self.path)
        names: Collection[str] = self._changed
        if touched is None or self.path in touched:
            names = await self._list(session, watch=watch)
        wanted = [name for name in names if self._is_wanted(name, touched)]
        found = dict(zip(wanted, await self._get_all(session, wanted, watch=watch), strict=True))
        self._keep(names, found)
        self._is_whole = True

    async def _list(self, session: Session, *, watch: bool) -> list[str]:
        heard = session.on_event if watch else None
        client = session.client
        while True:
            try:
                names, self._stat = await session.ask(
                    client.get_children_async, self.path, watch=heard, include_data=True
                )
            except NoNodeError:
                # That left no watch; one on the node's creation is left now. It may exist by now.
                if watch and await session.ask(client.exists_async, self.path, watch=heard):
                    continue
                names, self._stat = [], None
            if len(names) > MAX_CHILDREN:
                raise RegistryAnswerError(
                    f"node {self.path!r} has {len(names)} children; at most {MAX_CHILDREN} are read"
                )
            return sorted(names)

    def _is_wanted(self, name: str, touched: Collection[str] | None) -> bool:
        return touched is None or name not in self._changed or f"{self.path}/{name}" in touched

    async def _get_all(
        self, session: Session, names: list[str], *, watch: bool
    ) -> list[tuple[bytes, Any] | None]:
        if not self.with_data:
            return [(b"", None)] * len(names)
        answers = await asyncio.gather(
            *(self._get(session, name, watch=watch) for name in names), return_exceptions=True
        )
        found: list[tuple[bytes, Any] | None] = []
        for answer in answers:
            if isinstance(answer, BaseException):
                raise answer
            found.append(answer)
        return found

    async def _get(self, session: Session, name: str, *, watch: bool) -> tuple[bytes, Any] | None:
        """Get a child's data; None if it has gone since it was listed."""
        heard = session.on_event if watch else None
        try:
            answer: tuple[bytes, Any] = await session.ask(
                session.client.get_async, f"{self.path}/{name}", watch=heard
            )
        except NoNodeError:
            return None
        return answer

    def _keep(self, names: Collection[str], found: dict[str, tuple[bytes, Any] | None]) -> None:
        """Keep the new data; a child with children of its own is no instance."""
        nodes, changed = {}, {}
        for name in names:
            if name not in found:
                changed[name] = self._changed[name]
                if name in self.nodes:
                    nodes[name] = self.nodes[name]
            elif (answer := found[name]) is not None:
                data, stat = answer
                changed[name] = stat.mzxid if stat else 0
                if stat is None or not stat.numChildren:
                    nodes[name] = data or b""
        self.nodes, self._changed = nodes, changed
        newest = max(changed.values(), default=0)
        stat = self._stat
        self.version = f"{stat.czxid:x}-{stat.pzxid:x}-{newest:x}" if stat else "none"
