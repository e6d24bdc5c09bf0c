"""From a strategy's name to its factory."""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import TYPE_CHECKING, cast

from trimtab.errors import ConfigurationError
from trimtab.strategies.least_latency import LeastLatency
from trimtab.strategies.least_request import LeastRequest
from trimtab.strategies.random import RandomChoice
from trimtab.strategies.round_robin import RoundRobin
from trimtab.strategies.weighted_random import WeightedRandom
from trimtab.strategies.weighted_round_robin import WeightedRoundRobin

if TYPE_CHECKING:
    from trimtab.strategies.protocol import StrategyFactory

__all__ = ["STRATEGIES", "resolve"]

STRATEGIES: dict[str, StrategyFactory] = {
    "least_latency": LeastLatency,
    "least_request": LeastRequest,
    "random": RandomChoice,
    "round_robin": RoundRobin,
    "weighted_random": WeightedRandom,
    "weighted_round_robin": WeightedRoundRobin,
}
"""The built-in strategies by name."""

_GROUP = "trimtab.strategies"


def resolve(strategy: str | StrategyFactory) -> StrategyFactory:
    """Return the factory of a strategy: a built-in name, an entry point's name, or a factory.

    Raises:
        ConfigurationError: no strategy has this name.
    """
    if not isinstance(strategy, str):
        if not callable(strategy):
            raise ConfigurationError(
                f"strategy {strategy!r} is neither a name nor a factory (rng) -> Strategy"
            )
        return strategy
    if strategy in STRATEGIES:
        return STRATEGIES[strategy]
    for entry in entry_points(group=_GROUP, name=strategy):
        return cast("StrategyFactory", entry.load())
    raise ConfigurationError(
        f"no strategy is called {strategy!r}; known are {', '.join(sorted(STRATEGIES))} "
        f"and those of entry points in the group {_GROUP!r}"
    )
