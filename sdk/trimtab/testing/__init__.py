"""For tests of programs that use Trimtab: a clock and registries that do as they are told.

Whoever writes a registry or a strategy of their own inherits its tests: see
`trimtab.testing.registry_contract` and `trimtab.testing.strategies`.
"""

from __future__ import annotations

from trimtab.testing.clock import ManualClock
from trimtab.testing.registries import FakePolledRegistry, FakeRegistry
from trimtab.testing.registry_contract import RegistrarContract, RegistryContract
from trimtab.testing.registry_harness import RegistryHarness
from trimtab.testing.strategies import StrategyContract

__all__ = [
    "FakePolledRegistry",
    "FakeRegistry",
    "ManualClock",
    "RegistrarContract",
    "RegistryContract",
    "RegistryHarness",
    "StrategyContract",
]
