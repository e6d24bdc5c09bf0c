"""Selection rules, one per file, over the members that may be picked.

A strategy is told the eligible members whenever they change (`update`), and asked for one per
request (`choose`). It never sees ineligible ones, knows no clock and no I/O, and draws chance
only from the generator it was made with. To add one, write a class with these two methods, and
name a factory `(rng) -> Strategy` in an entry point of the group `trimtab.strategies`, or give
the factory itself wherever a strategy's name is taken.
"""

from __future__ import annotations

from trimtab.strategies.protocol import Strategy, StrategyFactory
from trimtab.strategies.registry import STRATEGIES, resolve

__all__ = ["STRATEGIES", "Strategy", "StrategyFactory", "resolve"]
