"""A service's live view at one client: members, strategy and health; pick, learn, update.

No I/O, no clock, no threads, no chance of its own: callers give `now` and a generator.
"""

from __future__ import annotations

from trimtab.pool.pick import Outcome, Pick
from trimtab.pool.pool import Pool
from trimtab.pool.statistics import MemberStatistics, PoolStatistics

__all__ = ["MemberStatistics", "Outcome", "Pick", "Pool", "PoolStatistics"]
