"""What a registry must be able to do: the one protocol that every adapter follows.

An adapter only translates. It asks once and answers or raises; it never retries, never backs off,
never keeps the last good list, never guesses. All of that is written once, for every registry, in
`trimtab.discovery` and `trimtab.registration`.

Adapters are asyncio code (or work under any loop, as httpx does) and measure time, where they
must, by `asyncio.get_running_loop().time()`, so that they run in virtual time as they are.

How an adapter reports errors:

| it raises                | when                                 | what the caller does   |
|--------------------------|--------------------------------------|------------------------|
| RegistryUnavailableError | no answer, time-out, 429, 5xx        | keep, back off         |
| RegistryCursorLostError  | a watch's place is forgotten         | relist at once         |
| RegistryDeniedError      | 401, 403                             | keep, back off longer  |
| RegistryAnswerError      | torn, too large, another shape       | keep, back off         |
| RegistryRequestError     | 400, 404, other 4xx                  | keep, back off longer  |
| NotRegisteredError       | writing about an unknown instance    | register again         |

One bad instance in an otherwise good answer is skipped, with a warning logged and named in
`Listing.skipped`; the set is not lost.

An adapter is made of parts: a reader, and where the scheme has them a watch and a writer. Each
takes the frozen settings of its scheme, and none of them inherits from another. `ComposedRegistry`
joins them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from trimtab.check import Check
    from trimtab.instance import Instance
    from trimtab.registries.urls import Settings

__all__ = [
    "CheckingRegistrar",
    "ComposedRegistry",
    "Listing",
    "MaintainingRegistrar",
    "Reader",
    "Registrar",
    "Registry",
    "Watch",
    "WatchableRegistry",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """One whole answer of a registry about one service.

    Attributes:
        instances: all instances, healthy and not; ids are distinct.
        version: an opaque mark, equal when nothing changed; "" if the registry has no such mark.
        reset: the registry lost its memory (an index went backwards, it was restarted): what
            answers now is doubtful.
        skipped: one message per entry that could not be read.
    """

    instances: tuple[Instance, ...]
    version: str = ""
    reset: bool = False
    skipped: tuple[str, ...] = ()


@runtime_checkable
class Registry(Protocol):
    """The reading side: answers with whole lists, one per question.

    `key` tells registries apart: two objects with equal keys name the same registry with the
    same rights and options, and share one supervisor per service. `url` is for people, without
    secrets.
    """

    @property
    def key(self) -> str:
        """Tell registries apart; equal keys share supervisors."""
        ...

    @property
    def url(self) -> str:
        """Name the registry to people, without secrets."""
        ...

    async def fetch(self, service: str) -> Listing:
        """Ask for the whole list of a service, now, within a bounded time."""
        ...

    async def services(self) -> list[str]:
        """Name the services that the registry knows, sorted."""
        ...

    async def aclose(self) -> None:
        """Close connections and files. Calling it again does nothing."""
        ...


@runtime_checkable
class WatchableRegistry(Registry, Protocol):
    """A registry that can push: long polls, watches, file system events."""

    def watch(self, service: str) -> AsyncIterator[Listing]:
        """Yield the whole list at once, then again whenever it may have changed.

        Ends only by raising a registry error, or when it is closed (`aclose` of the generator,
        cancellation), which gives back its connection. Yielding an unchanged list is allowed:
        it means that the list is still fresh.
        """
        ...


@runtime_checkable
class Registrar(Protocol):
    """The writing side. Each call asks once; `trimtab.registration` repeats."""

    async def register(self, service: str, instance: Instance, *, ttl_s: float) -> None:
        """Create or replace the registration; it lapses unless a heartbeat comes within `ttl_s`."""
        ...

    async def heartbeat(self, service: str, instance: Instance) -> None:
        """Renew the lease. Raises NotRegisteredError when the registry has forgotten it."""
        ...

    async def deregister(self, service: str, instance: Instance) -> None:
        """Remove the registration; one that is not there is no error."""
        ...


@runtime_checkable
class CheckingRegistrar(Registrar, Protocol):
    """A registrar whose registry runs checks of an instance itself."""

    def can_check(self, check: Check) -> bool:
        """Tell whether the registry can run such a check; else the registrant runs it."""
        ...

    async def register(
        self, service: str, instance: Instance, *, ttl_s: float, checks: Sequence[Check] = ()
    ) -> None:
        """Register, and have the registry run these checks besides the lease.

        Each starts in the instance's own status. `heartbeat` renews the lease alone.
        """
        ...


@runtime_checkable
class MaintainingRegistrar(Registrar, Protocol):
    """A registrar that can take an instance out of traffic without deregistering it."""

    async def maintain(
        self, service: str, instance: Instance, *, enable: bool, reason: str = ""
    ) -> None:
        """Begin or end the maintenance. Raises NotRegisteredError for an unknown instance."""
        ...


# -- composition ---------------------------------------------------------------------------------


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
