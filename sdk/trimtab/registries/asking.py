"""One question to a server over HTTP: bounded in time and size, with errors of our own.

httpx writes the URL of every request to its log, and servers like to repeat in an error page what
they were asked. So secrets are kept out of the logged URL, and taken out of a server's words.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote
from weakref import WeakKeyDictionary

import httpx
import msgspec

from trimtab.errors import (
    ClosedError,
    RegistryAnswerError,
    RegistryDeniedError,
    RegistryRequestError,
    RegistryUnavailableError,
)
from trimtab.hiding import SECRET, shown
from trimtab.registries.clients import Clients

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping

__all__ = [
    "LONGEST_NUMBER",
    "Answer",
    "Asker",
    "confided",
    "parse_any",
    "parse_json",
    "refusal",
    "whole_number",
    "without",
]

LONGEST_NUMBER = 20
"""The digits of the largest number that 64 bits hold."""
_CONNECT_TIMEOUT_S = 5.0
_DETAIL_LENGTH = 200
_SHORTEST_SECRET = 4
"""A shorter value would tear words apart, and is no secret."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer: the status, the headers, the whole body, and the request."""

    status: int
    headers: httpx.Headers
    body: bytes
    request: httpx.Request | None = None

    @property
    def detail(self) -> str:
        """The body's beginning on one line, for messages."""
        text = self.body[: 4 * _DETAIL_LENGTH].decode(errors="replace")
        if self.request is not None:
            text = without(text, self.request)
        return " ".join(text.split())[:_DETAIL_LENGTH]


