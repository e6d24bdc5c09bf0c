"""A look over HTTP: does the instance answer as it should?"""

from __future__ import annotations

from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import TYPE_CHECKING

import httpx

from trimtab.instance import Status
from trimtab.probing.finding import Finding
from trimtab.registries.options import shown

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Callable

__all__ = ["HttpClients", "probe_http"]

_CHUNK = 4096
_MAX_REDIRECTS = 5


class HttpClients:
    """The two clients that HTTP probes share, with and without certificate checks.

    They send no credentials: none of the environment's, no cookies, no proxy's.

    Args:
        context: what certificates are checked by, and which one is shown; the system's otherwise.
    """

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self._context = context
        self._clients: dict[bool, httpx.AsyncClient] = {}

    def get(self, *, verify: bool) -> httpx.AsyncClient:
        """Give the client, made at first use."""
        if verify not in self._clients:
            self._clients[verify] = httpx.AsyncClient(
                verify=(self._context or True) if verify else False,
                trust_env=False,
                cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
                # A probe shall find out whether a *new* connection works.
                limits=httpx.Limits(max_connections=None, max_keepalive_connections=0),
                headers={
                    "User-Agent": "Trimtab Health Check",
                    "Accept": "text/plain, */*",
                    # What unpacks to a great deal is not worth unpacking.
                    "Accept-Encoding": "identity",
                },
                timeout=None,  # noqa: S113 - whoever looks bounds all of it
            )
        return self._clients[verify]

    async def aclose(self) -> None:
        """Close both."""
        for client in self._clients.values():
            await client.aclose()
        self._clients.clear()


async def probe_http(
    request: httpx.Request,
    client: httpx.AsyncClient,
    *,
    expects: Callable[[int], bool],
    max_bytes: int = 4096,
) -> Finding:
    """Send the request; passing if `expects` accepts the status of the answer.

    Redirects are followed on the same scheme, host and port only: what an instance answers must
    not make this process ask anything else. At most `max_bytes` of the body are read, as text
    for people.

    Raises:
        httpx.HTTPError: there is no answer.
    """
    asked = request
    for _ in range(_MAX_REDIRECTS):
        response = await client.send(request, stream=True)
        try:
            if not expects(response.status_code) and _leads_on(response):
                assert response.next_request is not None
                request = response.next_request
                continue
            text = await _beginning(response.aiter_raw(_CHUNK), max_bytes)
        finally:
            await response.aclose()
        return Finding(
            Status.PASSING if expects(response.status_code) else Status.CRITICAL,
            f"HTTP {asked.method} {shown(str(asked.url))}: {response.status_code} "
            f"{response.reason_phrase} Output: {text}",
        )
    raise httpx.TooManyRedirects(f"more than {_MAX_REDIRECTS} redirects", request=asked)


def _leads_on(response: httpx.Response) -> bool:
    there = response.next_request
    return there is not None and _origin(there.url) == _origin(response.request.url)


def _origin(url: httpx.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port


async def _beginning(chunks: AsyncIterator[bytes], max_bytes: int) -> str:
    body = b""
    async for chunk in chunks:
        body += chunk
        if len(body) >= max_bytes:
            break
    return body[:max_bytes].decode(errors="replace")
