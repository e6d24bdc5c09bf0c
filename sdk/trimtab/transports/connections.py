"""The inner transports: each instance has its own, closed when it is gone and idle.

One shared pool would scan every connection of every instance at every request; and an own pool
is what makes draining natural.
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

__all__ = ["Connections"]


class Connections:
    """Inner transports by member, and how many attempts each carries.

    Thread-safe. It decides what is to be closed and hands it to `close`; it does no I/O itself.

    Args:
        make: makes the inner transport of an instance.
        close: takes inner transports that nothing uses any more.
        on_idle: called whenever the last attempt in use has ended.
    """

    def __init__(
        self,
        make: Callable[[Instance], Any],
        close: Callable[[list[Any]], None],
        on_idle: Callable[[], None],
    ) -> None:
        self._make = make
        self._close = close
        self._on_idle = on_idle
        self._lock = threading.Lock()
        self._inner: dict[Member, _Inner] = {}
        # A deque can be added to without a lock.
        self._dropped: deque[_Inner] = deque()
        self.in_use = 0

    def __len__(self) -> int:
        return len(self._inner)

    def use(self, member: Member, instance: Instance) -> _Inner:
        """Return the inner transport of a member, made at its first use; `give_back` it later."""
        if self._dropped:
            self.settle()
        with self._lock:
            inner = self._inner.get(member)
            stale = None
            if inner is None or inner.address != instance.address:
                # Registered again under the same id, at another address.
                stale = inner
                inner = _Inner(instance.address, self._make(instance))
                # It may have left the list since it was picked: then this use is the only one.
                inner.retired = member.is_removed
                if not inner.retired:
                    self._inner[member] = inner
            inner.users += 1
            self.in_use += 1
        if stale is not None:
            self._retire([stale])
        return inner

    def give_back(self, inner: _Inner) -> None:
        """Note that an attempt has left its connection."""
        with self._lock:
            inner.users -= 1
            self.in_use -= 1
            over = inner.retired and inner.users == 0
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
            left = list(self._inner.values())
            self._inner.clear()
        return [inner.transport for inner in left]

    def _retire(self, inners: list[_Inner]) -> None:
        with self._lock:
            for inner in inners:
                inner.retired = True
            unused = [inner.transport for inner in inners if inner.users == 0]
        if unused:
            self._close(unused)


class _Inner:
    """One instance's inner transport."""

    __slots__ = ("address", "retired", "transport", "users")

    def __init__(self, address: str, transport: Any) -> None:
        self.address = address
        self.transport = transport
        self.users = 0
        self.retired = False
