"""The pool: one client's live view of one service.

`pool` takes lists and picks; `pick` is a request in flight; `concurrency` says what a request
counts in flight, and bounds that per instance; `reports` holds statistics, events and errors. No
I/O, no clock, no global randomness: the caller passes `now` and the random generator.
"""

from __future__ import annotations

from trimtab.member import Outcome, Pick
from trimtab.pool.concurrency import ConcurrencyLimits, units_of
from trimtab.pool.pool import Pool, Subset
from trimtab.pool.reports import MemberStatistics, PoolStatistics, together

__all__ = [
    "ConcurrencyLimits",
    "MemberStatistics",
    "Outcome",
    "Pick",
    "Pool",
    "PoolStatistics",
    "Subset",
    "together",
    "units_of",
]
