"""A look over HTTP: does the instance answer as it should?

By httpx's transports rather than its clients: a client would note every probe in its log, URL
and all, keep cookies, and read credentials from the environment.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx

from trimtab.hiding import shown
from trimtab.instance import Status
from trimtab.probing.finding import Finding

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Callable, Sequence

__all__ = ["HttpTransports", "http_request", "probe_http"]

_CHUNK = 4096
_MAX_REDIRECTS = 5
_SAME_AGAIN = (307, 308)
_WITHOUT_BODY = ("GET", "HEAD")
_HEADERS = (
    ("User-Agent", "Trimtab Health Check"),
    ("Accept", "text/plain, */*"),
    # What unpacks to a great deal is not worth unpacking.
    ("Accept-Encoding", "identity"),
    # A probe shall find out whether a *new* connection works.
    ("Connection", "close"),
)
_OF_BODIES = ("content-length", "content-type", "transfer-encoding")


class HttpTransports:
    """The two transports that HTTP probes share, with and without certificate checks.

    Args:
        context: what certificates are checked by, and which one is shown; the system's otherwise.
    """

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self._context = context
        self._transports: dict[bool, httpx.AsyncHTTPTransport] = {}

    def get(self, *, verify: bool) -> httpx.AsyncHTTPTransport:
        """Give the transport, made at first use."""
        if verify not in self._transports:
            self._transports[verify] = httpx.AsyncHTTPTransport(
                verify=(self._context or True) if verify else False,
                trust_env=False,
                limits=httpx.Limits(max_connections=None, max_keepalive_connections=0),
            )
        return self._transports[verify]

    async def aclose(self) -> None:
        """Close both."""
        for transport in self._transports.values():
            await transport.aclose()
        self._transports.clear()


def http_request(
    method: str,
    url: str,
    *,
    headers: Sequence[tuple[str, str]] = (),
    content: str | None = None,
) -> httpx.Request:
    """Make a probe's request, with `headers` besides and instead of the usual ones.

    Raises:
        httpx.InvalidURL: the URL is none.
    """
    given = {name.lower() for name, _ in headers}
    usual = [(name, value) for name, value in _HEADERS if name.lower() not in given]
    return httpx.Request(method, url, headers=[*usual, *headers], content=content)


async def probe_http(
    request: httpx.Request,
    transport: httpx.AsyncBaseTransport,
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
        response = await transport.handle_async_request(request)
        try:
            is_expected = expects(response.status_code)
            onwards = None if is_expected else _redirected(request, response)
            if onwards is not None:
                request = onwards
                continue
            text = await _beginning(response.aiter_raw(_CHUNK), max_bytes)
        finally:
            await response.aclose()
        return Finding(
            Status.PASSING if is_expected else Status.CRITICAL,
            f"HTTP {asked.method} {shown(str(asked.url))}: {response.status_code} "
            f"{response.reason_phrase} Output: {text}",
        )
    raise httpx.TooManyRedirects(f"more than {_MAX_REDIRECTS} redirects", request=asked)


def _redirected(request: httpx.Request, response: httpx.Response) -> httpx.Request | None:
    """Return the request that the answer asks for, if it is for the very same server."""
    if not response.has_redirect_location:
        return None
    try:
        url = request.url.join(response.headers["Location"])
    except httpx.InvalidURL:
        return None
    if _origin(url) != _origin(request.url):
        return None
    if request.method in _WITHOUT_BODY:
        return httpx.Request(request.method, url, headers=request.headers.multi_items())
    if response.status_code in _SAME_AGAIN:
        return None  # A body is sent once.
    kept = [each for each in request.headers.multi_items() if each[0] not in _OF_BODIES]
    return httpx.Request("GET", url, headers=kept)


def _origin(url: httpx.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port


async def _beginning(chunks: AsyncIterator[bytes], max_bytes: int) -> str:
    body = b""
    async for chunk in chunks:
        body += chunk
        if len(body) >= max_bytes:
            break
    return body[:max_bytes].decode(errors="replace")
