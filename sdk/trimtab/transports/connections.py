"""The inner transports: each instance has its own, closed when it is gone or old, and idle.

One shared pool would scan every connection of every instance at every request; and an own pool
is what makes draining natural.

Draining knows no limit of its own while the transport is open: what is in flight on an instance
that left the list, or on connections that have grown old, ends by its body or by the caller's own
timeouts, and its connections close at that moment. Only closing the transport puts an end to it.
Nothing runs in the background for this: what is old is noticed at the next request to any
instance.
"""

from __future__ import annotations

import threading
from collections import deque
from contextlib import suppress
from heapq import heappop, heappush
from itertools import count
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from random import Random

    from trimtab.instance import Instance
    from trimtab.member import Member

__all__ = ["Ages", "Connections", "Inner"]

T = TypeVar("T")

JITTER_RATIO = 0.1


class Connections:
    """Inner transports by member, and how many attempts each carries.

    Thread-safe. It decides what is to be closed and hands it to `close`; it does no I/O itself.

    Args:
        make: makes the inner transport of an instance.
        close: takes inner transports that nothing uses any more.
        ages: says which have grown too old for new requests.

    Attributes:
        in_use: how many attempts have a connection.
        on_idle: called whenever the last of these has ended; None: not wanted.
    """

    def __init__(
        self,
        make: Callable[[Instance], Any],
        close: Callable[[list[Any]], None],
        ages: Ages[Inner],
    ) -> None:
        self._make = make
        self._close = close
        self.on_idle: Callable[[], None] | None = None
        self._ages = ages
        self._lock = threading.Lock()
        self._inner: dict[Member, Inner] = {}
        # In use, and closed at the end of their last use. A dict, for its order.
        self._leaving: dict[Inner, None] = {}
        self._abandoned = False
        # A deque can be added to without a lock.
        self._dropped: deque[Inner] = deque()
        self.in_use = 0

    def __len__(self) -> int:
        return len(self._inner)

    def use(self, member: Member, instance: Instance) -> Inner:
        """Return the inner transport of a member, made at its first use; `give_back` it later."""
        if self._dropped:
            self.settle()
        if self._ages.is_due():
            self._retire_old()
        with self._lock:
            inner = self._inner.get(member)
            stale = None
            if inner is None or inner.address != instance.address or inner.is_leaving:
                # Registered again under the same id, at another address; or its server takes no
                # new requests on these connections.
                stale = inner
                inner = self._begin(member, instance)
            inner.users += 1
            self.in_use += 1
        if stale is not None:
            self._retire([stale])
        return inner

    def _begin(self, member: Member, instance: Instance) -> Inner:
        inner = Inner(member, instance.address, self._make(instance))
        # It may have left the list since it was picked: then this use is the only one.
        inner.retired = member.is_removed or self._abandoned
        if inner.retired:
            self._leaving[inner] = None
        else:
            self._inner[member] = inner
            self._ages.begin(inner)
        return inner

    def give_back(self, inner: Inner, *, is_clean: bool = False) -> None:
        """Note that an attempt has left its connection.

        Args:
            inner: what `use` gave.
            is_clean: whether it came to a regular end; otherwise the transport is looked at as
                soon as nothing uses it, and replaced if it still holds a connection to be busy.
        """
        with self._lock:
            inner.users -= 1
            self.in_use -= 1
            inner.suspect = inner.suspect or not is_clean
            is_over = not inner.users and (inner.retired or inner.suspect) and self._is_over(inner)
        if is_over:
            self._close([inner.transport])
        if self.on_idle is not None and not self.in_use:
            self.on_idle()

    def drop(self, inner: Inner) -> None:
        """Give back from a finalizer, where no lock may be waited for: `settle` does it."""
        self._dropped.append(inner)

    def settle(self) -> None:
        """Give back what finalizers have dropped."""
        with suppress(IndexError):  # Another thread may take the last one.
            while self._dropped:
                self.give_back(self._dropped.popleft())

    def retire(self, members: Iterable[Member]) -> None:
        """Close the connections of members that are gone, each as soon as it is unused."""
        self.settle()
        with self._lock:
            gone = [self._inner.pop(member, None) for member in members]
        self._retire([inner for inner in gone if inner is not None])

    def abandon(self) -> list[Any]:
        """Forget every connection that is left, used or not, and return the transports."""
        with self._lock:
            self._abandoned = True
            left = [*self._inner.values(), *self._leaving]
            self._inner.clear()
            self._leaving.clear()
            for inner in left:
                # Whoever still uses it gives back what is closed already.
                inner.retired = False
        return [inner.transport for inner in left]

    def _is_over(self, inner: Inner) -> bool:
        """Say whether to close what nobody uses any more; it is forgotten then."""
        if inner.retired:
            del self._leaving[inner]
            return True
        is_leaky = inner.suspect and not getattr(inner.transport, "is_quiet", True)
        inner.suspect = False
        if is_leaky and self._inner.get(inner.member) is inner:
            del self._inner[inner.member]
            return True
        return False

    def _retire_old(self) -> None:
        with self._lock:
            old = [each for each in self._ages.over() if self._inner.get(each.member) is each]
            for inner in old:
                del self._inner[inner.member]
        self._retire(old)

    def _retire(self, inners: list[Inner]) -> None:
        with self._lock:
            for inner in inners:
                inner.retired = True
                if inner.users:
                    self._leaving[inner] = None
            unused = [inner.transport for inner in inners if inner.users == 0]
        if unused:
            self._close(unused)


