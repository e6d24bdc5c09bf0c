"""kazoo's client as we need it: bounded connects, our TLS, named threads, and quiet.

Deviations from kazoo's defaults, and why:

- A member that stays silent is left after 2 s and not after a whole session: one behind a
  firewall, or one that hangs, whose kernel still takes connections, must not keep us from the
  others.
- TLS goes by our own context (kazoo's would not check host names), and bytes that TLS has
  decrypted already count as readable: `select` knows nothing of them, and an answer would lie
  there until the next one came.
- Reconnecting is tried at least about once a second; kazoo's own backoff grows to an hour.
- kazoo warns at each attempt, in each of its clients. The last warning is remembered, for our
  one message, and logged at the level DEBUG.
- kazoo logs whole requests at that level, those with the password too; these are left out.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import socket
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kazoo.client import KazooClient
from kazoo.handlers.threading import SequentialThreadingHandler
from kazoo.protocol.serialization import SASL, Auth, Connect

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Sequence

__all__ = ["THREAD_NAME", "ClientSettings", "make_client"]

THREAD_NAME = "trimtab-zookeeper"
"""The name of kazoo's threads; each client has three."""
_SILENCE_S = 2.0
_RECONNECT = {"max_tries": -1, "delay": 0.1, "max_delay": 1.0}
_NOT_A_REASON = "Transition to CONNECTING"
_SECRETS = (Auth, Connect, SASL)

_log = logging.getLogger("trimtab.registries.zookeeper")


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientSettings:
    """How every client of one registry connects.

    Attributes:
        hosts: the members, `h1:2181,h2:2181`.
        user: user and password, if any.
        sasl: authenticate by SASL (DIGEST-MD5) rather than by the scheme "digest".
        acl: who may do what with the nodes we write; None means kazoo's default, all to all.
        tls: the context for TLS; None means plain TCP.
    """

    hosts: str
    user: tuple[str, str] | None = None
    sasl: bool = False
    acl: Sequence[Any] | None = None
    tls: ssl.SSLContext | None = None


def make_client(settings: ClientSettings, session_s: float) -> Any:
    """Make a client, not started yet, that asks for sessions of `session_s`."""
    user, password = settings.user or ("", "")
    login = {"mechanism": "DIGEST-MD5", "username": user, "password": password}
    return KazooClient(
        hosts=settings.hosts,
        timeout=session_s,
        handler=_Threads(settings.tls),
        default_acl=settings.acl,
        auth_data=[("digest", f"{user}:{password}")] if user and not settings.sasl else [],
        sasl_options=login if settings.sasl else None,
        connection_retry=_RECONNECT,
        logger=Quiet(_log),
    )


class Quiet(logging.LoggerAdapter[logging.Logger]):
    """Log kazoo's warnings as details, and remember the last.

    Attributes:
        last: what kazoo last complained of; "" before it did.
    """

    last = ""

    def log(self, level: int, msg: object, *args: object, **kwargs: Any) -> None:
        """Log for kazoo; its errors stay errors, its finest level is dropped."""
        if level < logging.DEBUG or any(isinstance(arg, _SECRETS) for arg in args):
            return
        if level == logging.WARNING and msg != _NOT_A_REASON:
            self.last = str(msg) % args
        if level in {logging.INFO, logging.WARNING}:
            level = logging.DEBUG
        super().log(level, msg, *args, **kwargs)


class _Threads(SequentialThreadingHandler):  # type: ignore[misc]  # kazoo has no types
    """kazoo's threads and sockets; it asks its handler for both.

    Attributes:
        latest: the thread started last, which in kazoo's order is that of the connection.
    """

    def __init__(self, tls: ssl.SSLContext | None) -> None:
        super().__init__()
        self.latest = threading.current_thread()
        self._tls = tls
        self._socket: socket.socket | None = None

    def spawn(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> threading.Thread:
        thread = threading.Thread(
            target=function, args=args, kwargs=kwargs, name=THREAD_NAME, daemon=True
        )
        thread.start()
        self.latest = thread
        return thread

    def cut(self) -> None:
        """Break the present connection, so that kazoo's thread waits on it no longer."""
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)

    def create_connection(
        self, address: tuple[str, int], *, timeout: float, hostname: str, **_: Any
    ) -> socket.socket:
        try:
            self._socket = socket.create_connection(address, min(timeout, _SILENCE_S))
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._tls is not None:
                self._socket = self._encrypted(self._tls, self._socket, hostname)
        except TimeoutError:
            # kazoo shows `strerror`, which a plain time-out has not.
            raise OSError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT)) from None
        return self._socket

    @staticmethod
    def _encrypted(tls: ssl.SSLContext, plain: socket.socket, hostname: str) -> socket.socket:
        try:
            return tls.wrap_socket(plain, server_hostname=hostname)
        except BaseException:
            plain.close()
            raise

    def select(
        self, readers: list[Any], writers: list[Any], rest: list[Any], timeout: float | None = None
    ) -> Any:
        if self._tls is not None:
            decrypted = [each for each in readers if hasattr(each, "pending") and each.pending()]
            if decrypted:
                return decrypted, [], []
        if timeout is not None and len(readers) == 1:
            # An answer is awaited, to the handshake say; where nothing is, kazoo listens to its
            # own pipe as well.
            timeout = min(timeout, _SILENCE_S)
        return super().select(readers, writers, rest, timeout)
