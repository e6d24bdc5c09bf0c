"""Several members that answer over HTTP for one registry; one of them is asked at a time.

A member that fails is left, and the next question goes to the next member.
"""

from __future__ import annotations

import ssl  # noqa: TC003 - dataclasses want their types
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Any

import httpx

from trimtab.errors import ConfigurationError, RegistryUnavailableError
from trimtab.hiding import shown
from trimtab.registries.asking import Answer, Asker
from trimtab.registries.urls import (
    TLS_OPTIONS,
    Settings,
    Tls,
    above_zero,
    credentials,
    path_of,
    places_of,
    tls_of,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["Endpoints", "MemberSettings", "Members", "read_members", "tls_if_secure"]

# 403 is also the answer of a member that has just started and does not know the others yet.
_ASK_ANOTHER = (httpx.codes.FORBIDDEN, httpx.codes.TOO_MANY_REQUESTS)


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberSettings(Settings):
    """Settings of every registry whose members are asked over HTTP.

    Attributes:
        bases: the base of each member's HTTP URLs, in the order of the URL.
        login: user and password, if there are any.
        tls: the files for TLS, or a context made of them; None means plain HTTP.
        timeout_s: bound on each question, above 0.
        max_bytes: the largest answer that is read.
        transport: used instead of the network, in tests and simulations.
    """

    bases: tuple[str, ...]
    login: tuple[str, str] | None = field(default=None, repr=False)
    tls: Tls | ssl.SSLContext | None = None
    timeout_s: float = 10.0
    max_bytes: int = 64 * 2**20
    transport: httpx.AsyncBaseTransport | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        above_zero(self, "timeout_s")

    def context(self) -> ssl.SSLContext | bool:
        """Return the TLS context; False for plain HTTP.

        Raises:
            ConfigurationError: a file cannot be read.
        """
        return self.tls.context(self.url) if isinstance(self.tls, Tls) else self.tls or False

    def asker(
        self,
        place: str,
        context: ssl.SSLContext | bool,  # noqa: FBT001 - as httpx has it
        headers: Mapping[str, str],
    ) -> Asker:
        """Make what asks one member, which messages call `place`."""
        return Asker(
            place,
            headers=headers,
            verify=context,
            max_bytes=self.max_bytes,
            transport=self.transport,
        )


def read_members(
    url: str, options: Mapping[str, list[str]], *, kind: str, port: int, path: str
) -> dict[str, Any]:
    """Read `kind://[user:password@]h1:p,h2:p/path` or `kind+https://` into `MemberSettings`.

    Args:
        url: the URL, without options.
        options: the options, of which those for TLS are read.
        kind: the scheme for plain HTTP.
        port: of a host that names none.
        path: the default path.

    Raises:
        ConfigurationError: a host, the scheme or a TLS option is wrong.
    """
    scheme = url.partition("://")[0]
    if scheme not in {kind, f"{kind}+https"} or "#" in url:
        raise ConfigurationError(
            f"registry URL {shown(url)!r}: write {kind}://host:{port}{path} or {kind}+https://..."
        )
    tls = tls_if_secure(url, options)
    hosts, where = places_of(url, default_port=port), path_of(url).rstrip("/") or path
    return {
        "url": f"{scheme}://{','.join(hosts)}{where}",
        "bases": tuple(f"{'https' if tls else 'http'}://{host}{where}" for host in hosts),
        "login": credentials(url),
        "tls": tls,
    }


def tls_if_secure(url: str, options: Mapping[str, list[str]]) -> Tls | None:
    """Read the TLS options where the scheme ends in `+https`; None elsewhere.

    Raises:
        ConfigurationError: an option is wrong, or stands with a scheme for plain HTTP.
    """
    scheme = url.partition("://")[0]
    if scheme.endswith("+https"):
        return tls_of(url, options)
    for name in TLS_OPTIONS:
        if name in options:
            raise ConfigurationError(
                f"registry URL {shown(url)!r}: {name}= is for TLS; write {scheme}+https://"
            )
    return None


class Endpoints:
    """Choose the member to ask: the same one until it fails, then the next.

    Each client begins at a random member, so that a fleet does not crowd on the first. A reader
    that finds a member unavailable calls `failed` and raises; the next question then goes to the
    next member.

    Args:
        members: their names, base URLs for example; at least one.
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
        """Turn to the next member, unless another question has done so before."""
        if member == self.current:
            self._at = (self._at + 1) % len(self.members)


class Members:
    """Ask one member until it fails; then the next question goes to another.

    Args:
        settings: where they are, and how to ask.
        rng: the source of chance for the member to begin with.
    """

    def __init__(self, settings: MemberSettings, *, rng: Random | None) -> None:
        self._timeout_s = settings.timeout_s
        self._endpoints = Endpoints(settings.bases, rng=rng)
        self._asker = settings.asker(
            settings.url, settings.context(), {"Accept": "application/json"}
        )

    async def ask(self, method: str, path: str, **options: Any) -> Answer:
        """Ask the present member, and turn to the next if it does not answer or is in trouble.

        Raises:
            RegistryUnavailableError: it does not answer.
            RegistryAnswerError: the answer is too large.
        """
        member = self._endpoints.current
        try:
            answer = await self._asker.ask(
                method, member + path, timeout_s=self._timeout_s, **options
            )
        except RegistryUnavailableError as error:
            self._endpoints.failed(member)
            raise RegistryUnavailableError(f"{error} (asked {member})") from error
        if answer.status in _ASK_ANOTHER or answer.status >= httpx.codes.INTERNAL_SERVER_ERROR:
            self._endpoints.failed(member)
        return answer

    async def aclose(self) -> None:
        """Close the connections."""
        await self._asker.aclose()
