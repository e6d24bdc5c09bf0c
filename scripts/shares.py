"""Draw what the default strategy does, from the simulator, into docs/shares_*.svg.

Run it after a change of the strategy: `python scripts/shares.py`; a test holds the pictures to the
code.
"""

from __future__ import annotations

import sys
from importlib.resources import files
from pathlib import Path

from trimtab_sim import run
from trimtab_sim.report.shares import draw_shares
from trimtab_sim.scenario import Scenario

DOCS = Path(__file__).resolve().parent.parent / "docs"
WORLD = """
[scenario]
duration = {duration}
strategies = ["least_latency", "round_robin"]
[service]
servers = 5
time = {{ law = "exponential", mean = "10ms" }}
concurrency = 8
[[clients]]
arrivals = {{ kind = "poisson", rate = {rate} }}
timeout = "1s"
"""
FAULT = """
[[timeline]]
at = {at}
duration = {lasts}
action = {action}
targets = {{ index = [{index}] }}
"""


def _fault(action: str, index: int, *, at: float, lasts: float) -> str:
    return FAULT.format(action=action, index=index, at=at, lasts=lasts)


WORLDS = {
    "start": WORLD.format(duration=30, rate=300),
    "low_rate": WORLD.format(duration=1200, rate=5)
    + _fault('"refuse"', 1, at=200, lasts=60)
    + _fault('"slow"\nfactor = 20', 3, at=500, lasts=300),
    "faults": WORLD.format(duration=60, rate=500)
    + _fault('"refuse"', 0, at=8, lasts=6)
    + _fault('"hang"', 1, at=20, lasts=6)
    + _fault('"errors"\nstatus = 503', 2, at=32, lasts=6)
    + _fault('"slow"\nfactor = 20', 3, at=44, lasts=6),
}


def path(name: str) -> Path:
    """Return where a picture is kept."""
    return DOCS / f"shares_{name}.svg"


def draw(name: str) -> str:
    """Simulate a world and draw each instance's share over time."""
    result = run(Scenario.from_toml(WORLDS[name]), reps=1, seed=1)
    css = (files("trimtab_sim.report") / "charts.css").read_text(encoding="utf-8")
    return draw_shares(result, css=css) + "\n"


if __name__ == "__main__":
    for name in WORLDS:
        path(name).write_text(draw(name), encoding="utf-8")
        sys.stdout.write(f"docs/{path(name).name}\n")
