"""How transports are made, of either family, sync or async: for instances, and for other hosts."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from trimtab.errors import ConfigurationError
from trimtab.hiding import shown
from trimtab.http.inner import AsyncInnerTransport, InnerTransport
from trimtab.http.tls import SharedContext

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from trimtab.http.families import Family
    from trimtab.http.tls import Certificate
    from trimtab.instance import Instance

__all__ = ["Maker"]


class Maker:
    """Makes inner transports; they share one TLS context.

    Args:
        own: makes them instead of the built-in ones; then nothing else counts.
        verify, cert, trust_env: see `tls_context`.
        http1, http2, limits, local_address, network: see `AsyncInnerTransport`; limits are of
            each instance's connections.
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
        refusal_of: Callable[[str], str | None] | None = None,
        network: Any = None,
    ) -> None:
        if not (http1 or http2):
            raise ConfigurationError("http1 and http2 are both False; one of them must be spoken")
        if http2 and find_spec("h2") is None:
            raise ConfigurationError(
                "http2=True needs the package h2; install it with: pip install 'trimtab[http2]'"
            )
        self._own = own
        self.tls = SharedContext(verify, cert, trust_env=trust_env)
        self._settings = {
            "http1": http1,
            "http2": http2,
            "limits": limits,
            "local_address": local_address,
            "refusal_of": refusal_of,
            "network": network,
            "tls": self.tls,
        }
        self._usual = {"http1": http1, "http2": http2}
        if limits is not None:
            self._usual["limits"] = limits
        self._local_address = local_address

    def prepare(self, family: Family) -> None:
        """Import what connections need, so that the first request does not have to."""
        if self._own is None:
            _ = family.core

    def prepare_tls(self) -> None:
        """Make the TLS context, so that the first request does not have to."""
        if self._own is None:
            self.tls.context()

    def make(self, family: Family, instance: Instance, *, is_async: bool) -> Any:
        """Make the inner transport of an instance."""
        if self._own is not None:
            return self._own(instance)
        if instance.scheme == "https":
            # Made now, so that its time is not taken for the instance's.
            self.tls.context()
        kind: Any = AsyncInnerTransport if is_async else InnerTransport
        return kind(family, **self._settings)

    def make_usual(self, family: Family, proxy: str | None, *, is_async: bool) -> Any:
        """Make the family's own transport, for hosts that are not services.

        Args:
            family: the clients' family.
            proxy: the URL of a proxy; None: none.
            is_async: of which kind the clients are.

        Raises:
            ConfigurationError: the proxy cannot be used.
        """
        kind = family.module.AsyncHTTPTransport if is_async else family.module.HTTPTransport
        # A proxy is connected to from any address, as the families do it.
        place = {"proxy": proxy} if proxy else {"local_address": self._local_address}
        context = self.tls.context()
        try:
            return kind(verify=context, **place, **self._usual)
        except (ImportError, ValueError, family.module.InvalidURL) as error:
            raise ConfigurationError(
                f"the environment's proxy {shown(proxy or '')} cannot be used: {error}"
            ) from None
