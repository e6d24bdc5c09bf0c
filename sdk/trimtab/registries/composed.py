"""A registry is made of parts: a reader, and where the scheme has them a watch and a writer.

Each part takes the frozen settings of its scheme. The parts know the registry's protocol
(`trimtab.registries.protocol`), and none of them inherits from another.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from trimtab.registries.protocol import CheckingRegistrar, MaintainingRegistrar

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from trimtab.registries.protocol import Listing, Registrar
    from trimtab.registries.urls import Settings

__all__ = ["ComposedRegistry", "Reader", "Watch"]


class Reader(Protocol):
    """Asks for whole lists; see `trimtab.registries.protocol.Registry`."""

    async def fetch(self, service: str) -> Listing: ...  # noqa: D102 - see the class
    async def services(self) -> list[str]: ...  # noqa: D102 - see the class
    async def aclose(self) -> None: ...  # noqa: D102 - see the class


class Watch(Protocol):
    """Follows lists; see `trimtab.registries.protocol.WatchableRegistry`."""

    def watch(self, service: str) -> AsyncIterator[Listing]: ...  # noqa: D102 - see the class


class ComposedRegistry:
    """A registry that can do what its parts can do.

    The methods of a part that is missing are missing too. So `isinstance(registry, Registrar)`
    tells whether instances can be registered, and `WatchableRegistry` whether lists are pushed.

    Args:
        settings: name the registry.
        reader: asks for whole lists; closing it closes what the other parts use.
        watch: follows lists.
        writer: registers instances, and may have checks run by the registry.
    """

    def __init__(
        self,
        settings: Settings,
        reader: Reader,
        *,
        watch: Watch | None = None,
        writer: Registrar | None = None,
    ) -> None:
        self.settings, self.key, self.url = settings, settings.key, settings.url
        self.fetch, self.services, self.aclose = reader.fetch, reader.services, reader.aclose
        if watch is not None:
            self.watch = watch.watch
        if writer is not None:
            self.register, self.heartbeat = writer.register, writer.heartbeat
            self.deregister = writer.deregister
        if isinstance(writer, CheckingRegistrar):
            self.can_check = writer.can_check
        if isinstance(writer, MaintainingRegistrar):
            self.maintain = writer.maintain

    def __repr__(self) -> str:
        return f"<registry {self.url}>"
