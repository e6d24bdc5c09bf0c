"""Transports for httpx and httpx2: thin; they ask the pool and the retry policy and do the I/O."""

from __future__ import annotations

from trimtab.transports.balanced import BalancedTransport
from trimtab.transports.exchange import CallInfo

__all__ = ["BalancedTransport", "CallInfo"]
