"""The table of built-in strategies: each name with its class."""

from __future__ import annotations

from dataclasses import is_dataclass
from typing import TYPE_CHECKING, Any, cast

from trimtab.strategies.client_side_weighted_round_robin import ClientSideWeightedRoundRobin
from trimtab.strategies.drawing import RandomChoice, WeightedRandom
from trimtab.strategies.least_load import LeastLoad
from trimtab.strategies.maglev import Maglev
from trimtab.strategies.ring_hash import RingHash
from trimtab.strategies.round_robin import RoundRobin, WeightedRoundRobin
from trimtab.strategies.settings import add_names
from trimtab.strategies.two_choices import LeastLatency, LeastRequest
from trimtab.strategies.weighted_least_request import LeastRequestFullScan, WeightedLeastRequest
from trimtab.strategies.zone_aware import ZoneAware

if TYPE_CHECKING:
    from trimtab.strategies.protocol import StrategyFactory

__all__ = ["BUILT_IN", "STRATEGIES"]

BUILT_IN: dict[str, Any] = {
    "client_side_weighted_round_robin": ClientSideWeightedRoundRobin,
    "least_latency": LeastLatency,
    "least_load": LeastLoad,
    "least_request": LeastRequest,
    "least_request_full_scan": LeastRequestFullScan,
    "maglev": Maglev,
    "random": RandomChoice,
    "ring_hash": RingHash,
    "round_robin": RoundRobin,
    "weighted_least_request": WeightedLeastRequest,
    "weighted_random": WeightedRandom,
    "weighted_round_robin": WeightedRoundRobin,
    "zone_aware": ZoneAware,
}
"""All names. A dataclass holds settings, which may follow the name in brackets."""

STRATEGIES: dict[str, StrategyFactory] = {
    name: cast("Any", kind)() if is_dataclass(kind) else kind
    for name, kind in BUILT_IN.items()
    if kind is not ZoneAware  # which needs the name of a zone
}
"""The strategies that a name alone makes, with their factories."""

add_names(BUILT_IN)
