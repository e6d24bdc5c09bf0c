"""The TLS context of clients, with errors that say what is wrong."""

from __future__ import annotations

import ssl
import threading
from pathlib import Path
from typing import Any, TypeAlias

import httpx

from trimtab.errors import ConfigurationError

__all__ = ["Certificate", "SharedContext", "tls_context"]

Certificate: TypeAlias = str | tuple[str, str] | tuple[str, str, str]
"""A client certificate: one PEM file, or certificate and key, or these and the key's password."""


class SharedContext:
    """One TLS context for many transports, made when the first of them needs it.

    Plain HTTP needs no context, and making one takes some 17 ms. The files that `verify` and
    `cert` name are read at once, so that an error is found before the first request. Thread-safe.

    Args:
        verify, cert, trust_env: see `tls_context`.

    Raises:
        ConfigurationError: a file that is named cannot be used.
    """

    def __init__(
        self,
        verify: ssl.SSLContext | str | bool = True,  # noqa: FBT001, FBT002 - as httpx has it
        cert: Certificate | None = None,
        *,
        trust_env: bool = True,
    ) -> None:
        self._verify, self._cert, self._trust_env = verify, cert, trust_env
        self._lock = threading.Lock()
        self._context: ssl.SSLContext | None = None
        if cert or isinstance(verify, str):
            self.context()

    def context(self) -> ssl.SSLContext:
        """Return the context.

        Raises:
            ConfigurationError: the environment names a file that cannot be used.
        """
        with self._lock:
            if self._context is None:
                self._context = tls_context(self._verify, self._cert, trust_env=self._trust_env)
            return self._context


def tls_context(
    verify: ssl.SSLContext | str | bool,  # noqa: FBT001 - as httpx has it
    cert: Certificate | None,
    *,
    trust_env: bool,
    names: tuple[str, str] = ("verify", "cert"),
) -> ssl.SSLContext:
    """Return a context for clients. Reading the usual CA bundle takes some 17 ms.

    The clients of httpx and of all registries use it. httpx's own function warns that a path and
    a certificate are deprecated; here both are supported.

    Args:
        verify: True for the usual CAs, False for no check, a file or folder of CAs, or a
            context, which is used as it is (a client certificate is loaded into it).
        cert: the client certificate, for servers that ask for one.
        trust_env: whether `SSL_CERT_FILE` and `SSL_CERT_DIR` name the usual CAs.
        names: what the user calls the first two arguments, for messages.

    Raises:
        ConfigurationError: a file is missing or holds no usable certificate or key.
    """
    try:
        context = _trusting(verify, trust_env=trust_env)
    except OSError as error:
        what = verify if isinstance(verify, str) else "SSL_CERT_FILE or SSL_CERT_DIR"
        raise ConfigurationError(
            f"{names[0]}: no CA certificates can be read from {what}: {error}"
        ) from None
    if cert:
        _load(context, (cert,) if isinstance(cert, str) else cert, names[1])
    return context


def _trusting(verify: Any, *, trust_env: bool) -> ssl.SSLContext:
    if not isinstance(verify, str):
        return httpx.create_ssl_context(verify, trust_env=trust_env)
    if Path(verify).is_dir():
        return ssl.create_default_context(capath=verify)
    return ssl.create_default_context(cafile=verify)


def _load(context: ssl.SSLContext, cert: tuple[str, ...], name: str) -> None:
    try:
        context.load_cert_chain(*cert)
    except OSError as error:
        files = " and ".join(cert[:2])  # The third, if any, is a password.
        raise ConfigurationError(
            f"{name}: no certificate with its key can be read from {files}: {error}; "
            "give the path of a PEM file with both, or the paths of certificate and key"
        ) from None
