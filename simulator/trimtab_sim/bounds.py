"""How long a change may take to reach every client, as a scenario's settings imply.

| change | bound without faults of the registry |
|---|---|
| `add` | propagation + read |
| `remove` | a message + propagation + read |
| `death` | TTL + sweep + propagation + read |
| `lapse`: a view that was right turns wrong | 0; it must not happen |

`read` is one poll, `p * (1 + jitter)`, or 0 where the registry pushes; plus a question with its
answer; plus one more message, the answer that was on its way at the time. The settings may add:

- the grace period for a list that was cut to less than half, where the scenario can cut one so;
- faults of the registry (away, unreachable, stale, wrong, restarted, with a skewed clock): the
  bound counts from the recovery of all readers and writers. That takes a timeout and a backoff of
  readers, the same of writers and a heartbeat, and a whole lease; then a grace period in which no
  instance is dropped, and another one if the list is cut to less than half at its end;
- a clock that jumps: a lease may last longer by the distance between the furthest skews;
- losses: as many timeouts and backoffs as happen in a row once in a thousand million times. Each
  begins a new grace period, as often as the guard permits.
"""

from __future__ import annotations

from math import ceil, inf, log
from typing import TYPE_CHECKING

from trimtab.discovery.guard import MOST_RENEWALS
from trimtab_sim.scenario import actions as a
from trimtab_sim.world.registry import ANSWER_TIMEOUT_S

if TYPE_CHECKING:
    from trimtab_sim.laws import Law
    from trimtab_sim.scenario import Scenario
    from trimtab_sim.scenario.content import Network

__all__ = ["Bounds"]

_NEVER = 1e-9
"""The share of draws that may exceed the longest time assumed for a law without an upper end."""
_ROUND = 1e-6
_WRITER_BACKOFF_S = 5.0
_REGISTRY_FAULTS = (
    a.Partition,
    a.RegistryClockSkew,
    a.RegistryOutage,
    a.RegistryStale,
    a.RegistryWrong,
    a.RegistryRestartEmpty,
)
_REMOVERS = (a.Crash, a.BlackHole, a.Remove, a.Replace, a.Flap)


class Bounds:
    """The bounds of one scenario. Call it with the kind and the moment of a change."""

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
        timeout_s = ANSWER_TIMEOUT_S
        if registry.mode != "poll" and settings.mode != "poll":
            poll_s = 0.0
        else:
            timeout_s = min(timeout_s, settings.fetch_timeout_s)
        retry_s = timeout_s + settings.backoff_max_s
        beat_s = min(ANSWER_TIMEOUT_S, registry.ttl / 2) + min(_WRITER_BACKOFF_S, registry.ttl)
        losses = _losses_in_a_row(loss)
        self.read_s = poll_s + self.rtt_s + message_s + losses * retry_s
        self.spread_s = _longest(registry.propagation) + self.read_s
        self.lease_s = registry.ttl + registry.sweep + _longest_skew_s(scenario)
        # A list cut to less than half waits for the grace period, and is then read again.
        self.grace_s = settings.grace_s
        renewals = MOST_RENEWALS + 1 if loss and self.grace_s else 0
        self.doubt_s = self.grace_s + renewals * (self.grace_s + retry_s) + self.read_s
        self.write_s = self.rtt_s + losses * beat_s
        self.recovery_s = retry_s + beat_s + registry.heartbeat + self.write_s + self.spread_s
        self._calm_s = {
            "add": self.spread_s,
            # If the deregistration is lost, the lease must lapse.
            "remove": self.rtt_s + self.spread_s + (self.lease_s if loss else 0.0),
            "death": self.lease_s + self.spread_s,
            "lapse": registry.heartbeat + self.write_s + self.spread_s if loss else 0.0,
        }
        if _can_halve(scenario) or loss:
            self._calm_s = {
                kind: calm_s + self.doubt_s if kind != "lapse" else calm_s
                for kind, calm_s in self._calm_s.items()
            }
        self._registry_faults = _registry_faults(scenario)

    def __call__(self, kind: str, at: float) -> float:
        """Return the bound of a change in seconds.

        Args:
            kind: "add", "remove", "death" or "lapse".
            at: when it happens.
        """
        bound = calm_s = self._calm_s[kind]
        after_s = self.after_recovery_s(kind)
        for start, end in self._registry_faults:
            # A fault that was over before, or begins after all clients agreed, adds nothing.
            if start <= at + bound and at <= end + after_s:
                bound = max(bound, end - at + after_s)
        return max(bound, calm_s) + _ROUND

    def after_recovery_s(self, kind: str = "death") -> float:
        """Return the time from the registry's recovery within which every client knows a change.

        The change may be older than the recovery; a "lapse" may be caused by the fault itself.
        """
        return self.lease_s + self.recovery_s + self.grace_s + self.doubt_s + self._calm_s[kind]

    def rows(self) -> list[tuple[str, float]]:
        """Return the bounds for reports: the kind of change, and seconds."""
        return [
            ("add", self._calm_s["add"]),
            ("remove", self._calm_s["remove"]),
            ("death", self._calm_s["death"]),
            ("after a fault of the registry", self.after_recovery_s()),
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
    """Say whether the scenario can remove more than half of a list at once."""
    churned = any(isinstance(churn.do, _REMOVERS) for churn in scenario.churn)
    removers = [action for action in scenario.timeline if isinstance(action, _REMOVERS)]
    if churned or len(removers) > 1:
        return True
    # Servers of weight 0 take no traffic and are in no view.
    able = sum(group.count for group in scenario.service.groups() if group.weight)
    return any(_is_majority(action.targets, able) for action in removers)


def _is_majority(targets: a.Targets | str, total: int) -> bool:
    """Say whether the targets may be more than half of `total` servers."""
    if isinstance(targets, str) or targets.zone is not None:
        return True
    count = targets.count or len(targets.index or ()) or ceil((targets.share or 0.0) * total)
    return 2 * count > total


def _registry_faults(scenario: Scenario) -> list[tuple[float, float]]:
    """Return the begin and end of each fault of the registry, in order."""
    about = scenario.about
    last = about.duration if about.heal is None else about.heal
    found = []
    for action in scenario.timeline:
        if isinstance(action, _REGISTRY_FAULTS):
            start = action.at or 0.0
            length = getattr(action, "duration", 0.0)
            end = last if length is None else start + length
            found.append((start, end if about.heal is None else min(end, last)))
    for churn in scenario.churn:
        if isinstance(churn.do, _REGISTRY_FAULTS):
            start = about.warmup if churn.from_ is None else churn.from_
            found.append((start, last))
    return sorted(found)


def _longest_skew_s(scenario: Scenario) -> float:
    """Return how much longer a lease may last because the registry's clock jumped."""
    actions = [*scenario.timeline, *(churn.do for churn in scenario.churn)]
    offsets = [one.offset_s for one in actions if isinstance(one, a.RegistryClockSkew)]
    return max([0.0, *offsets]) - min([0.0, *offsets])