class Inner:
    """One instance's inner transport."""

    __slots__ = ("address", "member", "retired", "suspect", "transport", "users")

    def __init__(self, member: Member, address: str, transport: Any) -> None:
        self.member = member
        self.address = address
        self.transport = transport
        self.users = 0
        self.retired = False
        self.suspect = False

    @property
    def is_leaving(self) -> bool:
        """Whether the server takes no new requests here; own transports need not know it."""
        return getattr(self.transport, "is_leaving", False)


class Ages(Generic[T]):
    """Says what has grown too old. O(log n) to begin, O(1) to ask. Only `is_due` is thread-safe.

    Keep-alive must pin neither traffic nor an old DNS answer. Source: gRPC A9, "Server-side
    Connection Management": a maximum age with a jitter of plus or minus 10 %, so that connections
    that were made in one moment do not end in one moment. Deviations: here the client counts, and
    the age is that of an instance's whole set of connections, counted from the first of them, so
    none of them is ever older.

    Args:
        max_age_s: seconds, above 0; each age is drawn evenly from 10 % below to 10 % above.
            None lets everything live for ever.
        clock: seconds, monotonic.
        rng: the source of chance.
    """

    def __init__(self, max_age_s: float | None, *, clock: Callable[[], float], rng: Random) -> None:
        self._max_age_s = max_age_s
        self._clock = clock
        self._rng = rng
        # With a number, for things of one moment cannot be compared.
        self._ends: list[tuple[float, int, T]] = []
        self._numbers = count()
        self._next = float("inf")

    def begin(self, thing: T) -> None:
        """Note that a thing is new."""
        if self._max_age_s is None:
            return
        factor = self._rng.uniform(1 - JITTER_RATIO, 1 + JITTER_RATIO)
        end = self._clock() + self._max_age_s * factor
        heappush(self._ends, (end, next(self._numbers), thing))
        self._next = self._ends[0][0]

    def is_due(self) -> bool:
        """Say whether `over` would give something."""
        return self._clock() >= self._next

    def over(self) -> list[T]:
        """Return the things whose time has come, each once, the oldest first."""
        now, over = self._clock(), []
        while self._ends and self._ends[0][0] <= now:
            over.append(heappop(self._ends)[2])
        self._next = self._ends[0][0] if self._ends else float("inf")
        return over
