"""What one client makes of the instances of one service: who is left out, and who starts slowly.

It brings the rules of this room together for a pool. Nothing runs by itself: the pool asks for a
review once one is due, which is when something was noted that changes who may be picked, or when
a time has come (an interval's end, a pause's end, a step of a slow start).
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

from trimtab.health.eligibility import Reason, reason_against
from trimtab.health.envoy import EnvoyDetector
from trimtab.health.grpc import GrpcDetector
from trimtab.health.outliers import EnvoyOutliers, GrpcOutliers

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from random import Random

    from trimtab.health.outliers import OutlierDetector, OutlierSettings
    from trimtab.health.settings import HealthSettings
    from trimtab.member import Member

__all__ = ["Monitor", "detector_of"]

_NOW = -inf


class Monitor:
    """Judges members for one pool; see `HealthSettings`.

    Args:
        settings: what is judged, and how.
        rng: the source of chance.

    Attributes:
        review_at: when `review` is due; the past if something has changed already.
        watches: whether outcomes of requests are judged at all.
        is_panicking: whether so few are left that all are used.
    """

    def __init__(self, settings: HealthSettings, rng: Random) -> None:
        self._settings = settings
        self._detector = detector_of(settings.outliers, rng)
        self.watches = self._detector is not None
        self._failed_probes: dict[str, str] = {}
        self._paused: dict[str, float] = {}
        self._starting: dict[str, float] = {}
        self._known: frozenset[str] | None = None
        self._stepped_at = _NOW
        self.review_at = inf
        self.is_panicking = False

    def update(self, ids: Collection[str], now: float) -> None:
        """Know exactly these members; those that stay keep what is known of them."""
        known = frozenset(ids)
        for memory in (self._failed_probes, self._paused, self._starting):
            for id_ in [id_ for id_ in memory if id_ not in known]:
                del memory[id_]
        if self._known:
            for id_ in ids:
                if id_ not in self._known:
                    self.begin_slowly(id_, now)
        self._known = known
        if self._detector is not None:
            self._detector.update(ids, now)
        self._set_review()

    # -- what happens ------------------------------------------------------------------------

    def note(self, id_: str, status: int | None, now: float) -> None:
        """Take the outcome of a request: its status, None for no response."""
        if self._detector is not None and self._detector.note(id_, status, now):
            self.review_at = _NOW

    def pause(self, id_: str, wait_s: float, now: float) -> None:
        """Leave a member in peace that has asked for it (`Retry-After`)."""
        wait_s = min(wait_s, self._settings.max_pause_s)
        until = now + wait_s
        if wait_s > 0 and self._known and id_ in self._known and until > self.paused_until(id_):
            self._paused[id_] = until
            self.review_at = _NOW

    def probed(self, id_: str, now: float, *, is_well: bool, why: str = "") -> None:
        """Take the turn of an active probe; one that is well again is no outlier either."""
        if not self._known or id_ not in self._known:
            return
        if is_well:
            self._failed_probes.pop(id_, None)
            if self._detector is not None:
                self._detector.release(id_, now)
        else:
            self._failed_probes[id_] = why
        self.review_at = _NOW

    def begin_slowly(self, id_: str, now: float) -> None:
        """Let a member come in slowly: it is new, or it returns."""
        if self._settings.slow_start is not None:
            self._starting[id_] = now
            self.review_at = min(self.review_at, self._next_step())

    # -- what follows ------------------------------------------------------------------------

    def review(self, now: float) -> bool:
        """Work out what time has changed; say whether eligibility or weights may have."""
        changed = self.review_at == _NOW
        if self._detector is not None and now >= self._detector.next_at:
            changed |= self._detector.sweep(now)
        for id_ in [id_ for id_, until in self._paused.items() if until <= now]:
            del self._paused[id_]
            changed = True
        if self._starting and now >= self._next_step():
            changed = True
        self._set_review()
        return changed

    def judge(self, members: Iterable[Member], now: float) -> dict[str, Reason]:
        """Return who may not be picked and why, by id; the others may.

        In panic what this client has seen counts for nothing.
        """
        registry: dict[str, Reason] = {}
        own: dict[str, Reason] = {}
        total = 0
        for member in members:
            id_ = member.id
            reason = reason_against(member.instance)
            if reason is not None and not self._is_overruled(reason):
                registry[id_] = reason
                continue
            total += 1
            reason = reason or self._own_reason(id_)
            if reason is not None:
                own[id_] = reason
        left = total - len(own)
        self.is_panicking = bool(own) and left < total * self._settings.panic_ratio
        self._stepped_at = now
        self._set_review()
        return registry if self.is_panicking else {**registry, **own}

    def weight_factor(self, id_: str, now: float) -> float:
        """Return what slow start leaves of a member's weight, above 0 up to 1."""
        slow_start, since = self._settings.slow_start, self._starting.get(id_)
        if slow_start is None or since is None:
            return 1.0
        factor = slow_start.factor(now - since)
        if factor == 1.0:
            del self._starting[id_]
        return factor

    def own_reasons(self, ids: Iterable[str]) -> dict[str, Reason]:
        """Return what this client has against members, whether panic overrules it or not."""
        reasons = {id_: self._own_reason(id_) for id_ in ids}
        return {id_: reason for id_, reason in reasons.items() if reason is not None}

    def why(self, id_: str) -> str:
        """Tell more about this client's own reason, for people: the rule, the probe's words."""
        if id_ in self._failed_probes:
            return self._failed_probes[id_]
        return (self._detector.ejected(id_) if self._detector is not None else None) or ""

    def paused_until(self, id_: str) -> float:
        """Return until when a member has asked to be left in peace; the past if it has not."""
        return self._paused.get(id_, _NOW)

    def _own_reason(self, id_: str) -> Reason | None:
        if self._detector is not None and self._detector.ejected(id_):
            return Reason.EJECTED
        if id_ in self._failed_probes:
            return Reason.PROBE_FAILED
        return Reason.PAUSED if id_ in self._paused else None

    def _is_overruled(self, reason: Reason) -> bool:
        return reason is Reason.CRITICAL and self._settings.panic_includes_critical

    def _next_step(self) -> float:
        assert self._settings.slow_start is not None
        return self._stepped_at + self._settings.slow_start.step_s

    def _set_review(self) -> None:
        self.review_at = min(
            self._detector.next_at if self._detector is not None else inf,
            min(self._paused.values(), default=inf),
            self._next_step() if self._starting else inf,
        )


def detector_of(settings: OutlierSettings | str | None, rng: Random) -> OutlierDetector | None:
    """Make the detector that settings ask for."""
    if isinstance(settings, EnvoyOutliers):
        return EnvoyDetector(settings, rng)
    if isinstance(settings, GrpcOutliers):
        return GrpcDetector(settings)
    return None
