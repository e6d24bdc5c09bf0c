"""What HTTP/2 says about requests that were not processed, and what its errors mean.

A server that closes a connection sends GOAWAY with the number of the last stream that it processes:
streams up to it go on to their ends, later ones were not processed and may be sent again, whatever
their method. A single stream is refused by RST_STREAM with REFUSED_STREAM. Source: RFC 9113, 6.8
and 8.7.

h2 takes GOAWAY for the end of everything: it refuses the responses that still come, and httpcore
raises its complaint as `LocalProtocolError`, the caller's own mistake. Found with h2 4.4, httpcore
1.0.9 and nginx 1.22, whose `keepalive_requests` closes connections so: 68 of 600 requests failed.
So `Frames`, which stands between httpcore and the network, keeps GOAWAY to itself and refuses the
streams that were not processed one by one.

On threads httpcore guards h2's state by no lock. Between `get_next_available_stream_id` and
`send_headers` two threads take the same stream: one gets `KeyError` or `LocalProtocolError`, the
other waits for its time-out or gets the first one's answer. `data_to_send` loses frames that
another thread adds meanwhile, headers leave in another order than they were compressed in, and the
streams change while h2 walks over them (`RuntimeError`). Found with httpcore 1.0.9, httpcore2 2.16
and h2 4.4: about 40 of 1,200 requests failed and some had another request's answer, when threads
took turns often. No retry mends a wrong answer, and nothing public lets a lock in. So a connection
of a sync pool carries one request at a time (`one_at_a_time`), as over HTTP/1.1.
"""

from __future__ import annotations

import threading
from collections import deque
from contextvars import ContextVar
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import ModuleType

    from trimtab.calls import Failure

__all__ = [
    "Course",
    "Frames",
    "Watched",
    "WatchedAsync",
    "WatchedSync",
    "failure_of",
    "one_at_a_time",
    "present_course",
]

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_HEAD = 9
_HEADERS, _RST_STREAM, _GOAWAY = 0x1, 0x3, 0x7
_REFUSED_STREAM = 0x7
_STREAM = 0x7FFFFFFF
"""The bits of a stream's number."""


class Frames:
    """What passes on one connection, frame by frame. No I/O; one thread may read, another write.

    Args:
        on_goaway: called when the server has said that it takes no new streams.

    Attributes:
        last: the last stream that the server processes; None: it has not said so.
    """

    def __init__(self, on_goaway: Callable[[], None]) -> None:
        self._on_goaway = on_goaway
        self.last: int | None = None
        # A stream that begins at the moment of a GOAWAY must be refused by one side or the other.
        self._lock = threading.Lock()
        self._refused: deque[int] = deque()
        self._highest = 0
        self._rest = b""
        # How much of the present frame is still to come.
        self._open = 0

    def is_refused(self, stream: int) -> bool:
        """Return whether the server has not processed a stream."""
        return self.last is not None and stream > self.last

    def outgoing(self, data: bytes) -> bytes:
        """Take whole frames that are to be sent; return those that the server still takes."""
        kept, place = [], 0
        if data.startswith(_PREFACE):
            place = len(_PREFACE)
            kept.append(data[:place])
        while place < len(data):
            kind, stream, end = _frame(data, place)
            if kind == _HEADERS:
                self._begin(stream)
            if not self.is_refused(stream):
                kept.append(data[place:end])
            place = end
        return data if self.last is None else b"".join(kept)

    def incoming(self, data: bytes) -> bytes:
        """Take what was received, in pieces of any size; return what httpcore is to see of it."""
        seen = []
        if self._open:
            part = data[: self._open]
            self._open -= len(part)
            seen.append(part)
            data = data[len(part) :]
        if not self._open:
            seen.append(self.refusals())
            seen.append(self._whole(self._rest + data))
        return b"".join(seen)

    def refusals(self) -> bytes:
        """Return frames that refuse streams; empty in the middle of another frame."""
        frames = []
        while self._refused and not self._open:
            frames.append(_refusal(self._refused.popleft()))
        return b"".join(frames)

    def _whole(self, data: bytes) -> bytes:
        """Walk over frames from the beginning of one."""
        seen, start, place, size = [], 0, 0, len(data)
        while size - place >= _HEAD:
            kind, _, end = _frame(data, place)
            if kind != _GOAWAY:
                self._open = max(end - size, 0)
                place = min(end, size)
                continue
            if end > size:
                break
            self._take_goaway(int.from_bytes(data[place + _HEAD : place + _HEAD + 4]) & _STREAM)
            seen += [data[start:place], self.refusals()]
            start = place = end
        self._rest = data[place:]
        return b"".join((*seen, data[start:place]))

    def _begin(self, stream: int) -> None:
        with self._lock:
            if stream > self._highest:
                self._highest = stream
                if self.is_refused(stream):
                    self._refused.append(stream)

    def _take_goaway(self, last: int) -> None:
        with self._lock:
            before = self._highest if self.last is None else min(self.last, self._highest)
            # The client's streams have odd numbers.
            self._refused.extend(range((last + 1) | 1, before + 1, 2))
            self.last = last if self.last is None else min(last, self.last)
        self._on_goaway()


