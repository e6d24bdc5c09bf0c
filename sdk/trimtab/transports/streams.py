"""Response bodies that tell when they have ended, for either family, sync and async."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from trimtab.transports.deadlines import within

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from trimtab.http.families import Family
    from trimtab.transports.exchange import Attempt

__all__ = ["async_stream", "sync_stream"]


def async_stream(family: Family, stream: Any, attempt: Attempt) -> Any:
    """Wrap an async response stream."""
    return _async_class(family)(stream, attempt)


def sync_stream(family: Family, stream: Any, attempt: Attempt) -> Any:
    """Wrap a sync response stream."""
    return _sync_class(family)(stream, attempt)


class _Counted:
    """The part that both kinds share.

    The pick is done when the body has ended, by success, failure or being given up; the
    connection is the instance's own until the stream is closed, so its closing waits for that.
    """

    def __init__(self, stream: Any, attempt: Attempt) -> None:
        self._stream = stream
        self._attempt = attempt
        self._is_whole = True

    def __del__(self) -> None:
        # A response that nobody closed must not count in flight for ever.
        self._attempt.dropped()

    def _broken(self, error: BaseException) -> None:
        self._is_whole = False
        self._attempt.done("failure" if isinstance(error, Exception) else "cancelled")


@cache
def _async_class(family: Family) -> type:
    base: Any = family.module.AsyncByteStream

    class CountedAsyncStream(_Counted, base):  # type: ignore[misc] # known at run time only
        async def __aiter__(self) -> AsyncIterator[bytes]:
            try:
                async for chunk in within(self._stream, self._attempt):
                    yield chunk
            except BaseException as error:
                self._broken(error)
                raise
            self._attempt.done("success")

        async def aclose(self) -> None:
            is_clean = False
            try:
                await self._stream.aclose()
                is_clean = self._is_whole
            finally:
                self._attempt.done("cancelled")
                self._attempt.released(is_clean=is_clean)

    return CountedAsyncStream


@cache
def _sync_class(family: Family) -> type:
    base: Any = family.module.SyncByteStream

    class CountedStream(_Counted, base):  # type: ignore[misc] # known at run time only
        def __iter__(self) -> Iterator[bytes]:
            try:
                for chunk in self._stream:
                    yield chunk
                    self._attempt.check_deadline()
            except BaseException as error:
                self._broken(error)
                raise
            self._attempt.done("success")

        def close(self) -> None:
            is_clean = False
            try:
                self._stream.close()
                is_clean = self._is_whole
            finally:
                self._attempt.done("cancelled")
                self._attempt.released(is_clean=is_clean)

    return CountedStream
