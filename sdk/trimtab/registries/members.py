"""Several servers that answer over HTTP for one registry: where they are, and asking one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import httpx

from trimtab.errors import ConfigurationError, RegistryUnavailableError
from trimtab.registries.asking import Answer, Asker
from trimtab.registries.endpoints import TLS_OPTIONS, Endpoints, credentials, hosts_of, tls_of
from trimtab.registries.options import digest, read_options, shown, url_parts

if TYPE_CHECKING:
    from collections.abc import Collection
    from random import Random

__all__ = ["Members", "Place", "place_of", "split_url"]

# The first is also what a member says that has just started and knows nothing yet.
_ASK_ANOTHER = (httpx.codes.FORBIDDEN, httpx.codes.TOO_MANY_REQUESTS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a registry is.

    Attributes:
        url: for people, without secrets.
        bases: the base of the HTTP URLs of each member.
        login: user and password, if the URL has them.
        verify: an SSL context; False where there is no TLS.
        mark: differs when the login or the TLS options do.
    """

    url: str
    bases: tuple[str, ...]
    login: tuple[str, str] | None
    verify: Any
    mark: str


def place_of(url: str, *, kind: str, port: int, path: str) -> Place:
    """Read `kind://[user:password@]h1:p,h2:p/path` or `kind+https://`, with the options of TLS.

    Args:
        url: the URL.
        kind: its scheme, for plain HTTP.
        port: of a host that names none.
        path: what stands for an empty one.

    Raises:
        ConfigurationError: a host, the scheme or a TLS option is wrong.
    """
    parts = url_parts(url)
    if parts.scheme not in {kind, f"{kind}+https"} or parts.fragment:
        raise ConfigurationError(
            f"registry URL {shown(url)!r}: write {kind}://host:{port}{path} or {kind}+https://..."
        )
    secure = parts.scheme == f"{kind}+https"
    options = read_options(url, parts.query, known=TLS_OPTIONS)
    if options and not secure:
        raise ConfigurationError(
            f"registry URL {shown(url)!r}: {next(iter(options))}= is for TLS; write {kind}+https://"
        )
    hosts = [
        f"[{host}]:{number}" if ":" in host else f"{host}:{number}"
        for host, number in hosts_of(url, default_port=port)
    ]
    where = parts.path.rstrip("/") or path
    login = credentials(url)
    return Place(
        url=f"{parts.scheme}://{','.join(hosts)}{where}",
        bases=tuple(f"{'https' if secure else 'http'}://{host}{where}" for host in hosts),
        login=login,
        verify=tls_of(url, options) if secure else False,
        mark=digest(login, options),
    )


def split_url(
    url: str, *, known: Collection[str], kept: Collection[str], repeatable: Collection[str] = ()
) -> tuple[str, dict[str, list[str]]]:
    """Split a URL into one with the options in `kept` alone, and the options in `known`.

    Raises:
        ConfigurationError: an option is in neither, or given twice and not in `repeatable`.
    """
    base, _, query = url.partition("?")
    options = read_options(url, query, known=(*known, *kept), repeatable=repeatable)
    left = {name: options[name][0] for name in kept if name in options}
    rest = {name: values for name, values in options.items() if name in known}
    return f"{base}?{urlencode(left)}" if left else base, rest


class Members:
    """Ask one member until it fails; then the next question goes to another.

    Args:
        place: where they are.
        headers: sent with every question.
        timeout_s: bound on each question, above 0.
        max_bytes: the largest answer that is read.
        transport: used instead of the network, in tests and simulations.
        rng: the source of chance for the member to begin with.

    Raises:
        ConfigurationError: the bound is wrong.
    """

    def __init__(
        self,
        place: Place,
        *,
        headers: dict[str, str],
        timeout_s: float,
        max_bytes: int,
        transport: httpx.AsyncBaseTransport | None,
        rng: Random | None,
    ) -> None:
        if not timeout_s > 0:
            raise ConfigurationError(f"{place.url}: timeout_s is {timeout_s!r}; it must be above 0")
        self._timeout_s = timeout_s
        self._endpoints = Endpoints(place.bases, rng=rng)
        self._asker = Asker(
            place.url,
            headers={"Accept": "application/json", **headers},
            verify=place.verify,
            max_bytes=max_bytes,
            transport=transport,
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
