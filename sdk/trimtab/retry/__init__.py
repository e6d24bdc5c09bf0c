"""Whether to try again, where, and after how long: decisions only.

Deadlines and hedges will stand beside these.
"""

from __future__ import annotations

from trimtab.retry.attempts import Failure, RetryPolicy
from trimtab.retry.backoff import Backoff
from trimtab.retry.budget import RetryBudget

__all__ = ["Backoff", "Failure", "RetryBudget", "RetryPolicy"]
