"""Prequal's decisions: which probe results to keep, and which instance to choose by them.

Not a strategy by itself. It needs instances that answer probes with their requests in flight and
their recent latency, and a sender of these probes in parallel with the requests.

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
"""The number of answers that estimate the distribution of requests in flight."""
_FEWEST = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Prequal:
    """How probes are sent, kept and used.

    Attributes:
        pool_size: the greatest number of probes kept.
        probes_per_query: probes sent per request; 0.5 sends one for every second request.
        removals_per_query: probes removed per request, the oldest and the worst in turn.
        max_age_s: how long a probe counts, in seconds.
        hot_quantile: an instance is hot when it has more in flight than this share of the
            others. With 0 all are hot, so only requests in flight count; with 1 none is, so only
            latency counts.
        delta: how much faster the pool fills than it empties.

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

    Infinite when the formula has no positive value.
    """
    fresh = (1 - settings.pool_size / instances) * settings.probes_per_query
    spare = fresh - settings.removals_per_query
    return max(1.0, (1 + settings.delta) / spare) if spare > 0 else inf


@dataclass(slots=True, eq=False)
class Probe:
    """An instance's answer: its requests in flight, and its latency at that load."""

    id: str
    in_flight: int
    latency_s: float
    at: float
    uses_left: float


class ProbePool:
    """The probes that one client holds, and its choices from them. O(pool size), a constant.

    Args:
        rng: rounds fractions, and draws the instances to probe.
        settings: see `Prequal`.
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
        """The number of requests in flight above which an instance is hot."""
        quantile = self.settings.hot_quantile
        if quantile in {0, 1} or not self._in_flight:
            return inf if quantile else -1
        rank = ceil(quantile * len(self._in_flight))
        return sorted(self._in_flight)[rank - 1]

    def targets(self, ids: Sequence[str]) -> list[str]:
        """Return the instances to probe for one request, drawn without repetition."""
        wanted = min(self._whole(self.settings.probes_per_query), len(ids))
        return self._rng.sample(ids, wanted)

    def add(
        self, id_: str, now: float, *, in_flight: int, latency_s: float, instances: int
    ) -> None:
        """Take an answer of one of `instances` instances."""
        self._in_flight.append(in_flight)
        self._probes = [probe for probe in self._probes if probe.id != id_]
        budget = reuse_budget(instances, self.settings)
        uses = budget if budget == inf else self._whole(budget)
        self._probes.append(Probe(id_, in_flight, latency_s, now, uses))
        del self._probes[: -self.settings.pool_size]

    def choose(self, now: float, exclude: Collection[str] = ()) -> str | None:
        """Return the id of the best instance, or None with fewer than two probes.

        It is the fastest of the cold ones, or the one with the fewest requests in flight if all
        are hot. The request it is chosen for counts as in flight. After None, draw an instance.
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
