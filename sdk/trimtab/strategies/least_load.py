"""`least_load`: the better of two by the requests in flight that the servers count.

In a fleet of clients each one knows only its own requests, and all of them together may queue at
one instance. The instance knows: it reports its load with each response (`load_report`), and is
asked for it before a pick if the last report is too old.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, inf
from typing import TYPE_CHECKING

from trimtab.strategies.drawing import next_allowed
from trimtab.strategies.settings import in_words, require
from trimtab.strategies.two_choices import TwoChoices

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from random import Random

    from trimtab.member import Member
    from trimtab.strategies.load_report import LoadReport

__all__ = ["ByLoad", "LeastLoad"]

_PAIR = 2
_LEAST_S = 0.001
_HEAD_START = 0.5
_UNKNOWN_MEMORY_S = 1.0
_SILENCE = 1000.0
"""What an unanswered question for the load adds to it, or a failure, in requests in flight."""
_IDLE_UTILIZATION = 0.05
"""The utilization counts as this much more, so that idle instances differ by requests in flight."""
_TIMEOUTS_APART = 10.0
_MAX_ASK_WAIT_S = 2.0
"""An instance that does not report is asked at growing intervals, up to so many seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeastLoad:
    """Take the less loaded of two, by what the instances report of their load.

    For fleets of clients, where each has few requests of its own in flight at an instance, and for
    servers that know their queue, such as vLLM. Instances report with
    `trimtab.AsgiLoadReporter` or `trimtab.WsgiLoadReporter`, or in any of ORCA's forms.

    Attributes:
        memory_s: a report that is so old counts for 37 %, and then for less; the rest is the mean
            of all reports. Seconds, 0.001 or more. None: as long as a request stays at an
            instance, by the reports (requests in flight over the rate), or 1 s without a rate.
        ask_after_s: an instance whose last report is older is asked for its load before it is
            picked or passed over; each instance at most once in this time. It takes one exchange
            with both instances of the pair, and needs the middleware's endpoint. None: never;
            reports come with responses only. Seconds, 0.001 or more.
        ask_timeout_s: how long an answer to that is waited for, in seconds, 0.001 or more.

    Raises:
        ConfigurationError: a value is out of its range.
    """

    memory_s: float | None = None
    ask_after_s: float | None = None
    ask_timeout_s: float = 0.05

    def __post_init__(self) -> None:
        for name in ("memory_s", "ask_after_s", "ask_timeout_s"):
            value = getattr(self, name)
            if name == "ask_timeout_s" or value is not None:
                wanted = f"{_LEAST_S:g} or more"
                require(f"least_load: {name}", value, wanted, lambda value: value >= _LEAST_S)

    @property
    def __name__(self) -> str:
        """Return the text form, for people."""
        return in_words("least_load", self)

    def __call__(self, rng: Random) -> ByLoad:
        """Make the strategy."""
        return ByLoad(rng, self)


class _Load:
    """What is known of one member's load."""

    __slots__ = (
        "ask_at",
        "ask_wait_s",
        "at",
        "in_flight",
        "qps",
        "sent",
        "silent_until",
        "utilization",
    )

    def __init__(self) -> None:
        self.at = self.ask_at = -inf
        self.in_flight: float | None = None
        self.qps = self.utilization = 0.0
        self.sent = 0
        self.ask_wait_s = 0.0
        self.silent_until = -inf


