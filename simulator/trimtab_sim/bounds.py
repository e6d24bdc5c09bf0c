"""How long a change may take to reach every client, as a scenario's settings imply.

| change | bound in calm times |
|---|---|
| `add` | propagation + read |
| `remove` | a message + propagation + read |
| `death` | TTL + sweep + propagation + read |
| `lapse`: a view that was right turns wrong | nothing; it must not happen |

`read` is one poll, `p * (1 + jitter)`, or nothing where the registry pushes, and a question with
its answer, and one more message: the answer that was just on its way. To it comes what the
settings allow to come between:

- the grace of a list cut to less than half, where the scenario can cut one so;
- trouble with the registry (away, unreachable, stale, wrong, restarted): the calm bound counts
  from the moment that everyone has recovered, which takes a timeout and a backoff of readers, the
  same of writers and a heartbeat, and a lease, all begun anew; then nobody is lost for a grace,
  and for another if the list is cut to less than half at its end;
- losses: as many timeouts and backoffs as happen in a row once in a thousand million times; and
  each is trouble, which begins a grace anew, as often as the guard permits.
"""

from __future__ import annotations

from math import ceil, inf, log
from typing import TYPE_CHECKING

from trimtab.discovery.guard import MOST_RENEWALS
from trimtab_sim.scenario import actions as a
from trimtab_sim.world.registry import PATIENCE_S

if TYPE_CHECKING:
    from trimtab_sim.laws import Law
    from trimtab_sim.scenario import Scenario
    from trimtab_sim.scenario.content import Network

__all__ = ["Bounds"]

_NEVER = 1e-9
"""A law without an upper end is taken at the quantile that is exceeded so often."""
_ROUND = 1e-6
_WRITER_BACKOFF_S = 5.0
_TROUBLES = (
    a.Partition,
    a.RegistryOutage,
    a.RegistryStale,
    a.RegistryWrong,
    a.RegistryRestartEmpty,
)
_TAKERS = (a.Crash, a.BlackHole, a.Remove, a.Replace, a.Flap)


class Bounds:
    """The bounds of one scenario. Call it with a change's kind and moment."""

    def __init__(self, scenario: Scenario) -> None:
        registry, settings, network = (
            scenario.registry,
            scenario.discovery_settings,
            scenario.network,
        )
        message_s = max(_longest(law) for law in _latencies(network))
        loss = max(network.loss, *(path.loss for path in network.paths), 0.0)
        self.rtt_s = 2 * message_s + _longest(registry.latency)
        poll_s = settings.poll_interval_s * (1 + settings.jitter_ratio)
        patience_s = PATIENCE_S
        if registry.mode != "poll" and settings.mode != "poll":
            poll_s = 0.0
        else:
            patience_s = min(patience_s, settings.fetch_timeout_s)
        retry_s = patience_s + settings.backoff_max_s
        beat_s = min(PATIENCE_S, registry.ttl / 2) + min(_WRITER_BACKOFF_S, registry.ttl)
        losses = _losses_in_a_row(loss)
        self.read_s = poll_s + self.rtt_s + message_s + losses * retry_s
        self.spread_s = _longest(registry.propagation) + self.read_s
        self.lease_s = registry.ttl + registry.sweep
        # A doubted list waits for its grace, and is then read afresh.
        self.grace_s = settings.grace_s
        renewals = MOST_RENEWALS + 1 if loss and self.grace_s else 0
        self.doubt_s = self.grace_s + renewals * (self.grace_s + retry_s) + self.read_s
        self.write_s = self.rtt_s + losses * beat_s
        self.recovery_s = retry_s + beat_s + registry.heartbeat + self.write_s + self.spread_s
        self._calm_s = {
            "add": self.spread_s,
            # One whose farewell is lost is found dead.
            "remove": self.rtt_s + self.spread_s + (self.lease_s if loss else 0.0),
            "death": self.lease_s + self.spread_s,
            "lapse": registry.heartbeat + self.write_s + self.spread_s if loss else 0.0,
        }
        if _can_halve(scenario) or loss:
            self._calm_s = {
                kind: calm_s + self.doubt_s if kind != "lapse" else calm_s
                for kind, calm_s in self._calm_s.items()
            }
        self._troubles = _troubles(scenario)

    def __call__(self, kind: str, at: float) -> float:
        """Return the bound of a change in seconds.

        Args:
            kind: "add", "remove", "death" or "lapse".
            at: when it happens.
        """
        bound = calm_s = self._calm_s[kind]
        after_s = self.after_trouble_s(kind)
        for start, end in self._troubles:
            # Trouble that was over before, or begins only after all is settled, adds nothing.
            if start <= at + bound and at <= end + after_s:
                bound = max(bound, end - at + after_s)
        return max(bound, calm_s) + _ROUND

    def after_trouble_s(self, kind: str = "death") -> float:
        """Return within what time of the registry's recovery a change must be known to all.

        It may have happened before that, or (a "lapse") be the trouble's own doing.
        """
        return self.lease_s + self.recovery_s + self.grace_s + self.doubt_s + self._calm_s[kind]

    def rows(self) -> list[tuple[str, float]]:
        """Return the bounds in calm times, for reports: what, and seconds."""
        return [
            ("add", self._calm_s["add"]),
            ("remove", self._calm_s["remove"]),
            ("death", self._calm_s["death"]),
            ("after trouble with the registry", self.after_trouble_s()),
        ]


def _latencies(network: Network) -> list[Law]:
    return [network.latency, *(path.latency for path in network.paths)]


def _longest(law: Law) -> float:
    return float(law.draw(1.0 - _NEVER)) if law.cv2 else float(law.mean)


def _losses_in_a_row(loss: float) -> float:
    """Return how many questions in a row may stay unanswered."""
    unanswered = 1.0 - (1.0 - loss) ** 2
    if not unanswered:
        return 0
    return inf if unanswered >= 1.0 else ceil(log(_NEVER) / log(unanswered))


def _can_halve(scenario: Scenario) -> bool:
    """Say whether the scenario can take more than half of a list away at once."""
    churned = any(isinstance(churn.do, _TAKERS) for churn in scenario.churn)
    takers = [action for action in scenario.timeline if isinstance(action, _TAKERS)]
    if churned or len(takers) > 1:
        return True
    # Those of weight 0 take no traffic, and are not missed.
    able = sum(group.count for group in scenario.service.groups() if group.weight)
    return any(_takes(action.targets, able) for action in takers)


def _takes(targets: a.Targets | str, total: int) -> bool:
    """Say whether the targets may be more than half of `total` servers."""
    if isinstance(targets, str) or targets.zone is not None:
        return True
    count = targets.count or len(targets.index or ()) or ceil((targets.share or 0.0) * total)
    return 2 * count > total


def _troubles(scenario: Scenario) -> list[tuple[float, float]]:
    """Return when the registry is in trouble: from when until when, by their beginning."""
    about = scenario.about
    last = about.duration if about.heal is None else about.heal
    found = []
    for action in scenario.timeline:
        if isinstance(action, _TROUBLES):
            start = action.at or 0.0
            length = getattr(action, "duration", 0.0)
            end = last if length is None else start + length
            found.append((start, end if about.heal is None else min(end, last)))
    for churn in scenario.churn:
        if isinstance(churn.do, _TROUBLES):
            start = about.warmup if churn.from_ is None else churn.from_
            found.append((start, last))
    return sorted(found)
