"""List the keys of a service in etcd, and follow them by watches.

Sources: etcd.io/docs (API reference, gRPC gateway, authentication), and the behaviour of etcd
3.4.23 and 3.5.16 where it differs from them.
"""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING

from cachetools import LRUCache

from trimtab.registries.entries import Complaints
from trimtab.registries.etcd.entries import View, services_of
from trimtab.registries.etcd.wire import RangeAnswer, keys_under, watch_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from random import Random

    from trimtab.registries.etcd.gateway import Gateway
    from trimtab.registries.etcd.settings import EtcdSettings
    from trimtab.registries.protocol import Listing

__all__ = ["EtcdReader", "EtcdWatch"]

_SPREAD_RATIO = 0.25
_MAX_SERVICES_REMEMBERED = 4096


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
