"""The two families: httpx, and httpx2, its maintained sibling with the same API.

A request of one family must meet streams, transports and errors of the same family: httpx
asserts it. So everything that a request touches comes from its own family.
"""

from __future__ import annotations

import ssl
import sys
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any

import httpx

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

    from trimtab.errors import TrimtabError
    from trimtab.retry import Failure

__all__ = ["Family", "family_of"]

_CORES = {"httpx": "httpcore", "httpx2": "httpcore2"}


class Family:
    """One of the two, with what a transport needs of it."""

    def __init__(self, module: ModuleType) -> None:
        self.module: Any = module
        self.name = module.__name__
        # The order matters: time-outs and connect errors are special cases of their parents.
        self._failures: tuple[tuple[Any, Failure], ...] = (
            (self.module.ConnectTimeout, "connect_timeout"),
            (self.module.ConnectError, "refused"),
            (self.module.TimeoutException, "timeout"),
            ((self.module.NetworkError, self.module.RemoteProtocolError), "no_response"),
            # An alert after the handshake, such as TLS 1.3's for want of a client certificate,
            # comes through httpcore as it is on asyncio.
            (ssl.SSLError, "no_response"),
        )

    @property
    def core(self) -> Any:
        """The library beneath, which speaks HTTP over the network."""
        return import_module(_CORES[self.name])

    def failure(self, error: BaseException) -> Failure:
        """Say how an attempt failed."""
        for kinds, failure in self._failures:
            if isinstance(error, kinds):
                return failure
        return "other"

    @staticmethod
    def words(error: BaseException) -> str:
        """Say what an error is about: under trio, it is a cause that has the words."""
        return next(filter(None, map(str, _chain(error))), type(error).__name__)

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
