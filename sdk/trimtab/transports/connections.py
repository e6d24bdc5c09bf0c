"""The inner transports: one per instance, closed when it is unused and removed or too old.

One shared pool would scan all connections of all instances at every request. With a pool of its
own, an instance is drained by closing this pool after its last use.

While the transport is open, draining has no time limit. A request in flight on an instance that
left the list, or on connections that are too old, ends with its body or by the caller's timeouts;
then its connections are closed. Closing the transport ends it earlier. There is no background
work: old connections are found at the next request to any instance.
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

    Thread-safe. It decides which transports to close and passes them to `close`; it does no I/O.

    Args:
        make: makes the inner transport of an instance.
        close: called with inner transports that are not used any more.
        ages: says which are too old for new requests.

    Attributes:
        in_use: how many attempts have a connection.
        on_idle: called whenever the last of these has ended; None: no call.
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
        # In use, to be closed after their last use. A dict keeps their order.
        self._leaving: dict[Inner, None] = {}
        self._abandoned = False
        # Appending to a deque needs no lock.
        self._dropped: deque[Inner] = deque()
        self.in_use = 0

    def __len__(self) -> int:
        return len(self._inner)

    def use(self, member: Member, instance: Instance) -> Inner:
        """Return the inner transport of a member, made at its first use. `give_back` it later."""
        if self._dropped:
            self.settle()
        ages = self._ages
        if ages.clock() >= ages.next_at:
            self._retire_old()
        with self._lock:
            inner = self._inner.get(member)
            stale = None
            if (
                inner is None
                or inner.address != instance.address
                or getattr(inner.transport, "is_leaving", False)
            ):
                # The instance was registered again with the same id at another address, or its
                # server takes no new requests on these connections. A transport of the user's own
                # need not know that.
                stale = inner
                inner = self._begin(member, instance)
            inner.users += 1
            self.in_use += 1
        if stale is not None:
            self._retire([stale])
        return inner

    def _begin(self, member: Member, instance: Instance) -> Inner:
        inner = Inner(member, instance.address, self._make(instance))
        # If the member left the list after it was picked, this use is the only one.
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
            is_clean: whether the attempt ended regularly. Otherwise the transport is checked as
                soon as it is unused, and replaced if it still counts a connection as busy.
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
        """Give back from a finalizer, which must not wait for a lock; `settle` does it later."""
        self._dropped.append(inner)

    def settle(self) -> None:
        """Give back the transports that finalizers have dropped."""
        with suppress(IndexError):  # Another thread may take the last one.
            while self._dropped:
                self.give_back(self._dropped.popleft())

    def retire(self, members: Iterable[Member]) -> None:
        """Close the connections of removed members, each as soon as it is unused."""
        self.settle()
        with self._lock:
            gone = [self._inner.pop(member, None) for member in members]
        self._retire([inner for inner in gone if inner is not None])

    def abandon(self) -> list[Any]:
        """Remove all transports that are left, used or not, and return them."""
        with self._lock:
            self._abandoned = True
            left = [*self._inner.values(), *self._leaving]
            self._inner.clear()
            self._leaving.clear()
            for inner in left:
                # An attempt that still uses it will give back a transport that is closed.
                inner.retired = False
        return [inner.transport for inner in left]

    def _is_over(self, inner: Inner) -> bool:
        """Return whether to close an unused transport; if so, it is removed."""
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


class Ages(Generic[T]):
    """Says which things are too old. O(log n) to begin, O(1) to see by `next_at`. Not thread-safe.

    Without a maximum age, keep-alive would keep traffic on old connections and old DNS answers.
    Source: gRPC A9, "Server-side Connection Management": a maximum age with a jitter of plus or
    minus 10 %, so that connections made at the same time do not end at the same time. Deviations:
    the client limits the age, and the age is that of an instance's whole set of connections,
    counted from the first of them, so no connection is older.

    Args:
        max_age_s: seconds, above 0; each age is drawn evenly from 10 % below to 10 % above.
            None: no maximum.
        clock: seconds, monotonic.
        rng: the source of chance.

    Attributes:
        next_at: when the first one is too old; infinity for never.
    """

    def __init__(self, max_age_s: float | None, *, clock: Callable[[], float], rng: Random) -> None:
        self._max_age_s = max_age_s
        self.clock = clock
        self._rng = rng
        # With a number, because things of the same time cannot be compared.
        self._ends: list[tuple[float, int, T]] = []
        self._numbers = count()
        self.next_at = float("inf")

    def begin(self, thing: T) -> None:
        """Note that a thing begins now."""
        if self._max_age_s is None:
            return
        factor = self._rng.uniform(1 - JITTER_RATIO, 1 + JITTER_RATIO)
        end = self.clock() + self._max_age_s * factor
        heappush(self._ends, (end, next(self._numbers), thing))
        self.next_at = self._ends[0][0]

    def over(self) -> list[T]:
        """Return the things that are too old, each once, the oldest first."""
        now, over = self.clock(), []
        while self._ends and self._ends[0][0] <= now:
            over.append(heappop(self._ends)[2])
        self.next_at = self._ends[0][0] if self._ends else float("inf")
        return over
