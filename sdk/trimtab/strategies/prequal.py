"""Prequal's decisions: which probes to keep, and whom they speak for.

No strategy by itself: it needs instances that answer probes with their requests in flight and
their recent latency, and someone to send them, beside the requests and not before them.

Source: Wydrowski, Kleinberg, Rumble, Archer, "Load is not what you should balance: Introducing
Prequal", NSDI 2024. Deviations: a newer probe of an instance replaces its older one; and where
the formula of reuse has no answer (few instances, so the pool holds most of them), only age ends
a probe.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from math import ceil, inf
from typing import TYPE_CHECKING

from trimtab.strategies.settings import require

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence
    from random import Random

__all__ = ["Prequal", "Probe", "ProbePool", "reuse_budget"]

_REMEMBERED = 128
"""Of so many answers the distribution of requests in flight is estimated."""
_FEWEST = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Prequal:
    """How probes are sent, kept and used.

    Attributes:
        pool_size: probes kept at most.
        probes_per_query: sent for each request; 0.5 sends one for every other.
        removals_per_query: taken out for each request, the oldest and the worst in turn.
        max_age_s: how long a probe speaks.
        hot_quantile: an instance is hot when it has more in flight than this share of the
            others; 0 makes everyone hot, so that requests in flight decide alone, and 1 nobody,
            so that latency does.
        delta: how much faster the pool would fill than it empties.

    Raises:
        ConfigurationError: a value is out of its range.
    """

    pool_size: int = 16
    probes_per_query: float = 3.0
    removals_per_query: float = 1.0
    max_age_s: float = 1.0
    hot_quantile: float = 2**-0.25
    delta: float = 1.0

    def __post_init__(self) -> None:
        require("prequal: pool_size", self.pool_size, "2 or more", lambda size: size >= _FEWEST)
        for name in ("probes_per_query", "removals_per_query", "max_age_s", "delta"):
            require(f"prequal: {name}", getattr(self, name), "0 or more", lambda value: value >= 0)
        require("prequal: hot_quantile", self.hot_quantile, "0 to 1", lambda q: 0 <= q <= 1)


def reuse_budget(instances: int, settings: Prequal) -> float:
    """Return how often a probe may be used: `max(1, (1+d) / ((1 - m/n) * r_probe - r_remove))`.

    Infinite when that many probes would not be needed.
    """
    fresh = (1 - settings.pool_size / instances) * settings.probes_per_query
    spare = fresh - settings.removals_per_query
    return max(1.0, (1 + settings.delta) / spare) if spare > 0 else inf


@dataclass(slots=True, eq=False)
class Probe:
    """An instance's answer: what it has in flight, and its latency at that load."""

    id: str
    in_flight: int
    latency_s: float
    at: float
    uses_left: float


class ProbePool:
    """The probes that one client holds, and its choices from them. O(pool size), a constant.

    Args:
        rng: rounds what is not whole, and draws whom to probe.
        settings: see there.
    """

    def __init__(self, rng: Random, settings: Prequal | None = None) -> None:
        self._rng = rng
        self.settings = settings or Prequal()
        self._probes: list[Probe] = []  # the oldest first
        self._in_flight: deque[int] = deque(maxlen=_REMEMBERED)
        self._removes_worst = False

    def __len__(self) -> int:
        return len(self._probes)

    @property
    def hot_above(self) -> float:
        """How many requests in flight an instance may have without being hot."""
        quantile = self.settings.hot_quantile
        if quantile in {0, 1} or not self._in_flight:
            return inf if quantile else -1
        rank = ceil(quantile * len(self._in_flight))
        return sorted(self._in_flight)[rank - 1]

    def targets(self, ids: Sequence[str]) -> list[str]:
        """Return whom to probe for one request, drawn without repetition."""
        wanted = min(self._whole(self.settings.probes_per_query), len(ids))
        return self._rng.sample(ids, wanted)

    def add(
        self, id_: str, now: float, *, in_flight: int, latency_s: float, instances: int
    ) -> None:
        """Take an answer, one of `instances` that could be asked."""
        self._in_flight.append(in_flight)
        self._probes = [probe for probe in self._probes if probe.id != id_]
        budget = reuse_budget(instances, self.settings)
        uses = budget if budget == inf else self._whole(budget)
        self._probes.append(Probe(id_, in_flight, latency_s, now, uses))
        del self._probes[: -self.settings.pool_size]

    def choose(self, now: float, exclude: Collection[str] = ()) -> str | None:
        """Return the id of the best instance, or None with fewer than two probes: draw one then.

        Of the cold ones the fastest; if all are hot, the one with the fewest requests in flight.
        What it is chosen for counts as in flight on it.
        """
        self._forget(now)
        candidates = [probe for probe in self._probes if probe.id not in exclude]
        if len(candidates) < _FEWEST:
            return None
        best = min(candidates, key=self._ranking())
        best.in_flight += 1
        best.uses_left -= 1
        if best.uses_left <= 0:
            self._probes.remove(best)
        for _ in range(self._whole(self.settings.removals_per_query)):
            self._remove_one()
        return best.id

    def _ranking(self) -> Callable[[Probe], tuple[bool, float]]:
        threshold = self.hot_above

        def rank(probe: Probe) -> tuple[bool, float]:
            is_hot = probe.in_flight > threshold
            return is_hot, probe.in_flight if is_hot else probe.latency_s

        return rank

    def _remove_one(self) -> None:
        if self._probes:
            worst = max(self._probes, key=self._ranking())
            self._probes.remove(worst if self._removes_worst else self._probes[0])
            self._removes_worst = not self._removes_worst

    def _forget(self, now: float) -> None:
        oldest = now - self.settings.max_age_s
        self._probes = [probe for probe in self._probes if probe.at >= oldest]

    def _whole(self, number: float) -> int:
        """Round at random, so that the mean is exact."""
        whole = int(number)
        return whole + (self._rng.random() < number - whole)
