"""For tests of programs that use Trimtab, and of registries and strategies of your own.

`fakes` has a manual clock and registries in memory. A registry of your own inherits the tests in
`registry_contract`, with a `registry_harness`; a strategy of your own those in `strategies`.
"""

from __future__ import annotations

from trimtab.testing.fakes import FakePolledRegistry, FakeRegistry, ManualClock
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
