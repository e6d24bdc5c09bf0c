"""Slow start: newcomers, and those that return, get their share gradually."""

from __future__ import annotations

from dataclasses import dataclass

from trimtab.errors import ConfigurationError

__all__ = ["SlowStart"]

_STEPS = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class SlowStart:
    """Grows an instance's weight from `min_ratio` to the whole within a window.

    `weight * max(min_ratio, (max(t, 1) / window)^(1 / aggression))`, t seconds after it came. It
    works through the weights, so strategies that know none (`random`, `round_robin`) ignore it.
    The instances of the very first list are taken for established: a client that starts says
    nothing about the age of its servers.

    Attributes:
        window_s: how long it takes, above 0.
        aggression: above 1 is faster at first, above 0.
        min_ratio: the least share, from 0 to 1.

    Raises:
        ConfigurationError: a value is out of range.

    Source: Envoy's slow start mode.
    """

    window_s: float = 60.0
    aggression: float = 1.0
    min_ratio: float = 0.1

    def __post_init__(self) -> None:
        for name in ("window_s", "aggression"):
            if not getattr(self, name) > 0:
                raise ConfigurationError(f"{name} is {getattr(self, name)!r}; it must be above 0")
        if not 0 <= self.min_ratio <= 1:
            raise ConfigurationError(f"min_ratio is {self.min_ratio!r}; it must be from 0 to 1")

    def factor(self, age_s: float) -> float:
        """Return what its weight is multiplied by, `age_s` after an instance came."""
        if age_s >= self.window_s:
            return 1.0
        grown: float = (max(age_s, 1.0) / self.window_s) ** (1.0 / self.aggression)
        return min(max(self.min_ratio, grown), 1.0)

    @property
    def step_s(self) -> float:
        """How often weights are worked out anew while somebody is starting."""
        return self.window_s / _STEPS
