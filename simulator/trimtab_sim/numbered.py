"""Tasks, futures and sets whose order is the same in each run."""

from __future__ import annotations

import asyncio
import weakref
from typing import TYPE_CHECKING, Any, TypeVar, cast

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["OrderedWeakSet", "SimulatedFuture", "SimulatedTask"]

T = TypeVar("T")


class _Numbered:
    """A hash that is a serial number of the loop, drawn when first asked for.

    Most futures are never asked, and stay as cheap as asyncio's own.
    """

    _serial: int
    get_loop: Any

    def __hash__(self) -> int:
        try:
            return self._serial
        except AttributeError:
            self._serial = serial = self.get_loop().next_serial()
            return cast("int", serial)


class SimulatedTask(_Numbered, asyncio.Task[T]):
    """A task whose hash is a serial number."""


class SimulatedFuture(_Numbered, asyncio.Future[T]):
    """A future whose hash is a serial number."""


class OrderedWeakSet:
    """A weak set in order of insertion, for the async generators to close at the end."""

    def __init__(self) -> None:
        self._refs: dict[weakref.ref[Any], None] = {}

    def add(self, item: Any) -> None:
        """Take it in, at the end, unless it is there."""
        self._refs.setdefault(weakref.ref(item, self._forget))

    def _forget(self, ref: weakref.ref[Any]) -> None:
        self._refs.pop(ref, None)

    def discard(self, item: Any) -> None:
        """Take it out, if it is there."""
        self._refs.pop(weakref.ref(item), None)

    def clear(self) -> None:
        """Take all out."""
        self._refs.clear()

    def __len__(self) -> int:
        return len(self._refs)

    def __iter__(self) -> Iterator[Any]:
        return iter([item for ref in list(self._refs) if (item := ref()) is not None])
