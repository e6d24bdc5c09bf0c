"""Strategies: rules that choose one of the eligible members for a request.

`protocol` says what a strategy is and how to add one; `table` lists the built-in names; `settings`
turns a name or a text such as `zone_aware(eu-1, inside=ring_hash(points=160))` into a factory.
One module per strategy or family: `two_choices` (`least_latency`, `least_request`), `round_robin`,
`drawing` (`random`, `weighted_random`), `ring_hash` and `maglev` (both over `consistent_hash`),
`least_load`, `zone_aware` and others. `groups` has what zones and priority tiers share, `tiers` the
latter: they are drawn before any strategy.
"""

from __future__ import annotations

from trimtab.strategies.client_side_weighted_round_robin import ClientSideWeightedRoundRobin
from trimtab.strategies.least_load import LeastLoad
from trimtab.strategies.load_report import (
    ASK_HEADER,
    LOAD_PATH,
    REPORT_HEADER,
    LoadReport,
    read_load_report,
)
from trimtab.strategies.maglev import Maglev
from trimtab.strategies.protocol import (
    CountsInFlight,
    KnowsAll,
    Strategy,
    StrategyFactory,
    TakesReports,
)
from trimtab.strategies.ring_hash import RingHash
from trimtab.strategies.settings import resolve
from trimtab.strategies.table import STRATEGIES
from trimtab.strategies.tiers import PrioritySettings
from trimtab.strategies.weighted_least_request import WeightedLeastRequest
from trimtab.strategies.zone_aware import ZoneAware

__all__ = [
    "ASK_HEADER",
    "LOAD_PATH",
    "REPORT_HEADER",
    "STRATEGIES",
    "ClientSideWeightedRoundRobin",
    "CountsInFlight",
    "KnowsAll",
    "LeastLoad",
    "LoadReport",
    "Maglev",
    "PrioritySettings",
    "RingHash",
    "Strategy",
    "StrategyFactory",
    "TakesReports",
    "WeightedLeastRequest",
    "ZoneAware",
    "read_load_report",
    "resolve",
]
