"""Hedging: when an answer is late, ask a second instance, and take whichever comes first.

Source: J. Dean and L. A. Barroso, "The Tail at Scale", 2013; Finagle `BackupRequestFilter`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from trimtab.errors import ConfigurationError
from trimtab.retry.attempts import IDEMPOTENT

if TYPE_CHECKING:
    from collections.abc import Collection

__all__ = ["HedgePolicy"]


@dataclass(frozen=True, slots=True, kw_only=True)
class HedgePolicy:
    """When a second attempt is sent beside the first.

    It takes from the retry budget, so a slow fleet is not asked twice as much. The loser is
    cancelled: nothing is left in flight.

    Attributes:
        quantile: hedge what takes longer than this share of the service's recent requests,
            between 0 and 1; at most the rest is asked twice.
        after_s: hedge after a fixed time instead; needed where the latencies are known, and used
            until enough of them have been seen.
        min_s: never hedge earlier.
        min_samples: how many latencies make a quantile.
        methods: the methods that may be sent twice, upper case.

    Raises:
        ConfigurationError: a value is out of range.
    """

    quantile: float | None = 0.95
    after_s: float | None = None
    min_s: float = 0.001
    min_samples: int = 100
    methods: Collection[str] = IDEMPOTENT

    def __post_init__(self) -> None:
        if self.quantile is None and self.after_s is None:
            raise ConfigurationError("hedging needs a quantile or after_s")
        if self.quantile is not None and not 0 < self.quantile < 1:
            raise ConfigurationError(
                f"quantile is {self.quantile!r}; it must be between 0 and 1, such as 0.95"
            )
        for name in ("after_s", "min_s"):
            value = getattr(self, name)
            if value is not None and not value >= 0:
                raise ConfigurationError(f"{name} is {value!r}; it must be 0 or more")
        if self.min_samples < 1:
            raise ConfigurationError(f"min_samples is {self.min_samples!r}; it must be 1 or more")

    def delay_s(self, observed_s: float | None) -> float | None:
        """Return when to hedge, in seconds from the first attempt; None: not yet at all.

        Args:
            observed_s: the quantile of recent latencies, if there is one.
        """
        delay_s = self.after_s if observed_s is None or self.quantile is None else observed_s
        return None if delay_s is None else max(delay_s, self.min_s)
