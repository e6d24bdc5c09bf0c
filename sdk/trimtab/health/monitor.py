"""The monitor: which instances of a service one client may pick, and which start slowly.

It combines the registry's view, outlier ejection, probes, pauses, panic and slow start for a pool.
It does nothing by itself. The pool calls `review` when it is due: after an event that changes who
may be picked, or at a certain time (the end of an interval or a pause, a step of a slow start).
"""

from __future__ import annotations

from enum import StrEnum
from math import inf
from typing import TYPE_CHECKING

from trimtab.instance import Status

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable
    from random import Random

    from trimtab.health.settings import HealthSettings
    from trimtab.instance import Instance
    from trimtab.member import Member

__all__ = ["Monitor", "Reason", "reason_against"]

_NOW = -inf


class Reason(StrEnum):
    """Why an instance gets no traffic.

    The first three come from the registry. The next five are this client's own. Panic overrules
    them, except `UNREACHABLE` and `CONNECTING`, which count while another instance is left.
    `SATURATED` and `OUTSIDE_SUBSET` do not depend on its health.
    """

    CRITICAL = "critical"
    DRAINING = "draining"
    WEIGHT_ZERO = "weight 0"
    EJECTED = "ejected"
    PROBE_FAILED = "probe failed"
    PAUSED = "asked to wait"
    UNREACHABLE = "unreachable"
    CONNECTING = "connecting"
    SATURATED = "saturated"
    OUTSIDE_SUBSET = "outside the subset"


def reason_against(instance: Instance) -> Reason | None:
    """Return why an instance may not be picked by its registration, or None if it may.

    An instance with a warning may be picked; the registry can lower its weight.
    """
    if instance.status is Status.CRITICAL:
        return Reason.CRITICAL
    if instance.status is Status.DRAINING:
        return Reason.DRAINING
    # It means no traffic. Read as "a little", it has surprised users (kratos #3831, kitex #1393).
    return Reason.WEIGHT_ZERO if instance.weight == 0 else None


