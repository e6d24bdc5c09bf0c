"""How much an instance can take, by its own word: gRPC A58."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trimtab.strategies.load_report import LoadReport

__all__ = ["ReportedWeight", "weight_of"]


def weight_of(report: LoadReport, penalty: float) -> float:
    """Return `qps / (utilization + eps / qps * penalty)`, or 0 if the report says too little.

    It is the rate that the instance would serve when fully used; errors count as if they used it.
    """
    if report.qps <= 0:
        return 0.0
    used = report.utilization
    if used > 0:
        used += report.eps / report.qps * penalty
    return report.qps / used if used else 0.0


class ReportedWeight:
    """One instance's latest weight, and whether it may be believed.

    A weight counts only after reports have come for the blackout time (a newcomer's first
    figures are not typical), and no longer than the expiration time after the last one; then the
    blackout begins again.
    """

    __slots__ = ("_known_since", "_updated_at", "_weight")

    def __init__(self) -> None:
        self._weight = 0.0
        self._known_since = inf
        self._updated_at = -inf

    def update(self, weight: float, now: float) -> None:
        """Take a newly reported weight; 0 is no news."""
        if not weight:
            return
        self._known_since = min(self._known_since, now)
        self._weight, self._updated_at = weight, now

    def usable(self, now: float, *, blackout_s: float, expiration_s: float) -> float:
        """Return the weight, or 0 while it may not be used."""
        if now - self._updated_at >= expiration_s:
            self._known_since = inf
            return 0.0
        return 0.0 if now - self._known_since < blackout_s else self._weight
