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
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from trimtab.instance import Instance
    from trimtab.member import Member
    from trimtab.transports.ages import Ages

__all__ = ["Connections"]


class Connections:
    """Inner transports by member, and how many attempts each carries.

    Thread-safe. It decides what is to be closed and hands it to `close`; it does no I/O itself.

    Args:
        make: makes the inner transport of an instance.
        close: takes inner transports that nothing uses any more.
        on_idle: called whenever the last attempt in use has ended.
        ages: says which have grown too old for new requests.
    """

    def __init__(
        self,
        make: Callable[[Instance], Any],
        close: Callable[[list[Any]], None],
        on_idle: Callable[[], None],
        ages: Ages[_Inner],
    ) -> None:
        self._make = make
        self._close = close
        self._on_idle = on_idle
        self._ages = ages
        self._lock = threading.Lock()
        self._inner: dict[Member, _Inner] = {}
        # In use, and closed at the end of their last use. A dict, for its order.
        self._leaving: dict[_Inner, None] = {}
        self._abandoned = False
        # A deque can be added to without a lock.
        self._dropped: deque[_Inner] = deque()
        self.in_use = 0

    def __len__(self) -> int:
        return len(self._inner)

    def use(self, member: Member, instance: Instance) -> _Inner:
        """Return the inner transport of a member, made at its first use; `give_back` it later."""
        if self._dropped:
            self.settle()
        if self._ages.is_due():
            self._retire_old()
        with self._lock:
            inner = self._inner.get(member)
            stale = None
            if inner is None or inner.address != instance.address:
                # Registered again under the same id, at another address.
                stale = inner
                inner = self._begin(member, instance)
            inner.users += 1
            self.in_use += 1
        if stale is not None:
            self._retire([stale])
        return inner

    def _begin(self, member: Member, instance: Instance) -> _Inner:
        inner = _Inner(member, instance.address, self._make(instance))
        # It may have left the list since it was picked: then this use is the only one.
        inner.retired = member.is_removed or self._abandoned
        if inner.retired:
            self._leaving[inner] = None
        else:
            self._inner[member] = inner
            self._ages.begin(inner)
        return inner

    def give_back(self, inner: _Inner, *, is_clean: bool = False) -> None:
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
            over = inner.users == 0 and self._is_over(inner)
            idle = self.in_use == 0
        if over:
            self._close([inner.transport])
        if idle:
            self._on_idle()

    def drop(self, inner: _Inner) -> None:
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

    def _is_over(self, inner: _Inner) -> bool:
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

    def _retire(self, inners: list[_Inner]) -> None:
        with self._lock:
            for inner in inners:
                inner.retired = True
                if inner.users:
                    self._leaving[inner] = None
            unused = [inner.transport for inner in inners if inner.users == 0]
        if unused:
            self._close(unused)


class _Inner:
    """One instance's inner transport."""

    __slots__ = ("address", "member", "retired", "suspect", "transport", "users")

    def __init__(self, member: Member, address: str, transport: Any) -> None:
        self.member = member
        self.address = address
        self.transport = transport
        self.users = 0
        self.retired = False
        self.suspect = False
