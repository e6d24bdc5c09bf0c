"""etcd's settings: which members there are, under which prefix the keys are, how they are asked."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote, unquote

from trimtab.errors import ConfigurationError
from trimtab.hiding import shown
from trimtab.registries.members import MemberSettings, tls_if_secure
from trimtab.registries.urls import (
    TLS_OPTIONS,
    above_zero,
    credentials,
    duration_s,
    flag,
    path_of,
    places_of,
    split_options,
)

__all__ = ["EtcdSettings"]

_PORT = 2379
_SCHEMES = ("etcd", "etcd+https")


@dataclass(frozen=True, slots=True, kw_only=True)
class EtcdSettings(MemberSettings):
    """How etcd is asked; see `MemberSettings` for the rest.

    Attributes:
        prefix: the beginning of all keys, its last slash included; "" for none.
        timeout_s: bound on each question, above 0. Without a leader etcd holds a question for up
            to 7 s; another member may answer sooner.
        max_bytes: the largest answer that is read, and the largest message of a watch.
        poll: whether lists are only read when asked for, and not watched.
        resync_s: how long a watch may be silent before it is left, above 0. The real bound is
            drawn from three quarters of it on, so that watches that began together do not list
            together ever after.

    Raises:
        ConfigurationError: a setting is wrong.
    """

    prefix: str = ""
    timeout_s: float = 5.0
    poll: bool = False
    resync_s: float = 20.0

    def __post_init__(self) -> None:
        above_zero(self, "timeout_s", "resync_s")

    @classmethod
    def from_url(cls, url: str) -> EtcdSettings:
        """Read `etcd://[user:password@]host:port,host:port/prefix` or `etcd+https://`.

        Raises:
            ConfigurationError: the URL or one of its options is wrong.
        """
        base, options = split_options(url, known=("resync", "timeout", "poll", *TLS_OPTIONS))
        scheme = base.partition("://")[0]
        if scheme not in _SCHEMES or "#" in base:
            raise ConfigurationError(
                f"registry URL {shown(url)!r}: write etcd://host:{_PORT},host:{_PORT}/prefix or "
                "etcd+https://... (and # as %23)"
            )
        poll = flag(url, options, "poll")
        if poll and "resync" in options:
            raise ConfigurationError(
                f"registry URL {shown(url)!r}: resync is for watches, not for poll"
            )
        places, tls = places_of(base, default_port=_PORT), tls_if_secure(base, options)
        prefix = unquote(path_of(base).removeprefix("/")).rstrip("/")
        path = quote(f"/{prefix}") if prefix else ""
        return cls(
            url=f"{scheme}://{','.join(places)}{path}",
            bases=tuple(dict.fromkeys(f"{'https' if tls else 'http'}://{each}" for each in places)),
            login=credentials(base),
            tls=tls,
            prefix=f"{prefix}/" if prefix else "",
            poll=poll,
            timeout_s=duration_s(url, options, "timeout", 5.0),
            resync_s=duration_s(url, options, "resync", 20.0),
        )

    def name_of(self, base: str) -> str:
        """Return how messages name the member at a base URL."""
        scheme = self.url.partition("://")[0]
        return f"{scheme}://{base.partition('://')[2]}{path_of(self.url)}"
