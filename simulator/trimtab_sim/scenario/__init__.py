"""Scenario files: their tables, read and checked; a mistake is reported with its line.

`Scenario.load("black_hole.toml")` returns a frozen value (`document`). `content`, `arrivals` and
`actions` are the tables of a file; `trimtab_sim.laws` are the laws of durations. `checks` finds
tables that do not fit together, `sdk` with `kinds` checks the SDK's settings, `complaints` words
the mistakes.
"""

from __future__ import annotations

from trimtab_sim.scenario.document import Scenario

__all__ = ["Scenario"]
