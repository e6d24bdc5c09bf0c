"""`ring_hash`: the same instance for the same key, from a ring of hashes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from trimtab.strategies.consistent import ConsistentHash, check_load_factor
from trimtab.strategies.ring import Ring
from trimtab.strategies.settings import in_words, require_whole

if TYPE_CHECKING:
    from random import Random

__all__ = ["RingHash"]

_MAX_SIZE = 8 * 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class RingHash:
    """Choose by the hash of the key; without a key, at random.

    When an instance leaves, its keys move to those that follow it on the ring. By default the
    others then get more points, to fill the ring up again, and take keys from each other: of ten
    instances that lose one, 18 % of the keys move. With `points` nothing moves but the 10 % of
    the one that left, and a change of weight moves no more than its difference.

    The shares are uneven by about 1 / sqrt(points of an instance): 10 % with ten instances on
    1,024 points. `Maglev` is even, and moves under one percent more than it must.

    Source: Envoy's ring hash balancer. Deviations: `points`; and its greatest ring of 8 Mi points
    has to be asked for, as it takes half a minute and 1 GB to build in Python, when two weights
    differ enough.

    Attributes:
        load_factor: an instance that has so many times its share of the requests in flight is
            passed over; above 1. None, as in Envoy: no bound.
        points: of an instance of weight 1, whatever the others have; 160 is usual. None: as many
            as fill the ring up to `min_size`.
        min_size: of the ring in points, 1 or more.
        max_size: where the ring ends, 8 Mi at most. The lightest may then have no point.

    Raises:
        ConfigurationError: a setting is out of its range.
    """

    load_factor: float | None = None
    points: int | None = None
    min_size: int = 1024
    max_size: int = 65_536

    def __post_init__(self) -> None:
        check_load_factor("ring_hash", self.load_factor)
        if self.points is not None:
            require_whole("ring_hash: points", self.points, 1, _MAX_SIZE)
        require_whole("ring_hash: min_size", self.min_size, 1, _MAX_SIZE)
        require_whole("ring_hash: max_size", self.max_size, self.min_size, _MAX_SIZE)

    @property
    def __name__(self) -> str:
        """Return the text form, for people."""
        return in_words("ring_hash", self)

    def __call__(self, rng: Random) -> ConsistentHash:
        """Make the strategy."""
        table = partial(Ring.of, points=self.points, min_size=self.min_size, max_size=self.max_size)
        return ConsistentHash(rng, table, load_factor=self.load_factor)
