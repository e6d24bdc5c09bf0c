"""Probe over HTTP: does the instance answer with an expected status?

Probes use httpx's transports, not its clients: a client would log the URL of every probe, keep
cookies, and read credentials from the environment.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx

from trimtab.health.probing import ProbeResult
from trimtab.hiding import shown
from trimtab.http import AsyncInnerTransport, Family, SharedContext
from trimtab.instance import Status

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
    # A small body may unpack to a huge one.
    ("Accept-Encoding", "identity"),
    # A probe must find out whether a *new* connection works.
    ("Connection", "close"),
)
_BODY_HEADERS = ("content-length", "content-type", "transfer-encoding")


class HttpTransports:
    """The two transports that HTTP probes share, with and without certificate checks.

    Args:
        context: the TLS context for checked certificates; None: the system's authorities.
        refusal_of: says why an address may not be probed; None if it may, or is a name. What a
            name resolves to is judged, too.
    """

    def __init__(
        self,
        context: ssl.SSLContext | None = None,
        *,
        refusal_of: Callable[[str], str | None] | None = None,
    ) -> None:
        self._context, self._refusal_of = context, refusal_of
        self._transports: dict[bool, AsyncInnerTransport] = {}

    def get(self, *, verify: bool) -> AsyncInnerTransport:
        """Return the transport, made at first use."""
        if verify not in self._transports:
            self._transports[verify] = AsyncInnerTransport(
                Family(httpx),
                limits=httpx.Limits(max_connections=None, max_keepalive_connections=0),
                refusal_of=self._refusal_of,
                tls=SharedContext(verify and (self._context or True), trust_env=False),
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
    """Make a probe's request; `headers` add to the usual ones, or replace those of the same name.

    Raises:
        httpx.InvalidURL: the URL is invalid.
    """
    given = {name.lower() for name, _ in headers}
    usual = [(name, value) for name, value in _HEADERS if name.lower() not in given]
    return httpx.Request(method, url, headers=[*usual, *headers], content=content)


async def probe_http(
    request: httpx.Request,
    transport: httpx.AsyncBaseTransport | AsyncInnerTransport,
    *,
    expects: Callable[[int], bool],
    max_bytes: int = 4096,
) -> ProbeResult:
    """Send the request; passing if `expects` accepts the status of the answer.

    Redirects are followed only to the same scheme, host and port: an instance's answer must not
    make this process send requests elsewhere. At most `max_bytes` of the body are read; they go
    into the result's text.

    Raises:
        httpx.HTTPError: no answer arrives.
    """
    first = request
    for _ in range(_MAX_REDIRECTS):
        response = await transport.handle_async_request(request)
        try:
            is_expected = expects(response.status_code)
            redirected = None if is_expected else _redirected(request, response)
            if redirected is not None:
                request = redirected
                continue
            text = await _beginning(response.aiter_raw(_CHUNK), max_bytes)
        finally:
            await response.aclose()
        return ProbeResult(
            Status.PASSING if is_expected else Status.CRITICAL,
            f"HTTP {first.method} {shown(str(first.url))}: {response.status_code} "
            f"{response.reason_phrase} Output: {text}",
        )
    raise httpx.TooManyRedirects(f"more than {_MAX_REDIRECTS} redirects", request=first)


def _redirected(request: httpx.Request, response: httpx.Response) -> httpx.Request | None:
    """Return the request to follow a redirect with, if it goes to the same server; else None."""
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
        return None  # A body is sent only once.
    kept = [each for each in request.headers.multi_items() if each[0] not in _BODY_HEADERS]
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
