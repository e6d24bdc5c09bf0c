"""Answers already written as JSON, shared by all who ask the same at the same moment.

A change wakes everybody who waits for it: two hundred clients of a service with thousands of
instances want the very same megabytes. They are written once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from cachetools import LRUCache

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from trimtab.server.catalog import Catalog

__all__ = ["Bodies"]

_KEPT_BYTES = 32 << 20


class Bodies:
    """The newest bodies, each good for as long as nothing in the catalog was written."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._kept: LRUCache[Hashable, tuple[int, bytes]] = LRUCache(
            _KEPT_BYTES, getsizeof=lambda kept: len(kept[1])
        )

    def get(self, question: Hashable, make: Callable[[], Any]) -> bytes:
        """Give the body for a question; `make` gives the value when it must be written."""
        generation, body = self._kept.get(question, (-1, b""))
        if generation != self._catalog.generation:
            body = msgspec.json.encode(make())
            if len(body) <= _KEPT_BYTES:
                self._kept[question] = (self._catalog.generation, body)
        return body
