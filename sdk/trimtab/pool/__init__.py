"""A service's live view: members, strategy and health; pick, then done.

No I/O, no clock, no global randomness: `now` and the source of chance are given.
"""

from __future__ import annotations

from trimtab.pool.limits import ConcurrencyLimits
from trimtab.pool.pick import Outcome, Pick
from trimtab.pool.pool import OVERLOADED, Pool
from trimtab.pool.statistics import MemberStatistics, PoolStatistics
from trimtab.pool.subsets import Subset

__all__ = [
    "OVERLOADED",
    "ConcurrencyLimits",
    "MemberStatistics",
    "Outcome",
    "Pick",
    "Pool",
    "PoolStatistics",
    "Subset",
]
