"""What the views of the demo say alike."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trimtab.cli.demo.backend import SLOWDOWN

if TYPE_CHECKING:
    from trimtab.cli.demo.record import Event

__all__ = ["PHASES", "effect", "took", "what"]

PHASES = {
    "before": "all well",
    "killed": "one killed",
    "slowed": "one slow",
    "added": "one added",
}
"""What each phase of the run is called."""

_EXACT_BELOW_S = 0.0995
_DONE = {
    "killed": "killed",
    "slowed": f"slowed {SLOWDOWN}-fold",
    "added": "added",
}
_EFFECTS = {
    "killed": "until the last attempt on it, each tried again elsewhere",
    "slowed": "until its share stayed under half of fair",
    "added": "until it had its share",
}


def what(event: Event) -> str:
    """Say what was done to whom."""
    return f"{event.instance_id} {_DONE[event.kind]}"


def effect(event: Event) -> str:
    """Say what the seconds after an event mean."""
    return _EFFECTS[event.kind]


def took(seconds: float | None) -> str:
    """Say how long it took, as exactly as it is known."""
    if seconds is None:
        return "not yet"
    return f"{seconds * 1000:.0f} ms" if seconds < _EXACT_BELOW_S else f"{seconds:.1f} s"