class ByLoad(TwoChoices):
    """Draw a pair; take the one with the lower load. O(1) per choice.

    The load of an instance that reports its requests in flight is

        mean + (reported - mean) * exp(-age / memory_s) + sent since + utilization

    with the mean over the instances' latest reports: an old report tells little of the present
    queue. `sent since` are this client's own requests after the report that are still in flight.
    The load is never less than this client's own requests in flight. The utilization, 1 at the
    most, decides between equal queues.

    If no instance reports requests in flight, it is `(own + 1) * (utilization + 0.05)`; without
    any report, the own requests in flight, as for `least_request`. All are divided by the weight.
    One that has failed is avoided as by `least_latency`, but for its trials.

    Args:
        rng: draws the pairs.
        settings: see there.
    """

    def __init__(self, rng: Random, settings: LeastLoad) -> None:
        super().__init__(rng)
        self.ask_timeout_s = settings.ask_timeout_s
        self._memory_s = settings.memory_s
        self._ask_after_s = inf if settings.ask_after_s is None else settings.ask_after_s
        self._loads: dict[str, _Load] = {}
        # Over the latest reports: how many say what is in flight, how many came, and their sums.
        self._counted = self._reported = 0
        self._in_flight = self._qps = self._utilization = 0.0

    # -- what is reported --------------------------------------------------------------------

    def update(self, members: Sequence[Member]) -> None:
        """Take the eligible members; those that stay keep their loads."""
        super().update(members)
        self._loads = {member.id: self._loads.get(member.id) or _Load() for member in members}
        known = [load for load in self._loads.values() if load.at > -inf]
        counts = [load.in_flight for load in known if load.in_flight is not None]
        self._reported, self._counted = len(known), len(counts)
        self._in_flight = sum(counts)
        self._qps = sum(load.qps for load in known)
        self._utilization = sum(load.utilization for load in known)

    def report(self, member_id: str, report: LoadReport, now: float) -> None:
        """Take an instance's report on its load; an unknown instance is ignored."""
        load = self._loads.get(member_id)
        if load is None:
            return
        utilization = min(report.utilization, 1.0)
        self._reported += load.at == -inf
        self._utilization += utilization - load.utilization
        self._counted += (report.in_flight is not None) - (load.in_flight is not None)
        self._in_flight += (report.in_flight or 0.0) - (load.in_flight or 0.0)
        self._qps += report.qps - load.qps
        load.in_flight, load.qps, load.utilization = report.in_flight, report.qps, utilization
        load.at, load.sent, load.ask_wait_s, load.silent_until = now, 0, 0.0, -inf

    # -- who is chosen -----------------------------------------------------------------------

    def choose(self, now: float, key: str | None, exclude: Collection[str]) -> Member:
        """Return the less loaded of two random members."""
        return self._counted_on(super().choose(now, key, exclude))

    def cost(self, member: Member, now: float) -> float:
        """Return the load of a member per weight, at this time."""
        load = self._loads[member.id]
        own: float = member.in_flight
        extra = 0.0
        if now < load.silent_until or (member.failed_in_row and member.is_avoided(now)):
            extra = _SILENCE
        if not self._reported:
            return (own + extra) / member.weight
        kept = exp((load.at - now) / self._present_memory_s()) if load.at < now else 1.0
        mean = self._utilization / self._reported
        utilization = mean + (load.utilization - mean) * kept
        if not self._counted:
            return (own + extra + 1) * (utilization + _IDLE_UTILIZATION) / member.weight
        mean = self._in_flight / self._counted
        # One that has said nothing is tried before its equals.
        reported = max(mean - _HEAD_START, 0.0) if load.in_flight is None else load.in_flight
        if load.in_flight is not None:
            reported = mean + (reported - mean) * kept
        # Servers count requests, whatever their costs.
        own = member.requests_in_flight
        queue = reported + min(load.sent, own)
        return (max(queue, own) + utilization + extra) / member.weight

    def _present_memory_s(self) -> float:
        """Return the time that changes a queue: by Little's law, how long a request stays there."""
        if self._memory_s is not None:
            return self._memory_s
        if self._qps <= 0.0 or not self._counted:
            return _UNKNOWN_MEMORY_S
        # Reports leave out the request that takes them along.
        return max((self._in_flight + self._counted) / self._qps, _LEAST_S)

    def _counted_on(self, member: Member) -> Member:
        self._loads[member.id].sent += 1
        return member

    # -- who is asked ------------------------------------------------------------------------

    def candidates(
        self,
        now: float,
        key: str | None,  # noqa: ARG002 - the protocol's
        exclude: Collection[str],
    ) -> tuple[Sequence[Member], Sequence[Member]]:
        """Return a random pair, and those of it that are to be asked; nothing if none is."""
        members = self._members
        if self._ask_after_s == inf or len(members) - len(exclude) < _PAIR:
            return (), ()
        one = next_allowed(self._draw, members, exclude, self._rng)
        pair = (one, next_allowed(self._draw, members, (*exclude, one.id), self._rng))
        asked = [member for member in pair if self._is_due(self._loads[member.id], now)]
        for member in asked:
            load = self._loads[member.id]
            load.ask_wait_s = min(2 * load.ask_wait_s or self._ask_after_s, _MAX_ASK_WAIT_S)
            load.ask_at = now + load.ask_wait_s
        return (pair, asked) if asked else ((), ())

    def _is_due(self, load: _Load, now: float) -> bool:
        return now - load.at > self._ask_after_s and now >= load.ask_at

    def silent(self, member_id: str, now: float) -> None:
        """Note that a member has not answered: it counts as busy until the next answer is due."""
        load = self._loads.get(member_id)
        if load is not None:
            # To wait in vain must not take a large part of the time.
            wait_s = max(load.ask_wait_s, _TIMEOUTS_APART * self.ask_timeout_s)
            load.ask_wait_s = min(wait_s, _MAX_ASK_WAIT_S)
            load.ask_at = now + load.ask_wait_s
            load.silent_until = load.ask_at + self.ask_timeout_s

    def choose_among(self, members: Sequence[Member], now: float) -> Member:
        """Return the least loaded of these members."""
        one, *others = members
        for other in others:
            one = self.better(one, other, now)
        return self._counted_on(one)
