"""For tests of programs that use Trimtab: a clock and registries that do as they are told."""

from __future__ import annotations

from trimtab.testing.clock import ManualClock
from trimtab.testing.registries import FakePolledRegistry, FakeRegistry

__all__ = ["FakePolledRegistry", "FakeRegistry", "ManualClock"]
