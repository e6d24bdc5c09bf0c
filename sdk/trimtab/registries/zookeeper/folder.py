"""One service's node and its children, read and read again: what watches leave to do.

A watch of ZooKeeper tells once, and only that something has changed. So each reading leaves new
watches: on the list of children, on each child's data (a weight that changes does not change the
list), and on the node's coming where there is none. What changes between a watch and its
re-arming is seen by the reading that re-arms it.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from kazoo.exceptions import NoNodeError

from trimtab.errors import RegistryAnswerError

if TYPE_CHECKING:
    from collections.abc import Collection

    from trimtab.registries.zookeeper.session import Session

__all__ = ["Folder"]

MAX_CHILDREN = 20_000


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
            # The member may lag behind one that we have read from before.
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
                # No watch was left; one on its coming is. It may have come just now.
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
        """Take over what was found; a child with children of its own is no instance."""
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
