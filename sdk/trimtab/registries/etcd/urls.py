"""etcd URLs: which members there are, under which prefix the keys lie, and how to ask."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, unquote, urlencode

from trimtab.errors import ConfigurationError
from trimtab.registries.endpoints import TLS_OPTIONS, credentials, hosts_of, tls_of
from trimtab.registries.options import digest, duration_s, flag, read_options, shown, url_parts

__all__ = ["Place", "place_of", "read_url"]

_PORT = 2379
_SCHEMES = {"etcd": "http", "etcd+https": "https"}
_SETTINGS = {"resync": "resync_s", "timeout": "timeout_s"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a registry is.

    Attributes:
        url: for people, without secrets.
        members: the base URLs of the gateways, each with how messages name it.
        prefix: what all keys begin with, its last slash included; "" for none.
        credentials: user and password, if the URL has them.
        verify: an SSL context; False where there is no TLS.
        mark: differs when the credentials or the TLS options do.
    """

    url: str
    members: dict[str, str]
    prefix: str
    credentials: tuple[str, str] | None
    verify: Any
    mark: str


def read_url(url: str) -> tuple[str, dict[str, Any], bool]:
    """Read a URL into one for `place_of`, the settings of an adapter, and whether to poll.

    Raises:
        ConfigurationError: an option is unknown or wrong.
    """
    base, _, query = url.partition("?")
    options = read_options(url, query, known=(*TLS_OPTIONS, *_SETTINGS, "poll"))
    settings = {
        argument: duration_s(url, options, name, 0.0)
        for name, argument in _SETTINGS.items()
        if name in options
    }
    poll = flag(url, options, "poll")
    if poll and "resync_s" in settings:
        raise ConfigurationError(
            f"registry URL {shown(url)!r}: resync is for watches, not for poll"
        )
    tls = {name: options[name][0] for name in TLS_OPTIONS if name in options}
    return f"{base}?{urlencode(tls)}" if tls else base, settings, poll


def place_of(url: str) -> Place:
    """Read where the members are and how to reach them.

    Raises:
        ConfigurationError: a host, a port, the scheme or a TLS option is wrong.
    """
    parts = url_parts(url)
    if parts.scheme not in _SCHEMES or parts.fragment:
        raise ConfigurationError(
            f"registry URL {shown(url)!r}: write etcd://host:{_PORT},host:{_PORT}/prefix or "
            "etcd+https://... (and # as %23)"
        )
    hosts = [
        f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        for host, port in hosts_of(url, default_port=_PORT)
    ]
    options = read_options(url, parts.query, known=TLS_OPTIONS)
    secure = parts.scheme == "etcd+https"
    if options and not secure:
        raise ConfigurationError(
            f"registry URL {shown(url)!r}: {next(iter(options))}= is for TLS; write etcd+https://"
        )
    prefix = unquote(parts.path.removeprefix("/")).rstrip("/")
    path = quote(f"/{prefix}") if prefix else ""
    login = credentials(url)
    return Place(
        url=f"{parts.scheme}://{','.join(hosts)}{path}",
        members={
            f"{_SCHEMES[parts.scheme]}://{host}": f"{parts.scheme}://{host}{path}" for host in hosts
        },
        prefix=f"{prefix}/" if prefix else "",
        credentials=login,
        verify=tls_of(url, options) if secure else False,
        mark=digest(login, options),
    )