def _frame(data: bytes, place: int) -> tuple[int, int, int]:
    """Return the kind, the stream and the end of the frame that begins at a place."""
    length = int.from_bytes(data[place : place + 3])
    stream = int.from_bytes(data[place + 5 : place + _HEAD]) & _STREAM
    return data[place + 3], stream, place + _HEAD + length


def _refusal(stream: int) -> bytes:
    head = (4).to_bytes(3) + bytes((_RST_STREAM, 0)) + stream.to_bytes(4)
    return head + _REFUSED_STREAM.to_bytes(4)


# -- threads -------------------------------------------------------------------------------------


@cache
def one_at_a_time(core: ModuleType) -> Any:
    """Return a class of sync pools whose connections each carry one request at a time.

    Args:
        core: httpcore or httpcore2.
    """
    base: Any = core.ConnectionPool

    class Pool(base):  # type: ignore[misc] # known at run time only
        def create_connection(self, origin: Any) -> Any:
            return _Alone(super().create_connection(origin), core.ConnectionNotAvailable)

    return Pool


class _Alone:
    """A connection that refuses a request while it carries another one; its pool asks again.

    Args:
        connection: httpcore's.
        not_available: httpcore's error for a connection that cannot take a request now.
    """

    def __init__(self, connection: Any, not_available: type[Exception]) -> None:
        self._inner, self._not_available = connection, not_available
        self._in_use = threading.Lock()
        self.close, self.info = connection.close, connection.info
        self.can_handle_request = connection.can_handle_request
        self.has_expired, self.is_closed = connection.has_expired, connection.is_closed
        # httpcore2 asks this too.
        self.is_connected = getattr(connection, "is_connected", None)

    def is_available(self) -> bool:
        return not self._in_use.locked() and bool(self._inner.is_available())

    def is_idle(self) -> bool:
        return not self._in_use.locked() and bool(self._inner.is_idle())

    def can_multiplex(self) -> bool:
        return False

    def handle_request(self, request: Any) -> Any:
        if not self._in_use.acquire(blocking=False):
            raise self._not_available
        try:
            response = self._inner.handle_request(request)
        except BaseException:
            self._in_use.release()
            raise
        response.stream = _AloneBody(response.stream, self._in_use.release)
        return response


class _AloneBody:
    """The body of a response; the connection takes the next request when it is closed."""

    def __init__(self, stream: Any, closed: Callable[[], None]) -> None:
        self._inner, self._closed = stream, closed
        self._is_open = True

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._inner)

    def close(self) -> None:
        if self._is_open:
            self._is_open = False
            try:
                self._inner.close()
            finally:
                self._closed()


# -- errors --------------------------------------------------------------------------------------


class Course:
    """Where a request over HTTP/2 went. It is the request's trace for httpcore.

    Args:
        own: the caller's own trace, which is called too; None: there is none.

    Attributes:
        stream: the number of its stream; None: it has none yet.
        frames: what passed on the connection that it was written to last.
    """

    def __init__(self, own: Any = None) -> None:
        self._own = own
        self.stream: int | None = None
        self.frames: Frames | None = None

    @property
    def is_refused(self) -> bool:
        """Whether the server has said that it did not process the request."""
        if self.frames is None or self.stream is None:
            return False
        return self.frames.is_refused(self.stream)

    def trace(self, name: str, info: dict[str, Any]) -> None:
        """Take an event of a sync request."""
        self._note(name, info)
        if self._own is not None:
            self._own(name, info)

    async def trace_async(self, name: str, info: dict[str, Any]) -> None:
        """Take an event of an async request."""
        self._note(name, info)
        if self._own is not None:
            await self._own(name, info)

    def _note(self, name: str, info: dict[str, Any]) -> None:
        if name == "http2.send_request_headers.started":
            self.stream = info["stream_id"]


