"""Turn a request to a service into one to an instance, and adapt the answer."""

from __future__ import annotations

import math
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any, Literal, Self, TypeAlias

from trimtab.errors import ConfigurationError
from trimtab.strategies import ASK_HEADER

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from types import ModuleType

    from trimtab.instance import Instance

__all__ = [
    "Addressing",
    "NamePolicy",
    "Timeouts",
    "asking_for_load",
    "readdressed",
    "rehosted",
    "restore_location",
    "retry_after_s",
    "watched_source",
    "with_deadline",
]

NamePolicy: TypeAlias = Literal["instance", "service"]

_DEFAULT_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}
_OVER_TLS = {"http": "https", "ws": "wss", "https": "https", "wss": "wss"}
"""What each scheme is called over TLS."""
_SECURE = frozenset(_OVER_TLS.values())
_LEAST_WAIT_S = 0.001
_WAITS = ("connect", "read", "write", "pool")


@dataclass(frozen=True, slots=True, kw_only=True)
class Addressing:
    """How a request to a service becomes a request to an instance.

    Attributes:
        host_header: which name the `Host` header has.
        server_name: which name TLS sends, and checks the certificate for.
        deadline_header: the name of a header with the time left until a request's deadline, in
            milliseconds; None: no header.
    """

    host_header: NamePolicy = "instance"
    server_name: NamePolicy = "instance"
    deadline_header: str | None = None

    def __post_init__(self) -> None:
        for name in ("host_header", "server_name"):
            value = getattr(self, name)
            if value not in {"instance", "service"}:
                raise ConfigurationError(f"{name} is {value!r}; it must be 'instance' or 'service'")

    def prepared(self, request: Any, instance: Instance) -> Any:
        """Return a copy of the request that is addressed to the instance.

        The caller's request is not changed: redirects, cookies and hooks use its URL. A `Host`
        header that the caller has set stays.
        """
        service = request.url
        scheme = service.scheme
        if instance.scheme == "https":
            # A registry may ask for TLS, and may not take it away from a caller that asked for it.
            scheme = _OVER_TLS.get(scheme, scheme)
        url, netloc = readdressed(service, scheme, instance.host, instance.port)
        # A Request's constructor would encode the body and build every header again: 25 to 33 us.
        copy = object.__new__(type(request))
        copy.__dict__.update(request.__dict__)
        copy.url = url
        if self.host_header == "instance":
            copy.headers = rehosted(request.headers, service.netloc, netloc)
        if self.server_name == "service" and scheme in _SECURE:
            copy.extensions = {"sni_hostname": service.host, **request.extensions}
        return copy


def readdressed(url: Any, scheme: str, host: str, port: int) -> tuple[Any, str]:
    """Return the URL with another origin, and that origin as the `Host` header names it.

    `URL.copy_with` parses and checks every part again, which takes some 50 us. The parts of the
    URL were checked before, and those of the origin are checked once: joining them takes 2 us.

    Raises:
        InvalidURL: of the URL's family: the host cannot stand in a URL.
    """
    kind: Any = type(url)
    origin, netloc = _origin_url(kind, scheme, host, port)
    try:
        there = origin._uri_reference  # noqa: SLF001 - the public way is slow; it is the fallback
        parts = url._uri_reference._replace(  # noqa: SLF001 - as above
            scheme=there.scheme, host=there.host, port=there.port
        )
    except AttributeError:
        return url.copy_with(scheme=scheme, host=host, port=port), netloc
    joined = object.__new__(kind)
    joined._uri_reference = parts
    return joined, netloc


def rehosted(headers: Any, before: bytes, host: str) -> Any:
    """Return headers with `host` as the `Host`, if this was `before`; the given ones do not change.

    The public way to read, copy and set it searches all headers five times, which takes some 8 us.
    Here the first entry is nearly always the right one.
    """
    try:
        entries = headers._list  # noqa: SLF001 - the public way is slow; it is the fallback
        fresh = object.__new__(type(headers))
        fresh._encoding = headers._encoding  # noqa: SLF001 - as above
    except AttributeError:
        return _rehosted_in_public(headers, before, host)
    for place, (name, lower, value) in enumerate(entries):
        if lower == b"host":
            if value != before:
                break
            fresh._list = [*entries]
            fresh._list[place] = (name, lower, host.encode("ascii"))
            return fresh
    return headers


def _rehosted_in_public(headers: Any, before: bytes, host: str) -> Any:
    if headers.get("host", "").encode("ascii", "replace") != before:
        return headers
    copy = headers.copy()
    copy["Host"] = host
    return copy


