"""How the inner transport of an instance is made, of either family, sync or async."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from trimtab.errors import ConfigurationError
from trimtab.transports.guarding import guard
from trimtab.transports.tls import tls_context

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from trimtab.instance import Instance
    from trimtab.transports.families import Family
    from trimtab.transports.tls import Certificate

__all__ = ["Maker"]

_LIMITS = {"max_connections": 100, "max_keepalive_connections": 20, "keepalive_expiry": 4.0}


class Maker:
    """Makes inner transports; they share one TLS context.

    Args:
        own: makes them instead of the built-in ones; then nothing else counts.
        verify, cert, trust_env: see `tls_context`.
        http1, http2: which versions to speak; over TLS the server chooses, without it HTTP/2 is
            spoken only if `http1` is False.
        limits: of each instance's connections; by default 100, of which 20 are kept when idle,
            and for 4 s: many servers close idle connections after 5 s, and a request that is
            sent at that very moment is lost, a POST for good.
        local_address: to connect from.
        refusal_of: says why an address may not be called, or None; names are judged by the
            address that they lead to.

    Raises:
        ConfigurationError: a file cannot be read, or no version of HTTP can be spoken.
    """

    def __init__(
        self,
        *,
        own: Callable[[Instance], Any] | None = None,
        verify: ssl.SSLContext | str | bool = True,
        cert: Certificate | None = None,
        trust_env: bool = True,
        http1: bool = True,
        http2: bool = False,
        limits: Any = None,
        local_address: str | None = None,
        refusal_of: Callable[[str], str | None] = lambda _host: None,
    ) -> None:
        if not (http1 or http2):
            raise ConfigurationError("http1 and http2 are both False; one of them must be spoken")
        if http2 and find_spec("h2") is None:
            raise ConfigurationError(
                "http2=True needs the package h2; install it with: pip install 'trimtab[http2]'"
            )
        self._own = own
        self._tls = (verify, cert)
        self._trust_env = trust_env
        self._options = {"http1": http1, "http2": http2, "local_address": local_address}
        self._limits = limits
        self._refusal_of = refusal_of
        self._context: ssl.SSLContext | None = None
        if cert or isinstance(verify, str):
            # Files that were named are read now: a mistake shows before the first request.
            self._share_context()

    def make(self, family: Family, instance: Instance, *, is_async: bool) -> Any:
        """Make the inner transport of an instance."""
        if self._own is not None:
            return self._own(instance)
        module = family.module
        kind = module.AsyncHTTPTransport if is_async else module.HTTPTransport
        transport = kind(
            verify=self._context or self._share_context(),
            limits=self._limits or module.Limits(**_LIMITS),
            **self._options,
        )
        guard(transport, self._refusal_of, family, is_async=is_async)
        return transport

    def _share_context(self) -> ssl.SSLContext:
        verify, cert = self._tls
        self._context = tls_context(verify, cert, trust_env=self._trust_env)
        return self._context