present_course: ContextVar[Course | None] = ContextVar("present_course", default=None)
"""The course of the request that is being sent, over HTTP/2."""


class Watched:
    """A connection of HTTP/2 under watch.

    A write that fails is no error yet: the server may have said before what it has processed, and
    that is still to be read. The next read tells if it has not.
    """

    def __init__(self, stream: Any, frames: Frames, write_error: type[Exception]) -> None:
        self._inner, self._frames, self._write_error = stream, frames, write_error
        self._is_broken = False
        self.get_extra_info = stream.get_extra_info

    def _outgoing(self, data: bytes) -> bytes:
        course = present_course.get()
        if course is not None:
            course.frames = self._frames
        kept = self._frames.outgoing(data)
        return b"" if self._is_broken else kept


class WatchedSync(Watched):
    """A sync connection of HTTP/2 under watch."""

    def close(self) -> None:
        """Close it."""
        self._inner.close()

    def write(self, data: bytes, timeout: float | None = None) -> None:
        """Send what the server still takes."""
        kept = self._outgoing(data)
        if kept:
            try:
                self._inner.write(kept, timeout)
            except self._write_error:
                self._is_broken = True

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Return what has come, without GOAWAY."""
        seen = self._frames.refusals()
        while not seen:
            data = self._inner.read(max_bytes, timeout)
            if not data:
                return self._frames.refusals()
            seen = self._frames.incoming(data)
        return seen


class WatchedAsync(Watched):
    """The same for async connections."""

    async def aclose(self) -> None:
        """Close it."""
        await self._inner.aclose()

    async def write(self, data: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109 - httpcore's
        """Send what the server still takes."""
        kept = self._outgoing(data)
        if kept:
            try:
                await self._inner.write(kept, timeout)
            except self._write_error:
                self._is_broken = True

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109 - as above
        """Return what has come, without GOAWAY."""
        seen = self._frames.refusals()
        while not seen:
            data = await self._inner.read(max_bytes, timeout)
            if not data:
                return self._frames.refusals()
            seen = self._frames.incoming(data)
        return seen


def failure_of(error: BaseException, request: Any) -> Failure | None:
    """Return what an error of httpcore's over HTTP/2 means; None: it is none of h2's.

    Args:
        error: httpcore's.
        request: the request that was sent, of either family.
    """
    cause = _cause_of(error)
    if cause is None:
        return None
    if not isinstance(cause, BaseException):  # An event: the server has reset the stream.
        return "unprocessed" if getattr(cause, "error_code", 0) == _REFUSED_STREAM else None
    return "no_response" if _can_be_sent(request) else "caller"


def _cause_of(error: BaseException) -> Any:
    """Return the error or event of h2's that httpcore has wrapped; None: there is none."""
    cause = error.args[0] if error.args else None
    return cause if type(cause).__module__ in {"h2.exceptions", "h2.events"} else None


def _can_be_sent(request: Any) -> bool:
    """Return whether a fresh connection takes the request's headers: they are not at fault."""
    from h2.connection import H2Connection  # noqa: PLC0415 - of an extra
    from h2.exceptions import ProtocolError  # noqa: PLC0415 - as above

    connection = H2Connection()
    connection.initiate_connection()
    own = [(name.lower(), value) for name, value in request.headers.raw]
    headers = [
        (b":method", request.method.encode()),
        (b":authority", request.url.netloc),
        (b":scheme", request.url.raw_scheme),
        (b":path", request.url.raw_path),
        *(each for each in own if each[0] not in {b"host", b"transfer-encoding"}),
    ]
    try:
        connection.send_headers(1, headers, end_stream=True)
    except ProtocolError:
        return False
    return True
