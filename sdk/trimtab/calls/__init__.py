"""Decisions about one request: no I/O, no clock.

`request` is the machine: what happens to a request, as rules, a table and one class. `shared` is
what the requests to one service share: the pool, the queue for room. `policies` says what is
tried again and what is hedged, `budget` how often and after how long.
"""

from __future__ import annotations

from trimtab.calls.budget import Backoff, LatencyQuantile, RetryBudget
from trimtab.calls.policies import FAILURES, IDEMPOTENT, Failure, HedgePolicy, RetryPolicy
from trimtab.calls.request import ANSWER, Answer, Ask, Fail, Request, Step, Wait
from trimtab.calls.shared import Calls

__all__ = [
    "ANSWER",
    "FAILURES",
    "IDEMPOTENT",
    "Answer",
    "Ask",
    "Backoff",
    "Calls",
    "Fail",
    "Failure",
    "HedgePolicy",
    "LatencyQuantile",
    "Request",
    "RetryBudget",
    "RetryPolicy",
    "Step",
    "Wait",
]
