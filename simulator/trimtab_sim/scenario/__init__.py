"""Scenario files: what they may say, read and checked, with the line at fault named.

`Scenario.load("black_hole.toml")` gives a frozen value; `content`, `arrivals` and `actions` are
the tables that a file is made of, `trimtab_sim.laws` the laws of durations.
"""

from __future__ import annotations

from trimtab_sim.scenario.document import Scenario

__all__ = ["Scenario"]
