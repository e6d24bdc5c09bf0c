"""A request's deadline, kept by every wait that the request leads to."""

from __future__ import annotations

import math
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

import anyio

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from trimtab.transports.exchange import Attempt

__all__ = ["Timeouts", "retry_after_s", "with_deadline", "within"]

_LEAST_WAIT_S = 0.001
_WAITS = ("connect", "read", "write", "pool")


class Timeouts(dict[str, Any]):
    """A request's timeouts, each no longer than what is left until its deadline.

    The innermost transport asks at the beginning of every wait, and is told what is left then.
    """

    def __init__(self, own: dict[str, Any] | None, left_s: Callable[[], float]) -> None:
        super().__init__(dict.fromkeys(_WAITS) | (own or {}))
        self._left_s = left_s

    def __getitem__(self, name: str) -> Any:
        return self.get(name)

    def get(self, name: str, default: Any = None) -> Any:
        """Return the timeout of a kind of wait."""
        own = super().get(name, default)
        # Never 0: a socket with a time-out of 0 does not wait at all, and fails in other words.
        left_s = max(self._left_s(), _LEAST_WAIT_S)
        return left_s if own is None else min(own, left_s)


def with_deadline(request: Any, left_s: Callable[[], float], header: str | None) -> None:
    """Give a request that is about to be sent its deadline, and tell the server if wanted.

    Args:
        request: our own copy; it is changed.
        left_s: tells how much is left.
        header: the name of the header for what is left, in whole milliseconds; None: none.
    """
    timeouts = Timeouts(request.extensions.get("timeout"), left_s)
    request.extensions = {**request.extensions, "timeout": timeouts}
    if header is not None:
        request.headers = request.headers.copy()
        request.headers[header] = str(max(math.ceil(left_s() * 1000), 1))


async def within(stream: Any, attempt: Attempt) -> AsyncIterator[bytes]:
    """Yield a body's chunks, each before the deadline of its request if there is one."""
    if not attempt.has_deadline:
        async for chunk in stream:
            yield chunk
        return
    chunks = aiter(stream)
    while True:
        with anyio.move_on_after(max(attempt.time_left_s(), 0.0)) as scope:
            try:
                chunk = await anext(chunks)
            except StopAsyncIteration:
                return
        if scope.cancelled_caught:
            raise attempt.out_of_time()
        yield chunk


def retry_after_s(headers: Any, wall_clock: Callable[[], float]) -> float | None:
    """Read a `Retry-After` header: seconds, or a date; None if there is none that can be read.

    Source: RFC 9110, 10.2.3.
    """
    text = headers.get("retry-after")
    if text is None:
        return None
    if text.strip().isdecimal():
        return float(text)
    try:
        return max(parsedate_to_datetime(text).timestamp() - wall_clock(), 0.0)
    except (TypeError, ValueError, OverflowError):
        return None
