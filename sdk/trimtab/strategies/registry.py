"""From a strategy's name to its factory."""

from __future__ import annotations

from dataclasses import is_dataclass
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, cast

from trimtab.errors import ConfigurationError
from trimtab.strategies.client_side_weighted_round_robin import ClientSideWeightedRoundRobin
from trimtab.strategies.least_latency import LeastLatency
from trimtab.strategies.least_request import LeastRequest
from trimtab.strategies.least_request_full_scan import LeastRequestFullScan
from trimtab.strategies.maglev import Maglev
from trimtab.strategies.random import RandomChoice
from trimtab.strategies.ring_hash import RingHash
from trimtab.strategies.round_robin import RoundRobin
from trimtab.strategies.settings import configured, read
from trimtab.strategies.weighted_least_request import WeightedLeastRequest
from trimtab.strategies.weighted_random import WeightedRandom
from trimtab.strategies.weighted_round_robin import WeightedRoundRobin
from trimtab.strategies.zone_aware import ZoneAware

if TYPE_CHECKING:
    from trimtab.strategies.protocol import StrategyFactory

__all__ = ["STRATEGIES", "resolve"]

STRATEGIES: dict[str, StrategyFactory] = {
    "client_side_weighted_round_robin": ClientSideWeightedRoundRobin(),
    "least_latency": LeastLatency,
    "least_request": LeastRequest,
    "least_request_full_scan": LeastRequestFullScan,
    "maglev": Maglev(),
    "random": RandomChoice,
    "ring_hash": RingHash(),
    "round_robin": RoundRobin,
    "weighted_least_request": WeightedLeastRequest(),
    "weighted_random": WeightedRandom,
    "weighted_round_robin": WeightedRoundRobin,
}
"""The built-in strategies that a name alone makes."""

_SETTINGS: dict[str, Any] = {
    "client_side_weighted_round_robin": ClientSideWeightedRoundRobin,
    "maglev": Maglev,
    "ring_hash": RingHash,
    "weighted_least_request": WeightedLeastRequest,
    "zone_aware": ZoneAware,
}
"""Those that take settings, in brackets after the name."""

_GROUP = "trimtab.strategies"


def resolve(strategy: str | StrategyFactory) -> StrategyFactory:
    """Return the factory of a strategy.

    Args:
        strategy: a built-in name, an entry point's name, either with settings in brackets
            (`ring_hash(load_factor=1.25)`), or a factory.

    Raises:
        ConfigurationError: no strategy has this name, or a setting is wrong.
    """
    if not isinstance(strategy, str):
        if not callable(strategy):
            raise ConfigurationError(
                f"strategy {strategy!r} is neither a name nor a factory (rng) -> Strategy"
            )
        return strategy
    name, parts = read(strategy)
    if parts is None and name in STRATEGIES:
        return STRATEGIES[name]
    found = _SETTINGS.get(name) or STRATEGIES.get(name) or _from_entry_point(name)
    if isinstance(found, type) and is_dataclass(found):
        return configured(strategy, cast("Any", found), parts or ())
    if parts:
        raise ConfigurationError(f"strategy {strategy!r}: {name} takes no settings; leave them out")
    return cast("StrategyFactory", found)


def _from_entry_point(name: str) -> Any:
    for entry in entry_points(group=_GROUP, name=name):
        return entry.load()
    raise ConfigurationError(
        f"no strategy is called {name!r}; known are "
        f"{', '.join(sorted({*STRATEGIES, *_SETTINGS}))} and those of entry points in the group "
        f"{_GROUP!r}"
    )
