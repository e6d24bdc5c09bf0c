"""When the next request comes: from what a scenario says to moments."""

from __future__ import annotations

from math import log
from typing import TYPE_CHECKING

from trimtab_sim.scenario.arrivals import Bursty, Closed, Diurnal, Poisson, Steady, Trace
from trimtab_sim.world.overlays import Overlaid

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from trimtab_sim.scenario.arrivals import Arrivals

__all__ = ["Source", "source"]

_INFINITY = float("inf")


class Source(Overlaid):
    """Moments of an open loop, one after the other.

    Attributes:
        factor: how many times as many requests as the scenario's clients send; changes count
            from the next request on.
    """

    def __init__(self, draw: Callable[[float, float], float]) -> None:
        self._draw = draw
        self.factor = 1.0

    def after(self, now: float) -> float:
        """Return the moment of the next request; infinity when there is none."""
        return self._draw(now, self.factor)


def source(arrivals: Arrivals, rng: Random, start: float) -> Source:
    """Make the moments of one client. A closed loop has none: answers decide."""
    match arrivals:
        case Poisson():
            return Source(_poisson(arrivals.rate, rng))
        case Steady():
            return Source(_steady(arrivals.rate, rng, start))
        case Bursty():
            return Source(_bursty(arrivals, rng, start))
        case Diurnal():
            return Source(_diurnal(arrivals, rng))
        case Trace():
            return Source(_trace(arrivals, start))
        case Closed():
            return Source(lambda _now, _factor: _INFINITY)


def _poisson(rate: float, rng: Random) -> Callable[[float, float], float]:
    random = rng.random
    return lambda now, factor: now - log(1.0 - random()) / (rate * factor)


def _steady(rate: float, rng: Random, start: float) -> Callable[[float, float], float]:
    # Clients that start together must not send together: a phase for each.
    first = start + rng.random() / rate
    return lambda now, factor: first if now < first else now + 1.0 / (rate * factor)


def _bursty(law: Bursty, rng: Random, start: float) -> Callable[[float, float], float]:
    bursting = False
    until = start - log(1.0 - rng.random()) * law.calm

    def after(now: float, factor: float) -> float:
        nonlocal bursting, until
        while True:
            rate = (law.burst_rate if bursting else law.rate) * factor
            moment = now - log(1.0 - rng.random()) / rate
            if moment < until:
                return moment
            # Without memory, drawing anew from the change of phase on is exact.
            now, bursting = until, not bursting
            until = now - log(1.0 - rng.random()) * (law.burst if bursting else law.calm)

    return after


def _diurnal(law: Diurnal, rng: Random) -> Callable[[float, float], float]:
    most = law.rate * (1.0 + law.swing)

    def after(now: float, factor: float) -> float:
        # Thinning (Lewis, Shedler 1979): at the highest rate, some of them not taken.
        while True:
            now -= log(1.0 - rng.random()) / (most * factor)
            if rng.random() * most < law.rate_at(now):
                return now

    return after


def _trace(law: Trace, start: float) -> Callable[[float, float], float]:
    moments = iter(law.times)
    return lambda _now, _factor: start + next(moments, _INFINITY)