@lru_cache(maxsize=4096)
def _origin_url(kind: Any, scheme: str, host: str, port: int) -> tuple[Any, str]:
    url = kind(scheme=scheme, host=host, port=port)
    return url, url.netloc.decode("ascii")


def restore_location(response: Any, request: Any, sent: Any) -> None:
    """Turn an absolute redirect to the instance itself into one to the service.

    A server that makes its redirects from the `Host` header names the instance. A client that
    followed it would send the next requests to this instance, without the balancer.
    """
    location = response.headers.get("location")
    if not location:
        return
    try:
        target = type(sent.url)(location)
    except Exception:  # noqa: BLE001 - the client reports a wrong URL itself
        return
    if target.host and _origin(target) == _origin(sent.url):
        here = request.url
        response.headers["location"] = str(
            target.copy_with(scheme=here.scheme, host=here.host, port=here.port)
        )


def _origin(url: Any) -> tuple[bool, str, int | None]:
    return url.scheme in _SECURE, url.host, url.port or _DEFAULT_PORTS.get(url.scheme)


class Timeouts(dict[str, Any]):
    """A request's timeouts, each no longer than the time left until its deadline.

    The inner transport reads a timeout at the beginning of each wait, and gets the time left then.
    """

    def __init__(self, own: dict[str, Any] | None, left_s: Callable[[], float]) -> None:
        super().__init__(dict.fromkeys(_WAITS) | (own or {}))
        self._left_s = left_s

    def __getitem__(self, name: str) -> Any:
        return self.get(name)

    def get(self, name: str, default: Any = None) -> Any:
        """Return the timeout of a kind of wait."""
        own = super().get(name, default)
        # Never 0: a socket with a time-out of 0 does not wait, and raises another error.
        left_s = max(self._left_s(), _LEAST_WAIT_S)
        return left_s if own is None else min(own, left_s)


def with_deadline(request: Any, left_s: Callable[[], float], header: str | None) -> None:
    """Limit a request's timeouts by its deadline, and add the deadline's header if wanted.

    Args:
        request: our own copy; it is changed.
        left_s: returns the seconds left until the deadline.
        header: the name of the header for them, in whole milliseconds; None: no header.
    """
    timeouts = Timeouts(request.extensions.get("timeout"), left_s)
    request.extensions = {**request.extensions, "timeout": timeouts}
    if header is not None:
        request.headers = request.headers.copy()
        request.headers[header] = str(max(math.ceil(left_s() * 1000), 1))


def asking_for_load(request: Any) -> None:
    """Add the header that asks for a load report, unless the caller has set it.

    Args:
        request: our own copy; it is changed.
    """
    if ASK_HEADER not in request.headers:
        request.headers = request.headers.copy()
        request.headers[ASK_HEADER] = "TEXT"


def retry_after_s(headers: Any, wall_clock: Callable[[], float]) -> float | None:
    """Read a `Retry-After` header, in seconds or as a date; None if it is missing or unreadable.

    Source: RFC 9110, 10.2.3.
    """
    text = headers.get("retry-after")
    if text is None:
        return None
    if text.strip().isdecimal():
        return float(text)
    try:
        return max(parsedate_to_datetime(text).timestamp() - wall_clock(), 0.0)
    except (TypeError, ValueError, OverflowError):
        return None


class _Chunks:
    """An iterator of either kind. No generator, which trio wants closed and httpcore leaves."""

    def __init__(self, chunks: Any, errors: list[Exception]) -> None:
        self._chunks, self._errors = chunks, errors

    def __iter__(self) -> Self:
        return self

    def __aiter__(self) -> Self:
        return self

    def __next__(self) -> bytes:
        try:
            return next(self._chunks)  # type: ignore[no-any-return]
        except StopIteration:
            raise
        except Exception as error:
            self._errors.append(error)
            raise

    async def __anext__(self) -> bytes:
        try:
            return await anext(self._chunks)
        except StopAsyncIteration:
            raise
        except Exception as error:
            self._errors.append(error)
            raise


@cache
def watched_source(module: ModuleType) -> Any:
    """Return the class of request bodies of a family that note what their source raises.

    A generator or a file of the caller that fails is no fault of the instance.
    """
    sync_base: Any = module.SyncByteStream
    async_base: Any = module.AsyncByteStream

    class WatchedSource(sync_base, async_base):  # type: ignore[misc] # known at run time only
        def __init__(self, stream: Any, errors: list[Exception]) -> None:
            self._stream, self._errors = stream, errors

        def __iter__(self) -> Iterator[bytes]:
            return _Chunks(iter(self._stream), self._errors)

        def __aiter__(self) -> AsyncIterator[bytes]:
            return _Chunks(aiter(self._stream), self._errors)

    return WatchedSource
