"""`least_latency`, the default: the one of two that should answer sooner."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trimtab.strategies.two_choices import TwoChoices

if TYPE_CHECKING:
    from trimtab.member import Member

__all__ = ["LeastLatency"]


class LeastLatency(TwoChoices):
    """Compare peak EWMA latency times the queue, failures included: see `trimtab.member`.

    Source: Finagle `PeakEwma`, tower `load/peak_ewma.rs`.
    """

    margin = 0.75

    def cost(self, member: Member, now: float) -> float:
        """Return latency times queue, in seconds."""
        return member.cost(now)
