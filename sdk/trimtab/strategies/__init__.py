"""Selection rules, one per file, over the members that may be picked.

A strategy is told the eligible members whenever they change (`update`), and asked for one per
request (`choose`). It never sees ineligible ones, knows no clock and no I/O, and draws chance
only from the generator it was made with. To add one, write a class with these two methods, and
name a factory `(rng) -> Strategy` in an entry point of the group `trimtab.strategies`, or give
the factory itself wherever a strategy's name is taken.

Some take settings: `ZoneAware(zone="eu-1", inside=RingHash(points=160))`, or the same as text
`zone_aware(eu-1, inside=ring_hash(points=160))`.
"""

from __future__ import annotations

from trimtab.strategies.client_side_weighted_round_robin import ClientSideWeightedRoundRobin
from trimtab.strategies.load_report import LoadReport, read_load_report
from trimtab.strategies.maglev import Maglev
from trimtab.strategies.protocol import (
    CountsInFlight,
    KnowsAll,
    Strategy,
    StrategyFactory,
    TakesReports,
)
from trimtab.strategies.registry import STRATEGIES, resolve
from trimtab.strategies.ring_hash import RingHash
from trimtab.strategies.weighted_least_request import WeightedLeastRequest
from trimtab.strategies.zone_aware import ZoneAware

__all__ = [
    "STRATEGIES",
    "ClientSideWeightedRoundRobin",
    "CountsInFlight",
    "KnowsAll",
    "LoadReport",
    "Maglev",
    "RingHash",
    "Strategy",
    "StrategyFactory",
    "TakesReports",
    "WeightedLeastRequest",
    "ZoneAware",
    "read_load_report",
    "resolve",
]
