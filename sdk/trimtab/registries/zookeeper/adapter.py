"""The ZooKeeper adapters: Curator's services to read, watch and write; Dubbo's to read, watch."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, ClassVar

from kazoo.exceptions import NoNodeError
from kazoo.security import CREATOR_ALL_ACL, READ_ACL_UNSAFE

from trimtab.errors import ConfigurationError
from trimtab.registries.entries import Complaints
from trimtab.registries.options import digest
from trimtab.registries.protocol import Listing
from trimtab.registries.zookeeper.client import ClientSettings
from trimtab.registries.zookeeper.curator import CuratorLayout
from trimtab.registries.zookeeper.dubbo import DubboLayout
from trimtab.registries.zookeeper.ensemble import Ensemble
from trimtab.registries.zookeeper.folder import Folder
from trimtab.registries.zookeeper.leases import Leases
from trimtab.registries.zookeeper.urls import base_of, ensemble_of

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Collection

    from trimtab.instance import Instance
    from trimtab.registries.zookeeper.session import Session

__all__ = [
    "DubboPolledRegistry",
    "DubboRegistry",
    "ZooKeeperPolledRegistry",
    "ZooKeeperRegistry",
]

_LEAST_SESSION_S = 0.5
_ACLS: dict[str, Any] = {"open": None, "creator": CREATOR_ALL_ACL + READ_ACL_UNSAFE}


class _Reader:
    """Read the services of one ensemble, in the layout that the subclass names.

    One kazoo client, with its three threads, is started at the first question on each event
    loop, and ended by `aclose`.
    """

    _layout_of: ClassVar[Any]
    _default_base: ClassVar[str]

    def __init__(
        self,
        url: str,
        *,
        session_s: float = 10.0,
        timeout_s: float = 5.0,
        sasl: bool = False,
        tls: ssl.SSLContext | None = None,
        acl: str = "open",
    ) -> None:
        hosts, user = ensemble_of(url)
        base = base_of(url, self._default_base)
        self.url = f"zk://{hosts}{base}"
        self._check(session_s=session_s, timeout_s=timeout_s, acl=acl, sasl=sasl, user=user)
        settings = (user, session_s, timeout_s, sasl, tls is not None, acl)
        self.key = f"{type(self).__name__} {self.url} {digest(*settings)}"
        client = ClientSettings(hosts=hosts, user=user, sasl=sasl, tls=tls, acl=_ACLS[acl])
        self._ensemble = Ensemble(self.url, client, session_s=session_s, timeout_s=timeout_s)
        self._layout = self._layout_of(base)
        self._complaints = Complaints()
        self._seen_zxid = 0

    async def fetch(self, service: str) -> Listing:
        """Read the whole list; a service without a node is empty.

        Raises:
            RegistryError: see `trimtab.registries.protocol`.
        """
        return await self._read(service, self._folder(service), None, watch=False)

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
        found: list[str] = self._layout.services(children)
        return found

    async def aclose(self) -> None:
        """End the sessions: what was registered by them is gone at once."""
        await self._ensemble.aclose()

    def _folder(self, service: str) -> Folder:
        path = self._layout.folder(self.url, service)
        return Folder(path, with_data=self._layout.with_data)

    async def _read(
        self, service: str, folder: Folder, touched: Collection[str] | None, *, watch: bool
    ) -> Listing:
        async def question(session: Session) -> int:
            await folder.read(session, touched, watch=watch)
            zxid: int = session.client.last_zxid
            return zxid

        zxid = await self._ensemble.ask(repr(service), question)
        place = f"{self.url}: {service!r}"
        instances, skipped = self._layout.read(place, service, folder.nodes)
        self._complaints.about(service, skipped)
        # Its count of changes went backwards: it was restarted without its data.
        reset, self._seen_zxid = zxid < self._seen_zxid, zxid
        return Listing(instances=instances, version=folder.version, reset=reset, skipped=skipped)

    def _check(
        self, *, session_s: float, timeout_s: float, acl: str, sasl: bool, user: object
    ) -> None:
        if not _LEAST_SESSION_S <= session_s < float("inf"):
            raise ConfigurationError(f"{self.url}: session_s is {session_s!r}; at least 0.5")
        if not 0 < timeout_s < float("inf"):
            raise ConfigurationError(f"{self.url}: timeout_s is {timeout_s!r}; it must be above 0")
        if acl not in _ACLS:
            raise ConfigurationError(f"{self.url}: acl is {acl!r}; it must be open or creator")
        if not user and (sasl or acl == "creator"):
            raise ConfigurationError(
                f"{self.url}: {'sasl' if sasl else 'acl=creator'} needs a user: "
                "zk://user:password@host"
            )
        if sasl and find_spec("puresasl") is None:
            raise ConfigurationError(f"{self.url}: sasl needs pure-sasl: pip install pure-sasl")


class _Watching(_Reader):
    """Follow the lists by watches, and read everything again now and then.

    Args:
        recheck_s: how often everything is read again though no watch has told anything.
    """

    def __init__(self, url: str, *, recheck_s: float = 60.0, **settings: Any) -> None:
        super().__init__(url, **settings)
        if not 0 < recheck_s < float("inf"):
            raise ConfigurationError(f"{self.url}: recheck_s is {recheck_s!r}; it must be above 0")
        self._recheck_s = recheck_s
        self.key += f" {recheck_s:g}"

    async def watch(self, service: str) -> AsyncIterator[Listing]:
        """Yield the list at once, and whenever ZooKeeper tells of a change.

        Only what was told of is read again; everything is, after each loss of the connection,
        which takes all watches with it.

        Raises:
            RegistryError: see `trimtab.registries.protocol`.
        """
        folder, touched = self._folder(service), None
        with self._ensemble.alarm(folder.path) as alarm:
            while True:
                yield await self._read(service, folder, touched, watch=True)
                touched = await alarm.wait(self._recheck_s)


class ZooKeeperPolledRegistry(_Reader):
    """Read services in Curator's format when asked, and register in it.

    A registration lives as long as its session, whose timeout is its TTL: it is gone that long
    after a crash, and at once after `aclose`. kazoo's threads keep the session alive, also
    while the event loop is busy. The servers keep timeouts between 2 and 20 of their ticks (4
    and 40 s by default), whatever TTL is asked for; none is asked for below 0.5 s.

    Args:
        url: `zk://[user:password@]host1:2181,host2:2181/base`; the base is "/services" if there
            is none.
        session_s: the timeout of the session to read with, at least 0.5.
        timeout_s: how long the ensemble may be silent while a question waits; within it a
            broken connection is waited for.
        sasl: authenticate the user by SASL (DIGEST-MD5) instead of the scheme "digest".
        tls: the context for TLS; None means plain TCP.
        acl: "open", all may do all with the nodes written here, as Curator has it; "creator",
            only the user may, and others read. That holds for nodes made above them, too.

    Raises:
        ConfigurationError: a setting is wrong.
    """

    _layout_of = CuratorLayout
    _default_base = "/services"

    def __init__(self, url: str, **settings: Any) -> None:
        super().__init__(url, **settings)
        self._leases = Leases(self._ensemble, least_session_s=_LEAST_SESSION_S)

    async def register(self, service: str, instance: Instance, *, ttl_s: float) -> None:
        """Create the node, or take over the one that a predecessor has left.

        Raises:
            RegistryError: see `trimtab.registries.protocol`.
        """
        folder = self._layout.folder(self.url, service)
        await self._leases.begin(folder, service, instance, ttl_s=ttl_s)

    async def heartbeat(self, service: str, instance: Instance) -> None:
        """Check that the node is there and ours; write it again if the instance has changed.

        Raises:
            NotRegisteredError: it is not there, or is another's by now.
        """
        await self._leases.renew(self._layout.folder(self.url, service), service, instance)

    async def deregister(self, service: str, instance: Instance) -> None:
        """Delete the node, unless a successor has taken it over meanwhile."""
        await self._leases.end(self._layout.folder(self.url, service), service, instance)


class ZooKeeperRegistry(_Watching, ZooKeeperPolledRegistry):
    """Follow services in Curator's format by watches, and register in it.

    Args:
        url: see `ZooKeeperPolledRegistry`, also for the settings not named here.
        recheck_s: how often everything is read again though no watch has told anything.
        settings: those of `ZooKeeperPolledRegistry`.
    """


class DubboPolledRegistry(_Reader):
    """Read Dubbo's interface-level registrations when asked; nothing is written.

    A service is named as Dubbo does, `[group/]interface[:version]`.

    Args:
        url: `zk://[user:password@]host1:2181,host2:2181/base`; the base is "/dubbo" if there is
            none. The settings are those of `ZooKeeperPolledRegistry`.
    """

    _layout_of = DubboLayout
    _default_base = "/dubbo"


class DubboRegistry(_Watching, DubboPolledRegistry):
    """Follow Dubbo's interface-level registrations by watches; see `DubboPolledRegistry`.

    Args:
        url: see `DubboPolledRegistry`.
        recheck_s: how often everything is read again though no watch has told anything.
    """
