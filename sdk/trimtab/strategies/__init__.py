"""Selection rules, one per file, over the members that may be picked.

A strategy is told the eligible members whenever they change (`update`), and asked for one per
request (`choose`). It never sees ineligible ones, knows no clock and no I/O, and draws chance
only from the generator it was made with. To add one, write a class with these two methods, and
name a factory `(rng) -> Strategy` in an entry point of the group `trimtab.strategies`, or give
the factory itself wherever a strategy's name is taken.

Some take settings: `RingHash(load_factor=1.25)`, or as text `ring_hash(load_factor=1.25)`.
"""

from __future__ import annotations

from trimtab.strategies.maglev import Maglev
from trimtab.strategies.protocol import Strategy, StrategyFactory
from trimtab.strategies.registry import STRATEGIES, resolve
from trimtab.strategies.ring_hash import RingHash

__all__ = ["STRATEGIES", "Maglev", "RingHash", "Strategy", "StrategyFactory", "resolve"]
