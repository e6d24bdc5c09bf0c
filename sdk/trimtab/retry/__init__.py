"""Whether to try again, where, and after how long; when to hedge. Decisions only."""

from __future__ import annotations

from trimtab.retry.attempts import IDEMPOTENT, Failure, RetryPolicy
from trimtab.retry.backoff import Backoff
from trimtab.retry.budget import RetryBudget
from trimtab.retry.hedge import HedgePolicy
from trimtab.retry.quantiles import LatencyQuantile

__all__ = [
    "IDEMPOTENT",
    "Backoff",
    "Failure",
    "HedgePolicy",
    "LatencyQuantile",
    "RetryBudget",
    "RetryPolicy",
]
