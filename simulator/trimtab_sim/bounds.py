"""How long a change may take to reach every client, as a scenario's settings imply.

| change | bound |
|---|---|
| `add`, `remove` | propagation + read |
| `death` | TTL + sweep + propagation + read |

`read` is one poll, `p * (1 + jitter) + rtt`, or one round trip where the registry pushes. To it
comes what the settings allow to come between: the grace of a list cut to less than half, and,
after the registry was away, unreachable, stale or wrong, a backoff (and a heartbeat after it had
forgotten everything), all counted from the moment that it was well again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from trimtab_sim.scenario import actions as a

if TYPE_CHECKING:
    from trimtab_sim.laws import Law
    from trimtab_sim.scenario import Scenario

__all__ = ["Bounds"]

_NEVER_LATER = 1.0 - 1e-9
"""A latency law without an upper end is taken at this quantile."""
_ROUND = 1e-6
_TROUBLES = (a.Partition, a.RegistryOutage, a.RegistryStale, a.RegistryWrong, a.RegistryRestartEmpty)


class Bounds:
    """The bounds of one scenario. Call it with a change's kind and moment."""

    def __init__(self, scenario: Scenario) -> None:
        registry, settings = scenario.registry, scenario.discovery_settings
        one_way = max(
            _longest(law)
            for law in (scenario.network.latency, *(path.latency for path in scenario.network.paths))
        )
        self.rtt_s = 2 * one_way + _longest(registry.latency)
        self.is_polled = registry.mode == "poll"
        poll_s = settings.poll_interval_s * (1 + settings.jitter_ratio) if self.is_polled else 0.0
        self.read_s = poll_s + self.rtt_s
        self.spread_s = _longest(registry.propagation) + self.read_s
        self.death_s = registry.ttl + registry.sweep + self.spread_s
        # A doubted list waits for its grace, and is then read afresh.
        self.doubt_s = settings.grace_s + self.read_s
        # Waits grow to their maximum while the registry is away; then one attempt may time out.
        self.recovery_s = settings.backoff_max_s + settings.fetch_timeout_s + self.read_s
        self.heartbeat_s = registry.heartbeat + 5.0
        self._doubtful = _halving(scenario)
        self._troubles = _troubles(scenario)

    def __call__(self, kind: str, at: float) -> float:
        """Return the bound of a change in seconds.

        Args:
            kind: "add", "remove" or "death".
            at: when it happens.
        """
        bound = self.death_s if kind == "death" else self.spread_s
        if kind != "add" and self._doubtful:
            bound += self.doubt_s
        for start, end, extra in self._troubles:
            # Trouble that was over before, or begins only after all is settled, adds nothing.
            if start <= at + bound and at <= end + self.recovery_s + extra:
                bound = max(bound, end - at) + self.recovery_s + extra + self.doubt_s
                bound += self.death_s - self.spread_s if kind == "death" else 0.0
        return bound + _ROUND

    def rows(self) -> list[tuple[str, float]]:
        """Return the bounds in calm times, for reports: what, and seconds."""
        return [
            ("add or remove", self.spread_s),
            ("death", self.death_s),
            ("a list cut to less than half, besides", self.doubt_s),
            ("after trouble with the registry, besides", self.recovery_s),
        ]


def _longest(law: Law) -> float:
    return float(law.draw(_NEVER_LATER)) if law.cv2 else float(law.mean)


def _halving(scenario: Scenario) -> bool:
    """Say whether the scenario can take more than half of a list away at once."""
    takers = (a.Crash, a.BlackHole, a.Remove, a.Replace, a.Flap)
    actions = [*scenario.timeline, *(churn.do for churn in scenario.churn)]
    total = scenario.service.count
    for action in actions:
        if isinstance(action, takers):
            targets = action.targets
            if targets == "all" or targets.zone is not None:
                return True
            if (targets.share or 0) > 0.5 or (targets.count or len(targets.index or ())) * 2 > total:  # noqa: PLR2004 - half
                return True
    return bool(scenario.churn) or len([x for x in actions if isinstance(x, takers)]) > 1


def _troubles(scenario: Scenario) -> list[tuple[float, float, float]]:
    """Return when the registry is in trouble: from, until, and what comes on top, in seconds."""
    last = scenario.about.heal if scenario.about.heal is not None else scenario.about.duration
    found = []
    for action in scenario.timeline:
        if isinstance(action, _TROUBLES):
            start = action.at or 0.0
            length = getattr(action, "duration", 0.0)
            end = last if length is None else start + length
            extra = 0.0
            if isinstance(action, (a.RegistryRestartEmpty, a.RegistryOutage, a.Partition)):
                extra = scenario.registry.heartbeat + 5.0 + scenario.registry.sweep
            found.append((start, end, extra))
    for churn in scenario.churn:
        if isinstance(churn.do, _TROUBLES):
            found.append((churn.from_ or 0.0, last, scenario.registry.heartbeat + 5.0))
    return found
