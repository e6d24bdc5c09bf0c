"""The members of one registry: read from a URL, and which of them is asked now."""

from __future__ import annotations

import re
from random import Random
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from trimtab.errors import ConfigurationError
from trimtab.http import tls_context
from trimtab.registries.options import flag, shown

if TYPE_CHECKING:
    import ssl
    from collections.abc import Mapping, Sequence

__all__ = ["TLS_OPTIONS", "Endpoints", "credentials", "hosts_of", "tls_of"]

TLS_OPTIONS = ("ca", "cert", "key", "verify")
"""The options that `tls_of` reads."""

_MAX_PORT = 65535
_PLACE = re.compile(r"([^/?#]*)(.*)", re.DOTALL)


class Endpoints:
    """Several members that answer for one registry; one is asked until it fails.

    Each client begins at a member of its own choosing, so that a fleet does not crowd on the
    first. An adapter that finds a member unavailable calls `failed` and raises; whoever repeats
    then asks the next one.

    Args:
        members: what names them, base URLs say; at least one.
        rng: the source of chance for where to begin.
    """

    def __init__(self, members: Sequence[str], *, rng: Random | None = None) -> None:
        self.members = tuple(members)
        self._at = (rng or Random()).randrange(len(self.members))

    @property
    def current(self) -> str:
        """The member to ask."""
        return self.members[self._at]

    def failed(self, member: str) -> None:
        """Turn to the next member, unless another question has done so already."""
        if member == self.current:
            self._at = (self._at + 1) % len(self.members)


def hosts_of(url: str, *, default_port: int) -> list[tuple[str, int]]:
    """Read `scheme://[user:password@]h1[:p1],h2[:p2]/...` into hosts and ports, in order.

    Raises:
        ConfigurationError: a host is missing, or a port is no number from 1 to 65535.
    """
    _, hosts_text, rest = _parts(url)
    if "@" in rest:
        # Its beginning was taken for the host: it must not be shown.
        raise ConfigurationError(
            f"registry URL {shown(url)!r}: write a '/', '?' or '#' in a user or password as %2F, "
            "%3F or %23"
        )
    hosts = []
    for text in hosts_text.split(","):
        try:
            parts = urlsplit(f"//{text}")
            host, port = parts.hostname, default_port if parts.port is None else parts.port
        except ValueError:
            host, port = None, 0
        if not (host and 0 < port <= _MAX_PORT):
            raise ConfigurationError(
                f"registry URL {shown(url)!r}: {text!r} is no host:port; "
                f"write several as host1:{default_port},host2:{default_port}"
            )
        hosts.append((host, port))
    return hosts


def credentials(url: str) -> tuple[str, str] | None:
    """Give the user and the password that a URL carries, decoded; None if there is no user."""
    user, _, password = _parts(url)[0].partition(":")
    return (unquote(user), unquote(password)) if user else None


def _parts(url: str) -> tuple[str, str, str]:
    """Give the user part, the hosts and the rest; urlsplit refuses several hosts in brackets."""
    place, rest = _PLACE.fullmatch(url.partition("://")[2]).groups()  # type: ignore[union-attr] # it matches anything
    user, _, hosts = place.rpartition("@")
    return user, hosts, rest.partition("?")[0]


def tls_of(url: str, options: Mapping[str, list[str]]) -> ssl.SSLContext:
    """Make the TLS context that the options `ca`, `cert`, `key` and `verify` of a URL ask for.

    Raises:
        ConfigurationError: a file cannot be read, or `key` stands without `cert`.
    """
    ca, cert, key = (options.get(name, [None])[0] for name in ("ca", "cert", "key"))
    if key and not cert:
        raise ConfigurationError(f"registry URL {shown(url)!r}: key= needs cert= beside it")
    verify = "verify" not in options or flag(url, options, "verify")
    try:
        certificate = (cert, key) if cert and key else cert
        return tls_context(verify and (ca or True), certificate, trust_env=False)
    except ConfigurationError as error:
        raise ConfigurationError(
            f"registry URL {shown(url)!r}: ca, cert or key cannot be used: {error}"
        ) from None
