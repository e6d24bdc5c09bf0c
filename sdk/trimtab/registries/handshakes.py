"""Close what a cancelled TLS handshake leaves open.

httpcore closes a connection whose handshake fails, and leaves one whose handshake is cancelled to
the garbage collector: a watch that is let go in the wrong moment, or a server that hangs and is
asked again and again, would hold sockets. Found with httpcore 1.0.9.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio

if TYPE_CHECKING:
    import httpx

__all__ = ["close_cancelled_handshakes"]


def close_cancelled_handshakes(client: httpx.AsyncClient) -> None:
    """Make a client, unused, close every connection whose handshake does not come to its end.

    A client with a transport of its own, as in tests and simulations, stays as it is.
    """
    # There is no public way to name a network backend.
    pool = getattr(client._transport, "_pool", None)  # noqa: SLF001 - see above
    if pool is not None:
        pool._network_backend = _Backend(pool._network_backend)  # noqa: SLF001 - see above


class _Backend:
    """A network backend; `connect_tcp` is all that is asked of it."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    async def connect_tcp(self, *args: Any, **options: Any) -> Any:
        return _Stream(await self._inner.connect_tcp(*args, **options))


class _Stream:
    """A connection before its handshake; what is read and written goes straight to it."""

    def __init__(self, inner: Any) -> None:
        self.read, self.write, self.aclose = inner.read, inner.write, inner.aclose
        self.get_extra_info = inner.get_extra_info
        self._inner = inner

    async def start_tls(self, *args: Any, **options: Any) -> Any:
        try:
            return await self._inner.start_tls(*args, **options)
        except BaseException:
            with anyio.CancelScope(shield=True):
                await self.aclose()
            raise
