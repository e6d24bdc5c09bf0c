"""`zone_aware`: the own zone first, and the others for what it cannot carry."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from trimtab.errors import ConfigurationError
from trimtab.strategies.settings import in_words, require
from trimtab.strategies.zoned import Zoned
from trimtab.strategies.zones import OVERPROVISIONING

if TYPE_CHECKING:
    from random import Random

    from trimtab.strategies.protocol import StrategyFactory

__all__ = ["ZoneAware"]


@dataclass(frozen=True, slots=True)
class ZoneAware:
    """Prefer instances of the own zone; spill over to others when too few of it are eligible.

    Keeping traffic within a zone spares its latency, its price, and the other zones' troubles.
    It is only as even as the zones are: every zone's instances must be able to carry what that
    zone's clients send. See `Zoned` for the rule.

    Attributes:
        zone: the one that this client runs in, as its instances' `zone` has it.
        inside: the strategy within each zone: a name, a text with settings, or a factory.
        overprovisioning_factor: how much of what it needs a zone has; 1 spills at once.

    Raises:
        ConfigurationError: the zone is empty, the factor below 1, or the strategy unknown.
    """

    zone: str
    inside: str | StrategyFactory = "least_latency"
    overprovisioning_factor: float = OVERPROVISIONING

    def __post_init__(self) -> None:
        zone: object = self.zone
        if not (isinstance(zone, str) and zone):
            raise ConfigurationError(
                f"zone_aware: zone is {zone!r}; name the zone that this client runs in"
            )
        require(
            "zone_aware: overprovisioning_factor",
            self.overprovisioning_factor,
            "1 or more",
            lambda factor: factor >= 1,
        )
        _resolve(self.inside)

    @property
    def __name__(self) -> str:
        """Return the text form, for people."""
        return in_words("zone_aware", self)

    def __call__(self, rng: Random) -> Zoned:
        """Make the strategy."""
        return Zoned(
            rng,
            zone=self.zone,
            inside=_resolve(self.inside),
            factor=self.overprovisioning_factor,
        )


def _resolve(inside: str | StrategyFactory) -> StrategyFactory:
    # The registry knows this module.
    from trimtab.strategies.registry import resolve  # noqa: PLC0415

    return resolve(inside)
