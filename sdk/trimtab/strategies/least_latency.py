"""`least_latency`, the default: the one of two that should answer sooner."""

from __future__ import annotations

from trimtab.member import Member
from trimtab.strategies.two_choices import TwoChoices

__all__ = ["LeastLatency"]


class LeastLatency(TwoChoices):
    """Compare peak EWMA latency times the queue, failures included: see `trimtab.member`.

    Source: Finagle `PeakEwma`, tower `load/peak_ewma.rs`.
    """

    margin = 0.75

    # Not a method that calls a method: it is asked twice for every request.
    cost = staticmethod(Member.cost)  # type: ignore[assignment] # the same, bound to nothing
