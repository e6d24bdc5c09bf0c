"""ZooKeeper's settings: where the ensemble is, how it is asked, and the layout of services."""

from __future__ import annotations

import ssl  # noqa: TC003 - dataclasses want their types
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from kazoo.security import CREATOR_ALL_ACL, READ_ACL_UNSAFE

from trimtab.errors import ConfigurationError
from trimtab.hiding import shown
from trimtab.registries.urls import (
    TLS_OPTIONS,
    Settings,
    Tls,
    above_zero,
    credentials,
    duration_s,
    flag,
    path_of,
    places_of,
    split_options,
    tls_of,
)
from trimtab.registries.zookeeper.layouts import LAYOUTS, Layout, is_permitted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["LEAST_SESSION_S", "ZooKeeperSettings"]

LEAST_SESSION_S = 0.5
"""The shortest session that is asked for."""
_PORT = 2181
_OPTIONS = ("acl", "dubbo", "poll", "recheck", "sasl", "session", "timeout", "tls", *TLS_OPTIONS)
_ACLS: dict[str, Any] = {"open": None, "creator": CREATOR_ALL_ACL + READ_ACL_UNSAFE}


@dataclass(frozen=True, slots=True, kw_only=True)
class ZooKeeperSettings(Settings):
    """How an ensemble is asked.

    Attributes:
        hosts: the members, `h1:2181,h2:2181`.
        base: the node above the services.
        dubbo: whether the layout is Dubbo's, which is only read; else Apache Curator's.
        user: user and password, if there are any.
        session_s: the timeout of the session to read with, at least 0.5.
        timeout_s: how long the ensemble may be silent while a question waits; within it a
            broken connection is waited for.
        recheck_s: how often everything is read again although no watch has fired.
        poll: whether lists are only read when asked for, and leave no watches.
        sasl: authenticate by SASL (DIGEST-MD5) rather than by the scheme "digest".
        tls: the files for TLS, or a context made of them; None means plain TCP.
        acl: "open", all may do all with the nodes written here, as Curator has it; "creator",
            only the user may, and others read. That holds for nodes made above them, too.

    Raises:
        ConfigurationError: a setting is wrong.
    """

    hosts: str
    base: str = "/services"
    dubbo: bool = False
    user: tuple[str, str] | None = field(default=None, repr=False)
    session_s: float = 10.0
    timeout_s: float = 5.0
    recheck_s: float = 60.0
    poll: bool = False
    sasl: bool = False
    tls: Tls | ssl.SSLContext | None = None
    acl: str = "open"

    def __post_init__(self) -> None:
        if not LEAST_SESSION_S <= self.session_s < float("inf"):
            raise ConfigurationError(f"{self.url}: session_s is {self.session_s!r}; at least 0.5")
        above_zero(self, "timeout_s", "recheck_s")
        if self.acl not in _ACLS:
            raise ConfigurationError(f"{self.url}: acl is {self.acl!r}; it must be open or creator")
        if not self.user and (self.sasl or self.acl == "creator"):
            raise ConfigurationError(
                f"{self.url}: {'sasl' if self.sasl else 'acl=creator'} needs a user: "
                "zk://user:password@host"
            )
        if self.sasl and find_spec("puresasl") is None:
            raise ConfigurationError(f"{self.url}: sasl needs pure-sasl: pip install pure-sasl")

    @classmethod
    def from_url(cls, url: str) -> ZooKeeperSettings:
        """Read `zk://[user:password@]host1:2181,host2:2181/base`, with options.

        Raises:
            ConfigurationError: the URL or one of its options is wrong.
        """
        place, options = split_options(url, known=_OPTIONS)
        if not place.startswith("zk://") or "#" in place:
            raise ConfigurationError(
                f"registry URL {shown(url)!r}: write zk://host1:2181,host2:2181/services"
            )
        hosts, dubbo = ",".join(places_of(place, default_port=_PORT)), flag(url, options, "dubbo")
        if dubbo and "acl" in options:
            raise ConfigurationError(
                f"registry URL {shown(url)!r}: acl= is for writing, and Dubbo's format is only read"
            )
        base = _base(place, LAYOUTS[dubbo].default_base)
        return cls(
            url=f"zk://{hosts}{base}",
            hosts=hosts,
            base=base,
            dubbo=dubbo,
            user=credentials(place),
            session_s=duration_s(url, options, "session", 10.0),
            timeout_s=duration_s(url, options, "timeout", 5.0),
            recheck_s=duration_s(url, options, "recheck", 60.0),
            poll=flag(url, options, "poll"),
            sasl=flag(url, options, "sasl"),
            tls=_tls(url, options),
            acl=options.get("acl", ["open"])[0],
        )

    def layout(self) -> Layout:
        """Make the layout of the services."""
        return LAYOUTS[self.dubbo](self.base)

    def acls(self) -> Sequence[Any] | None:
        """Return kazoo's ACL for the nodes written here; None means all to all."""
        acls: Sequence[Any] | None = _ACLS[self.acl]
        return acls

    def context(self) -> ssl.SSLContext | None:
        """Return the TLS context; None for plain TCP.

        Raises:
            ConfigurationError: a file cannot be read.
        """
        return self.tls.context(self.url) if isinstance(self.tls, Tls) else self.tls


def _base(url: str, default: str) -> str:
    """Read the node above the services; `default` if the URL names none."""
    path = unquote(path_of(url)).rstrip("/")
    if not path:
        return default
    if not all(is_permitted(name) for name in path[1:].split("/")):
        raise ConfigurationError(
            f"registry URL {shown(url)!r}: {path!r} can be no path in ZooKeeper"
        )
    return path


def _tls(url: str, options: Mapping[str, list[str]]) -> Tls | None:
    """Read the TLS files where the URL asks for TLS: by `tls`, or by a certificate."""
    given = [name for name in TLS_OPTIONS if name in options]
    if "tls" in options and not flag(url, options, "tls"):
        if given:
            raise ConfigurationError(
                f"registry URL {shown(url)!r}: tls is off, and {given[0]}= is given"
            )
        return None
    return tls_of(url, options) if given or "tls" in options else None
