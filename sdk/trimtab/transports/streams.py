"""Response bodies that end their attempt, for either family, sync and async.

The pick is done when the body has ended, by success, failure or being given up. The connection is
the attempt's until the stream is closed, so its closing waits for that.
"""

from __future__ import annotations

import asyncio
from functools import cache
from typing import TYPE_CHECKING, Any

import anyio

from trimtab.balancing.drivers import native_cancellations

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from trimtab.http import Family
    from trimtab.pool import Outcome, Pick
    from trimtab.transports.connections import Inner
    from trimtab.transports.exchange import AsyncExchange, SyncExchange

_ROUNDING_S = 1e-9

__all__ = ["async_stream", "sync_stream"]


def async_stream(
    family: Family, stream: Any, exchange: AsyncExchange, pick: Pick, inner: Inner
) -> Any:
    """Wrap an async response stream."""
    return _async_class(family)(stream, exchange, pick, inner)


def sync_stream(
    family: Family, stream: Any, exchange: SyncExchange, pick: Pick, inner: Inner
) -> Any:
    """Wrap a sync response stream."""
    return _sync_class(family)(stream, exchange, pick, inner)


class _Counted:
    """The part that both kinds share."""

    def __init__(self, stream: Any, exchange: Any, pick: Pick, inner: Inner) -> None:
        self._stream = stream
        self._exchange = exchange
        self._pick = pick
        self._inner: Inner | None = inner
        self._is_whole = True

    def __del__(self) -> None:
        # A response that was never closed must not count in flight for ever.
        if self._inner is not None or not self._pick.is_done:
            self._exchange.drop(self._pick, self._inner)

    def _ended(self, outcome: Outcome) -> None:
        if not self._pick.is_done:
            self._exchange.service.ended(self._pick, outcome)

    def _broken(self, error: BaseException) -> None:
        self._is_whole = False
        self._ended("failure" if isinstance(error, Exception) else "cancelled")

    def _closed(self, *, is_clean: bool) -> None:
        self._ended("cancelled")
        inner, self._inner = self._inner, None
        if inner is not None:
            self._exchange.release(inner, is_clean=is_clean)


@cache
def _async_class(family: Family) -> type:
    base: Any = family.module.AsyncByteStream

    class CountedAsyncStream(_Counted, base):  # type: ignore[misc] # known at run time only
        async def __aiter__(self) -> AsyncIterator[bytes]:
            stream = self._stream
            if self._exchange.has_deadline:
                stream = _within(stream, self._exchange)
            try:
                async for chunk in stream:
                    yield chunk
            except BaseException as error:
                self._broken(error)
                raise
            self._ended("success")

        async def aclose(self) -> None:
            is_clean = False
            try:
                await self._stream.aclose()
                is_clean = self._is_whole
            finally:
                self._closed(is_clean=is_clean)

    return CountedAsyncStream


@cache
def _sync_class(family: Family) -> type:
    base: Any = family.module.SyncByteStream

    class CountedStream(_Counted, base):  # type: ignore[misc] # known at run time only
        def __iter__(self) -> Iterator[bytes]:
            exchange = self._exchange
            try:
                for chunk in self._stream:
                    yield chunk
                    if exchange.has_deadline and exchange.time_left_s() <= 0:
                        raise exchange.out_of_time("reading the response")
            except exchange.timeouts as error:
                self._broken(error)
                if exchange.has_deadline and exchange.time_left_s() <= _ROUNDING_S:
                    raise exchange.out_of_time("reading the response") from error
                raise
            except BaseException as error:
                self._broken(error)
                raise
            self._ended("success")

        def close(self) -> None:
            is_clean = False
            try:
                self._stream.close()
                is_clean = self._is_whole
            finally:
                self._closed(is_clean=is_clean)

    return CountedStream


async def _within(stream: Any, exchange: Any) -> AsyncIterator[bytes]:
    """Yield a body's chunks, each before the deadline of its request."""
    chunks = aiter(stream)
    while True:
        before = native_cancellations()
        with anyio.move_on_after(max(exchange.time_left_s(), 0.0)) as scope:
            try:
                chunk = await anext(chunks)
            except StopAsyncIteration:
                return
        if scope.cancelled_caught:
            if native_cancellations() > before:
                raise asyncio.CancelledError
            raise exchange.out_of_time("reading the response")
        yield chunk
