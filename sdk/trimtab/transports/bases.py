"""What transports derive from, so that either family's clients and type checkers take them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx

if TYPE_CHECKING:
    import httpx2

    class SyncBaseTransports(httpx.BaseTransport, httpx2.BaseTransport):  # type: ignore[misc]
        """Both families' `BaseTransport`."""

    class AsyncBaseTransports(httpx.AsyncBaseTransport, httpx2.AsyncBaseTransport):  # type: ignore[misc]
        """Both families' `AsyncBaseTransport`."""

else:
    # Neither family asks for its base at run time, and httpx2 is not always installed.
    class SyncBaseTransports(httpx.BaseTransport):
        """A sync transport."""

    class AsyncBaseTransports(httpx.AsyncBaseTransport):
        """An async transport."""


__all__ = ["AsyncBaseTransports", "SyncBaseTransports"]