class Monitor:
    """Judges members for one pool; see `HealthSettings`.

    Args:
        settings: what is judged, and how.
        rng: the random generator.

    Attributes:
        review_at: when `review` is due; in the past if something has changed already.
        watches: whether outcomes of requests are judged at all.
        is_panicking: whether so few members are left that all are used.
        ill: the ids of the members that something is held against, whether panic overrules it or
            not.
    """

    def __init__(self, settings: HealthSettings, rng: Random) -> None:
        self._settings = settings
        self._detector = settings.detector(rng)
        self.watches = self._detector is not None
        self._failed_probes: dict[str, str] = {}
        self._unreachable: dict[str, str] = {}
        self._connecting: set[str] = set()
        self._paused: dict[str, float] = {}
        self._starting: dict[str, float] = {}
        self._known: frozenset[str] | None = None
        self._stepped_at = _NOW
        self.review_at = inf
        self.is_panicking = False
        self.ill: frozenset[str] = frozenset()

    def update(self, ids: Collection[str], now: float) -> None:
        """Take the present members; those that stay keep their state."""
        known = frozenset(ids)
        for memory in (self._failed_probes, self._unreachable, self._paused, self._starting):
            for id_ in [id_ for id_ in memory if id_ not in known]:
                del memory[id_]
        self._connecting &= known
        if self._known:
            for id_ in ids:
                if id_ not in self._known:
                    self.begin_slowly(id_, now)
        self._known = known
        if self._detector is not None:
            self._detector.update(ids, now)
        self._set_review()

    # -- events ------------------------------------------------------------------------------

    def note(self, id_: str, status: int | None, now: float) -> None:
        """Take the outcome of a request: its status, None for no response."""
        if self._detector is not None and self._detector.note(id_, status, now):
            self.review_at = _NOW

    def pause(self, id_: str, wait_s: float, now: float) -> None:
        """Send nothing to a member for as long as it has asked (`Retry-After`)."""
        wait_s = min(wait_s, self._settings.max_pause_s)
        until = now + wait_s
        if wait_s > 0 and self._known and id_ in self._known and until > self.paused_until(id_):
            self._paused[id_] = until
            self.review_at = _NOW

    def probed(self, id_: str, now: float, *, is_well: bool, why: str = "") -> None:
        """Take the verdict of active probes; a member that passes is no longer ejected either."""
        if not self._known or id_ not in self._known:
            return
        if is_well:
            self._failed_probes.pop(id_, None)
            if self._detector is not None:
                self._detector.release(id_, now)
        else:
            self._failed_probes[id_] = why
        self.review_at = _NOW

    def connected(self, id_: str, *, is_open: bool, why: str = "") -> bool:
        """Take whether a connection to a member opened; return whether that is a change."""
        if not self._known or id_ not in self._known:
            return False
        if is_open == (id_ not in self._unreachable) and id_ not in self._connecting:
            return False
        self._connecting.discard(id_)
        self.review_at = _NOW
        if is_open:
            self._unreachable.pop(id_, None)
        else:
            self._unreachable[id_] = why
        return True

    def connecting(self, ids: Iterable[str]) -> None:
        """Hold members back until `connected` says whether a connection to them opened."""
        self._connecting.update(ids)
        self.review_at = _NOW

    def begin_slowly(self, id_: str, now: float) -> None:
        """Begin the slow start of a member that is new, or that returns."""
        if self._settings.slow_start is not None:
            self._starting[id_] = now
            self.review_at = min(self.review_at, self._next_step())

    # -- judgement ---------------------------------------------------------------------------

    def review(self, now: float) -> bool:
        """Apply what time has changed; return whether eligibility or weights may have changed."""
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

    def judge(
        self,
        members: Collection[Member],
        now: float,
        *,
        suffices: Callable[[Collection[Member], Collection[str]], bool] | None = None,
    ) -> dict[str, Reason]:
        """Return the members that may not be picked, by id, with the reasons.

        In panic this client's own reasons do not count.

        Args:
            members: all that are present.
            now: the time.
            suffices: returns whether the members can carry all requests without those of these
                ids; then there is no panic. None: they are counted only.
        """
        registry: dict[str, Reason] = {}
        own: dict[str, Reason] = {}
        unreachable: dict[str, Reason] = {}
        total = 0
        for member in members:
            id_ = member.id
            reason = reason_against(member.instance)
            if reason is not None and not self._is_overruled(reason):
                registry[id_] = reason
                continue
            if id_ in self._unreachable:
                unreachable[id_] = Reason.UNREACHABLE
                continue
            if id_ in self._connecting:
                unreachable[id_] = Reason.CONNECTING
                continue
            total += 1
            reason = reason or self._own_reason(id_)
            if reason is not None:
                own[id_] = reason
        self.ill = frozenset((*registry, *own, *unreachable))
        are_few = bool(own) and total - len(own) < total * self._settings.panic_ratio
        self.is_panicking = are_few and not (suffices and suffices(members, self.ill))
        self._stepped_at = now
        self._set_review()
        if not self.is_panicking:
            registry.update(own)
        if total:
            # While none is in reach, requests find out how things are.
            registry.update(unreachable)
        return registry

    def weight_factor(self, id_: str, now: float) -> float:
        """Return the factor of slow start for a member's weight, above 0 up to 1."""
        slow_start, since = self._settings.slow_start, self._starting.get(id_)
        if slow_start is None or since is None:
            return 1.0
        factor = slow_start.factor(now - since)
        if factor == 1.0:
            del self._starting[id_]
        return factor

    def own_reasons(self, ids: Iterable[str]) -> dict[str, Reason]:
        """Return this client's own reasons against members, also those that panic overrules."""
        reasons = {id_: self._own_reason(id_) for id_ in ids}
        return {id_: reason for id_, reason in reasons.items() if reason is not None}

    def why(self, id_: str) -> str:
        """Return more words on this client's own reason: the rule, or the probe's message."""
        for words in (self._unreachable, self._failed_probes):
            if id_ in words:
                return words[id_]
        return (self._detector.ejected(id_) if self._detector is not None else None) or ""

    def paused_until(self, id_: str) -> float:
        """Return until when a member has asked for no requests; the past if it has not."""
        return self._paused.get(id_, _NOW)

    def _own_reason(self, id_: str) -> Reason | None:
        if id_ in self._unreachable:
            return Reason.UNREACHABLE
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