class Asker:
    """Ask one server over connections of its own.

    Clients are made at the first question, for each event loop its own: connections cannot move
    between loops, and a program may well call `asyncio.run` twice. Proxies and credentials of the
    environment are not used. The number of connections is unbounded, since each long poll holds
    one; the callers bound how many they run.

    Args:
        place: how messages name the server; without secrets.
        headers: sent with every question.
        auth: any httpx authentication.
        verify: an SSL context, or whether to check certificates.
        max_bytes: the largest body that is read; beyond it the answer is refused. Compression is
            not asked for, and an answer that is compressed all the same is refused unread.
        transport: used instead of the network, in tests and simulations.
    """

    def __init__(
        self,
        place: str,
        *,
        headers: Mapping[str, str] | None = None,
        auth: Any = None,
        verify: Any = True,
        max_bytes: int = 16 * 2**20,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self.place = place
        sent = httpx.Headers(dict(headers or {}))
        # What is compressed many times over unpacks to a thousandfold before it is measured.
        sent["Accept-Encoding"] = "identity"
        self._settings: dict[str, Any] = {
            "headers": sent,
            "auth": auth,
            "verify": verify,
            "transport": transport,
        }
        self._max_bytes = max_bytes
        self._clients: WeakKeyDictionary[asyncio.AbstractEventLoop, Clients] = WeakKeyDictionary()
        self._closed = False

    async def ask(self, method: str, url: str, *, timeout_s: float, **options: Any) -> Answer:
        """Send one request and read its whole answer, whatever its status.

        Raises:
            RegistryUnavailableError: no connection, a broken one, or no answer in `timeout_s`.
            RegistryAnswerError: the body is too large, or compressed.
            ClosedError: after `aclose`.
        """
        limits = httpx.Timeout(timeout_s, connect=min(timeout_s, _CONNECT_TIMEOUT_S))
        with self._in_our_words(timeout_s):
            # The bound on the whole: httpx itself bounds each read, and a server may trickle.
            async with (
                asyncio.timeout(timeout_s),
                self._stream(method, url, timeout=limits, **options) as response,
            ):
                return await self._whole(response)

    async def stream_lines(
        self,
        method: str,
        url: str,
        *,
        timeout_s: float,
        silence_s: float,
        refused: Callable[[Answer], Exception],
        **options: Any,
    ) -> AsyncGenerator[bytes, None]:
        """Send one request and yield the lines of an answer that goes on, without blank ones.

        Ends when the server ends the answer. Close it (`aclosing`) to give back the connection.
        The answer must begin within `timeout_s`, and then never be silent for `silence_s`.
        `refused` makes the error for an answer other than 200.

        Raises:
            TimeoutError: silence; the caller decides whether that is an error.
            RegistryUnavailableError: no connection, a broken one, or no answer in `timeout_s`.
            RegistryAnswerError: a line is too large, or the answer is compressed.
            ClosedError: after `aclose`.
        """
        limits = httpx.Timeout(
            timeout_s, connect=min(timeout_s, _CONNECT_TIMEOUT_S), read=None, pool=None
        )
        async with AsyncExitStack() as held:
            with self._in_our_words(timeout_s):
                async with asyncio.timeout(timeout_s):
                    response = await held.enter_async_context(
                        self._stream(method, url, timeout=limits, **options)
                    )
                    if response.status_code != httpx.codes.OK:
                        raise refused(await self._whole(response))
            lines = await held.enter_async_context(aclosing(self._lines(response)))
            while True:
                async with asyncio.timeout(silence_s):
                    with self._in_our_words(timeout_s):
                        line = await anext(lines, None)
                if line is None:
                    return
                yield line

    async def aclose(self) -> None:
        """Close the connections of this loop; those of other loops end with them."""
        self._closed = True
        clients = self._clients.pop(asyncio.get_running_loop(), None)
        if clients is not None:
            await clients.aclose()

    def _own_clients(self) -> Clients:
        if self._closed:
            raise ClosedError(f"{self.place}: this registry is closed")
        loop = asyncio.get_running_loop()
        if loop not in self._clients:
            self._clients[loop] = Clients(**self._settings)
        return self._clients[loop]

    @asynccontextmanager
    async def _stream(
        self, method: str, url: str, *, params: Any = None, **options: Any
    ) -> AsyncIterator[httpx.Response]:
        """Send a request, its secrets hidden from httpx's log; a transport of tests sees them."""
        real = httpx.URL(url) if params is None else httpx.URL(url, params=params)
        if self._settings["transport"] is None:
            url, more = confided(real)
            options = more | options
        else:
            url = str(real)
        with self._own_clients().one() as client:
            async with client.stream(method, url, **options) as response:
                yield response

    @contextmanager
    def _in_our_words(self, timeout_s: float) -> Iterator[None]:
        """Turn the errors of httpx into ours."""
        try:
            yield
        except httpx.DecodingError as error:
            raise RegistryAnswerError(f"{self.place}: broken compression: {error}") from error
        except (TimeoutError, httpx.TimeoutException) as error:
            raise RegistryUnavailableError(
                f"{self.place}: no answer within {timeout_s:g} s"
            ) from error
        except httpx.TransportError as error:
            reason = str(error) or "the connection broke"
            raise RegistryUnavailableError(
                f"{self.place}: {type(error).__name__}: {reason}"
            ) from error
        except ssl.SSLError as error:
            # TLS 1.3 refuses a client after the handshake, where httpx does not look for it.
            raise RegistryUnavailableError(
                f"{self.place}: {error} (does it ask for a client certificate? name one by cert=)"
            ) from error

    async def _whole(self, response: httpx.Response) -> Answer:
        body = bytearray()
        async with aclosing(self._raw(response)) as chunks:
            async for chunk in chunks:
                body += chunk
                self._check_size(body, "the answer")
        return Answer(response.status_code, response.headers, bytes(body), response.request)

    async def _lines(self, response: httpx.Response) -> AsyncGenerator[bytes, None]:
        """Cut the body at line ends; an unfinished last line is left out."""
        rest = bytearray()
        async with aclosing(self._raw(response)) as chunks:
            async for chunk in chunks:
                rest += chunk
                if b"\n" in chunk:
                    *lines, rest = rest.split(b"\n")
                    for line in lines:
                        if line.strip():
                            yield bytes(line)
                self._check_size(rest, "one line of the answer")

    async def _raw(self, response: httpx.Response) -> AsyncGenerator[bytes, None]:
        """Yield the body as it comes; httpx would undo any compression, however much it unpacks to.

        The message for an error with a compressed page leaves the page out.
        """
        encodings = response.headers.get("Content-Encoding", "").replace(",", " ").split()
        if any(each.lower() != "identity" for each in encodings):
            if response.status_code == httpx.codes.OK:
                raise RegistryAnswerError(
                    f"{self.place}: the answer is compressed "
                    f"({' '.join(encodings)[:_DETAIL_LENGTH]}), which was not asked for"
                )
            return
        if response.is_stream_consumed:  # A transport of tests has made it of its whole content.
            yield response.content
            return
        async with aclosing(response.aiter_raw()) as chunks:  # type: ignore[type-var]
            async for chunk in chunks:
                yield chunk

    def _check_size(self, body: bytearray, what: str) -> None:
        if len(body) > self._max_bytes:
            raise RegistryAnswerError(
                f"{self.place}: {what} is larger than {self._max_bytes} bytes; "
                "raise max_bytes if that is right"
            )


def refusal(place: str, answer: Answer) -> Exception:
    """Make the error for an answer other than 200."""
    message = f"{place}: HTTP {answer.status}" + (f": {answer.detail}" if answer.detail else "")
    match answer.status:
        case 401 | 403:
            return RegistryDeniedError(f"{message}; check the token or its rights")
        case 408 | 425 | 429:
            return RegistryUnavailableError(message)
        case status if status >= httpx.codes.INTERNAL_SERVER_ERROR:
            return RegistryUnavailableError(message)
        case status if status >= httpx.codes.BAD_REQUEST:
            return RegistryRequestError(message)
        case _ if "location" in answer.headers:
            to = shown(answer.headers["location"])
            return RegistryRequestError(f"{message}: redirects to {to}; name the final URL")
    return RegistryAnswerError(f"{message}; 200 was expected")


def parse_json(place: str, body: bytes, type_: Any = Any, *, strict: bool = True) -> Any:
    """Read JSON of a given shape; unless `strict`, numbers may be written as text.

    Raises:
        RegistryAnswerError: it is no JSON, or of another shape; the message says where.
    """
    try:
        return msgspec.json.decode(body, type=type_, strict=strict)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        hint = ""
        if body.lstrip()[:1] == b"<":
            hint = " (it looks like HTML: is a proxy or a login page in between?)"
        raise RegistryAnswerError(f"{place}: the answer cannot be read: {error}{hint}") from error


def parse_any(place: str, body: bytes) -> Any:
    """Read JSON of any shape, and what Python's own `json` writes and reads beyond the standard.

    That is NaN and Infinity, half a surrogate pair, a byte order mark, UTF-16. A number that is too
    large, or none, is kept as text: it is one field's matter.

    Raises:
        RegistryAnswerError: it is no JSON, or nested too deeply.
    """
    try:
        return parse_json(place, body)
    except RegistryAnswerError as error:
        if isinstance(error.__cause__, RecursionError):
            raise
        strict = error
    try:
        return json.loads(body, parse_int=whole_number, parse_constant=str)
    except (ValueError, RecursionError):
        raise strict from strict.__cause__


def whole_number(digits: str) -> int | str:
    """Read a whole number of JSON; one that is too large stays text, and costs its field alone."""
    return int(digits) if len(digits) <= LONGEST_NUMBER else digits


def confided(url: httpx.URL) -> tuple[str, dict[str, Any]]:
    """Return the URL as it may be logged, and the options of httpx that send the real one."""
    if shown(str(url)) == str(url):
        return str(url), {}
    options: dict[str, Any] = {"extensions": {"target": url.raw_path}}
    if url.userinfo:
        options["auth"] = httpx.BasicAuth(url.username, url.password)
    return shown(str(url)), options


def without(text: str, request: httpx.Request) -> str:
    """Return the text without the secrets of the request."""
    for secret in sorted(_secrets(request), key=len, reverse=True):
        text = text.replace(secret, "...")
    return text


def _secrets(request: httpx.Request) -> Iterator[str]:
    target = request.extensions.get("target", request.url.raw_path).decode("ascii", "replace")
    sent = list(request.headers.multi_items())
    for pair in target.partition("?")[2].split("&"):
        name, _, value = pair.partition("=")
        sent += [(name, value), (name, unquote(value))]
    for name, value in sent:
        if SECRET.search(name):
            # A scheme before it, such as `Bearer`, is no secret.
            yield from (
                part for part in (value, *value.split()[1:]) if len(part) >= _SHORTEST_SECRET
            )
