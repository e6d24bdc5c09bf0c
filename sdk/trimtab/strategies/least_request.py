"""`least_request`: the one of two with fewer requests in flight."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trimtab.strategies.two_choices import TwoChoices

if TYPE_CHECKING:
    from trimtab.member import Member

__all__ = ["LeastRequest"]


class LeastRequest(TwoChoices):
    """Compare requests in flight, per weight.

    Source: Envoy's least request balancer. Deviation: Envoy turns to a weighted schedule when
    weights differ; here the pair is drawn by weight and compared by `in_flight / weight`.
    """

    def cost(self, member: Member, now: float) -> float:  # noqa: ARG002 - the rule is timeless
        """Return the requests in flight per weight."""
        return member.in_flight / member.weight
