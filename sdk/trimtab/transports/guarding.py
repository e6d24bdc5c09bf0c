"""What httpcore does not see to between a connect and the first byte of a request.

* *Who answers is judged.* A host name says nothing about where it leads: it may point to the
  metadata service of a cloud today, or change from one moment to the next. So the address that is
  judged is the one that the connection has reached. An address that stands in the list outright
  is judged before.
* *A TLS handshake that is cancelled closes its connection.* httpcore closes it after errors alone,
  and leaves it to the garbage collector after a cancellation.
* *What a cancellation left behind is noticed.* asyncio's own cancellation (`asyncio.timeout`,
  `wait_for`) may hit httpcore while it tidies up after a request, which its shields do not keep
  off; it then takes a connection for busy for ever.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio

if TYPE_CHECKING:
    from collections.abc import Callable

    from trimtab.transports.families import Family

__all__ = ["guard", "is_quiet"]


def guard(
    transport: Any, refusal_of: Callable[[str], str | None], family: Family, *, is_async: bool
) -> None:
    """Put the guards into an inner transport; a refusal is a connect error of its family.

    Neither family lets one name a network backend; both keep it at the same place, and one that
    kept it elsewhere would fail here, when made, rather than leave the guards out.

    Args:
        transport: one of the family's own, unused.
        refusal_of: says why an address may not be called; None if it may, or is a name.
        family: the transport's.
        is_async: whether it is asynchronous.
    """
    kind = _AsyncBackend if is_async else _Backend
    pool = transport._pool  # noqa: SLF001 - there is no public way
    backend = pool._network_backend  # noqa: SLF001 - as above
    pool._network_backend = kind(backend, refusal_of, family)  # noqa: SLF001 - as above


def is_quiet(transport: Any) -> bool:
    """Say whether an inner transport that nobody uses knows that; True if it cannot be told."""
    try:
        pool = transport._pool  # noqa: SLF001 - there is no public way
        is_free = not pool._requests  # noqa: SLF001 - as above
        return is_free and all(each.is_idle() or each.is_closed() for each in pool.connections)
    except AttributeError:
        return True


class _Judge:
    """What both kinds share."""

    def __init__(
        self, backend: Any, refusal_of: Callable[[str], str | None], family: Family
    ) -> None:
        self._backend = backend
        self._refusal_of = refusal_of
        self._refused: Any = family.core.ConnectError

    def _check_name(self, host: str) -> None:
        reason = self._refusal_of(host)
        if reason is not None:
            raise self._refused(f"not called: {reason}")

    def _check_peer(self, host: str, stream: Any) -> None:
        try:
            address = stream.get_extra_info("server_addr")[0]
        except OSError as error:  # The peer has hung up by now.
            raise self._refused(f"{host}: {error}") from error
        reason = self._refusal_of(address)
        if reason is not None:
            raise self._refused(f"not called: {host} leads to {address}: {reason}")


class _Backend(_Judge):
    """A sync network backend."""

    def connect_tcp(self, host: str, port: int, **options: Any) -> Any:
        self._check_name(host)
        stream = self._backend.connect_tcp(host, port, **options)
        try:
            self._check_peer(host, stream)
        except BaseException:
            stream.close()
            raise
        return _Stream(stream)


class _AsyncBackend(_Judge):
    """An async network backend."""

    async def connect_tcp(self, host: str, port: int, **options: Any) -> Any:
        self._check_name(host)
        stream = await self._backend.connect_tcp(host, port, **options)
        try:
            self._check_peer(host, stream)
        except BaseException:
            with anyio.CancelScope(shield=True):
                await stream.aclose()
            raise
        return _AsyncStream(stream)


class _Stream:
    """A connection without TLS yet. What is read and written goes straight to it."""

    def __init__(self, stream: Any) -> None:
        self.read, self.write = stream.read, stream.write
        self.get_extra_info = stream.get_extra_info
        self.close = stream.close
        self._start_tls = stream.start_tls

    def start_tls(self, *args: Any, **options: Any) -> Any:
        try:
            return self._start_tls(*args, **options)
        except BaseException:
            self.close()
            raise


class _AsyncStream:
    """The same for async connections."""

    def __init__(self, stream: Any) -> None:
        self.read, self.write = stream.read, stream.write
        self.get_extra_info = stream.get_extra_info
        self.aclose = stream.aclose
        self._start_tls = stream.start_tls

    async def start_tls(self, *args: Any, **options: Any) -> Any:
        try:
            return await self._start_tls(*args, **options)
        except BaseException:
            with anyio.CancelScope(shield=True):
                await self.aclose()
            raise
