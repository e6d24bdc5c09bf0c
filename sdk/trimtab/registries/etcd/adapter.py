"""The etcd adapter: list a service's keys and watch them; register under leases.

Sources: etcd.io/docs (API reference, gRPC gateway, authentication), and the behaviour of etcd
3.4.23 and 3.5.16 where it differs from them.
"""

from __future__ import annotations

from contextlib import aclosing
from random import Random
from typing import TYPE_CHECKING, Any

from cachetools import LRUCache

from trimtab.errors import ConfigurationError
from trimtab.registries.entries import Complaints
from trimtab.registries.etcd.gateway import Gateway
from trimtab.registries.etcd.leases import Leases
from trimtab.registries.etcd.reading import View, services_of
from trimtab.registries.etcd.urls import place_of
from trimtab.registries.etcd.wire import RangeAnswer, keys_under, watch_of
from trimtab.registries.options import digest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import httpx

    from trimtab.instance import Instance
    from trimtab.registries.protocol import Listing

__all__ = ["EtcdPolledRegistry", "EtcdRegistry"]

_SPREAD_RATIO = 0.25
_MAX_SERVICES_REMEMBERED = 4096


class EtcdPolledRegistry:
    """Ask etcd for lists without watching, and register under leases; see `EtcdRegistry`.

    A registration belongs to the object that made it, which knows its lease.

    Args:
        url: `etcd://[user:password@]host:port,host:port/prefix` or `etcd+https://`, which takes
            the options `ca`, `cert`, `key` (files) and `verify`.
        timeout_s: bound on each question, above 0. Without a leader etcd holds one for up to
            7 s; another member may answer sooner.
        max_bytes: the largest answer that is read, and the largest message of a watch.
        transport: used instead of the network, in tests and simulations.
        rng: the source of chance for the member to begin with.

    Raises:
        ConfigurationError: the URL or a setting is wrong.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout_s: float = 5.0,
        max_bytes: int = 64 * 2**20,
        transport: httpx.AsyncBaseTransport | None = None,
        rng: Random | None = None,
    ) -> None:
        self._place = place_of(url)
        self.url = self._place.url
        if not 0 < timeout_s < float("inf"):
            raise ConfigurationError(f"{self.url}: timeout_s is {timeout_s!r}; it must be above 0")
        self.key = (
            f"{type(self).__name__} {self.url} {digest(self._place.mark, timeout_s, transport)}"
        )
        self._rng = rng or Random()
        self._gateway = Gateway(
            self._place,
            timeout_s=timeout_s,
            max_bytes=max_bytes,
            rng=self._rng,
            transport=transport,
        )
        self._leases = Leases(self._gateway, self._place)
        self._complaints = Complaints()
        self._seen: LRUCache[str, tuple[int | str, int]] = LRUCache(_MAX_SERVICES_REMEMBERED)

    async def fetch(self, service: str) -> Listing:
        """Ask for the whole list; a service without keys is empty.

        Raises:
            RegistryError: see `trimtab.registries.protocol`.
        """
        view, _ = await self._view(service)
        return self._listing(service, view)

    async def services(self) -> list[str]:
        """Name the services that have keys under the prefix."""
        question = keys_under(self._place.prefix, only_keys=True)
        return services_of(
            self._place.prefix, await self._gateway.ask("/v3/kv/range", question, RangeAnswer)
        )

    async def register(self, service: str, instance: Instance, *, ttl_s: float) -> None:
        """Register under a new lease of `ttl_s` in whole seconds; etcd's shortest is 2."""
        await self._leases.register(service, instance, ttl_s=ttl_s)

    async def heartbeat(self, service: str, instance: Instance) -> None:
        """Renew the lease; what has changed about the instance is written.

        Raises:
            NotRegisteredError: the lease has lapsed, or the key is gone or somebody else's.
        """
        await self._leases.heartbeat(service, instance)

    async def deregister(self, service: str, instance: Instance) -> None:
        """Remove the registration, if it is there."""
        await self._leases.deregister(service, instance)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._gateway.aclose()

    async def _view(self, service: str) -> tuple[View, int]:
        """Read the whole list, and at which revision it was so."""
        # Before asking: of two questions at once the older may be answered last.
        cluster, newest = self._seen.get(service, (0, 0))
        prefix = self._prefix(service)
        answer: RangeAnswer = await self._gateway.ask(
            "/v3/kv/range", keys_under(prefix), RangeAnswer
        )
        revision, id_ = answer.header.revision, answer.header.cluster_id
        # Wiped or restored: revisions begin anew, and the cluster's id may even be the same.
        reset = bool(newest) and (revision < newest or id_ != cluster)
        if reset or revision > newest:
            self._seen[service] = (id_, revision)
        return View(f"{self.url}: {service!r}", prefix, answer, reset=reset), revision

    def _listing(self, service: str, view: View) -> Listing:
        listing = view.listing()
        self._complaints.about(service, listing.skipped)
        return listing

    def _prefix(self, service: str) -> str:
        return f"{self._place.prefix}{service}/"


class EtcdRegistry(EtcdPolledRegistry):
    """Follow etcd's keys by watches, and register under leases.

    Each watch holds one connection. A watch that was silent for about `resync_s` is closed, and
    the list is read anew: a member that hangs says nothing at all, and a watch whose revision
    lies in the future (the cluster was restored) says nothing for ever.

    Args:
        url: see `EtcdPolledRegistry`, also for the settings not named here.
        resync_s: how long a watch may be silent, above 0; drawn from three quarters of it on,
            so that watches that began together do not list together ever after.
        settings: those of `EtcdPolledRegistry`.
    """

    def __init__(self, url: str, *, resync_s: float = 20.0, **settings: Any) -> None:
        super().__init__(url, **settings)
        if not 0 < resync_s < float("inf"):
            raise ConfigurationError(f"{self.url}: resync_s is {resync_s!r}; it must be above 0")
        self._resync_s = resync_s
        self.key += f" {resync_s:g}"

    async def watch(self, service: str) -> AsyncIterator[Listing]:
        """Yield the list at once, after every change, and after every silence.

        Always begins with the whole list: what was missed may be compacted, and a revision from
        before a restore may lie in the future, where nothing is ever told.

        Raises:
            RegistryCursorLostError: etcd has cancelled the watch.
            RegistryError: see `trimtab.registries.protocol`.
        """
        while True:
            view, revision = await self._view(service)
            yield self._listing(service, view)
            messages = self._gateway.watch(
                watch_of(self._prefix(service), revision=revision + 1),
                silence_s=self._resync_s * (1 - _SPREAD_RATIO * self._rng.random()),
            )
            async with aclosing(messages):
                async for message in messages:
                    view.apply(message)
                    if not message.created:
                        yield self._listing(service, view)
