"""The two families: httpx, and httpx2, its maintained sibling with the same API.

A request of one family must meet streams, transports and errors of the same family: httpx
asserts it. So everything that a request touches comes from its own family.
"""

from __future__ import annotations

import ssl
import sys
from functools import cache, cached_property
from importlib import import_module
from typing import TYPE_CHECKING, Any

import httpx

from trimtab.errors import TrimtabError
from trimtab.http.http2 import failure_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

    from trimtab.calls import Failure

__all__ = ["Family", "family_of", "usual_family"]

_CORES = {"httpx": "httpcore", "httpx2": "httpcore2"}

_FAILURES: dict[str, Failure] = {
    "ConnectTimeout": "connect_timeout",
    "PoolTimeout": "timeout",
    "ReadTimeout": "timeout",
    "WriteTimeout": "timeout",
    "TimeoutException": "timeout",
    "ConnectError": "refused",
    "ReadError": "no_response",
    "WriteError": "no_response",
    "NetworkError": "no_response",
    "RemoteProtocolError": "no_response",
    "ProxyError": "refused",
    "ProtocolError": "unknown",
    "LocalProtocolError": "caller",
    "UnsupportedProtocol": "caller",
}
"""What each error means. The library beneath has errors of the very same names."""

_WRONG_LENGTH = ("h11", "LocalProtocolError")
"""A body of another length than its request's header says. It comes through as it is."""

_UNPROCESSED = "is_unprocessed"
"""An attribute of errors."""

_LOGIN_WANTED = "407"
"""The proxy's answer to a caller without a login there, whichever the instance."""

_TIMEOUTS = {
    "ConnectTimeout": "no connection within the client's connect time-out",
    "ReadTimeout": "no answer within the client's read time-out",
    "WriteTimeout": "the body was not taken within the client's write time-out",
    "PoolTimeout": "no free connection within the client's pool time-out",
}


class Family:
    """One of the two, with what a transport needs of it."""

    def __init__(self, module: ModuleType) -> None:
        self.module: Any = module
        self.name = module.__name__
        self._failures: dict[type, Failure] = {
            getattr(module, name): failure for name, failure in _FAILURES.items()
        }
        # An alert after the handshake, such as TLS 1.3's when it misses a client certificate,
        # comes through httpcore as it is on asyncio.
        self._failures[ssl.SSLError] = "no_response"

    @cached_property
    def core(self) -> Any:
        """The library beneath, which speaks HTTP over the network; imported at first use."""
        return import_module(_CORES[self.name])

    @cached_property
    def core_errors(self) -> tuple[type[Exception], ...]:
        """The errors of the library beneath that `translated` takes."""
        return tuple(self._translations)

    @cached_property
    def _translations(self) -> dict[type[Exception], Any]:
        core, module = self.core, self.module
        return {getattr(core, name): getattr(module, name) for name in _FAILURES}

    def translated(self, error: Exception) -> Exception:
        """Return an error of the library beneath as the family's own, with the same message."""
        kind = next(each for each in type(error).__mro__ if each in self._translations)
        return self._translations[kind](str(error))  # type: ignore[no-any-return]

    def unprocessed(self, message: str) -> Exception:
        """Return the error of a request that its server has not processed."""
        error: Exception = self.module.RemoteProtocolError(message)
        error.__dict__[_UNPROCESSED] = True
        return error

    def failure(self, error: BaseException, request: Any = None) -> Failure:
        """Return how an attempt failed; what is no `Exception` is a cancellation.

        Args:
            error: what it raised.
            request: what was sent; without it every complaint about HTTP/2 is the caller's.
        """
        if isinstance(error, self.module.ProtocolError):
            failure = self._http2_failure(error, request)
            if failure is not None:
                return failure
        if isinstance(error, self.module.ProxyError) and str(error).startswith(_LOGIN_WANTED):
            return "caller"
        for kind in type(error).__mro__:
            if kind in self._failures:
                return self._failures[kind]
            if (kind.__module__.partition(".")[0], kind.__name__) == _WRONG_LENGTH:
                return "caller"
        is_callers = isinstance(error, TrimtabError) or not isinstance(error, Exception)
        return "caller" if is_callers else "unknown"

    @staticmethod
    def _http2_failure(error: BaseException, request: Any) -> Failure | None:
        if getattr(error, _UNPROCESSED, False):
            return "unprocessed"
        cause = error.__cause__
        return None if cause is None or request is None else failure_of(cause, request)

    def words(self, error: BaseException) -> str:
        """Return what an error is about.

        Where an error has no words of its own, as under trio, its cause may have them. A time-out
        is named by its class: beneath it there is only the cancellation that carried it out.
        """
        if isinstance(error, self.module.TimeoutException):
            return _TIMEOUTS.get(type(error).__name__) or str(error) or "time-out"
        words = (str(each) for each in _chain(error) if isinstance(each, Exception))
        return next(filter(None, words), type(error).__name__)

    @staticmethod
    def is_tls_error(error: BaseException) -> bool:
        """Say whether an attempt failed over TLS."""
        return any(isinstance(each, ssl.SSLError) for each in _chain(error))

    def as_connect_error(self, error: TrimtabError, request: Any) -> Exception:
        """Return the same error, also as this family's `ConnectError`, for callers' handlers."""
        raised: Any = type(error)
        kind = _connect_error(raised, self.module.ConnectError)
        both: Any = kind.__new__(kind)
        both.__dict__.update(error.__dict__)
        both.args = error.args
        both.request = request
        return both  # type: ignore[no-any-return]

    def explained(self, error: BaseException, message: str, request: Any) -> BaseException:
        """Return an error of the same type with a better message, where the type allows it.

        A TLS error that comes through as it is becomes a `ReadError`, as on sync and trio.
        """
        kind: Any = self.module.ReadError if isinstance(error, ssl.SSLError) else type(error)
        if issubclass(kind, self.module.TransportError):
            better: BaseException = kind(message, request=request)
            return better
        return error


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


@cache
def _connect_error(kind: Any, connect_error: Any) -> Any:
    return type(kind.__name__, (kind, connect_error), {"__doc__": kind.__doc__})


@cache
def _family(name: str) -> Family:
    return Family(sys.modules[name])


def family_of(request: Any) -> Family:
    """Return the family of a request."""
    return _family("httpx" if isinstance(request, httpx.Request) else "httpx2")


def usual_family() -> Family:
    """Return the family of httpx, which is always installed."""
    return _family("httpx")
