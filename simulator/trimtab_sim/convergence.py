"""What "converged" means, measured per change and per client, each against its bound.

The truth at a moment is the set of instances that serve and are announced: from their first
registration until they die or deregister. A client's view is the set that it may pick as far as
its list goes; what it holds against instances by itself (ejection, failed probes) is another
matter. A *change* is one instance entering or leaving the truth. A client has converged on it from
the moment since which its view agrees about that instance, for good, or until the instance changes
again.

A view that agreed and then, while the truth stayed, disagrees has *lapsed*: the registry has
forgotten a live instance, say, or answers wrongly. A lapse after the bound of its change is judged
by a bound of its own, which is nothing in calm times.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["Change", "Convergence", "Violation"]

_ROUNDING = 1e-9


@dataclass(slots=True)
class Change:
    """One instance entered or left the truth.

    Attributes:
        number: counted from 0.
        at: when.
        instance: its id.
        kind: "add", "remove" (in good order) or "death".
        bound_s: within which every view must agree, as the settings imply.
        settled: per client, the moment since which it agrees; None while it does not.
        lapsed: per client whose view disagreed again, since when it last did.
        superseded_at: when the same instance changed again; None if it did not.
        counts: whether it belongs to the figures (changes of the warm-up do not).
    """

    number: int
    at: float
    instance: str
    kind: str
    bound_s: float
    settled: dict[int, float | None] = field(default_factory=dict)
    lapsed: dict[int, float] = field(default_factory=dict)
    superseded_at: float | None = None
    counts: bool = True

    @property
    def is_present(self) -> bool:
        """Whether the instance is in the truth from here on."""
        return self.kind == "add"


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """A client that did not agree in time.

    Attributes:
        kind: that of the change, or "lapse".
        at: when the change happened, or the lapse began.
        took_s: how long it took; None if it never agreed while it mattered.
    """

    client: int
    change: int
    instance: str
    kind: str
    at: float
    bound_s: float
    took_s: float | None

    def __str__(self) -> str:
        took = "never" if self.took_s is None else f"after {self.took_s:.3f} s"
        return (
            f"client {self.client}, change {self.change} ({self.kind} of {self.instance} at "
            f"{self.at:.3f} s): agreed {took}; the bound is {self.bound_s:.3f} s"
        )


class Convergence:
    """Follows the truth and every client's view.

    Args:
        bound: `(kind, at) -> seconds`, the bound of a change, or of a "lapse" that began then.
        warmup: changes before it do not count.
    """

    def __init__(self, bound: Callable[[str, float], float], *, warmup: float) -> None:
        self._bound = bound
        self._warmup = warmup
        self._views: dict[int, frozenset[str]] = {}
        self._latest: dict[str, Change] = {}
        self._long_lapses: list[Violation] = []
        self.changes: list[Change] = []

    @property
    def clients(self) -> list[int]:
        """The clients that have had a list, in the order in which they got it."""
        return list(self._views)

    def client_started(self, client: int) -> None:
        """Begin to judge a client; changes before that are not its own."""
        self._views[client] = frozenset()

    def truth_changed(self, instance: str, kind: str, now: float, *, is_seen: bool = True) -> None:
        """Note that an instance entered or left the truth; what does not change it is ignored.

        Args:
            instance: its id.
            kind: "add", "remove" or "death".
            now: when.
            is_seen: whether it is ever in a view; no client is judged by one that takes no
                traffic.
        """
        before = self._latest.get(instance)
        if (before is not None and before.is_present) == (kind == "add"):
            return
        if before is not None:
            before.superseded_at = now
        change = Change(
            len(self.changes),
            now,
            instance,
            kind,
            self._bound(kind, now),
            counts=now >= self._warmup,
        )
        present = change.is_present
        for client, view in self._views.items() if is_seen else ():
            change.settled[client] = now if (instance in view) == present else None
        self._latest[instance] = change
        self.changes.append(change)

    def view_changed(self, client: int, view: Iterable[str], now: float) -> None:
        """Note what a client may pick from now on."""
        after = frozenset(view)
        before = self._views[client]
        self._views[client] = after
        # Sorted: the order of a set of texts is another in each process.
        for instance in sorted(before ^ after):
            change = self._latest.get(instance)
            if change is None or client not in change.settled:
                continue
            if (instance in after) == change.is_present:
                change.settled[client] = now
                if client in change.lapsed and (late := self._lateness(change, client, now)):
                    self._long_lapses.append(late)
            else:
                change.settled[client] = None
                change.lapsed[client] = now

    def times(self) -> list[float]:
        """Return the seconds that each client took on each change that counts and was agreed on."""
        return [
            settled - change.at
            for change in self.changes
            if change.counts
            for settled in change.settled.values()
            if settled is not None
        ]

    def last_times(self) -> list[float]:
        """Return, per change that counts and that all agreed on, how long the last client took."""
        return [
            max(times) - change.at
            for change in self.changes
            if change.counts
            and (times := [t for t in change.settled.values() if t is not None])
            and len(times) == len(change.settled)
        ]

    def violations(self, end: float) -> list[Violation]:
        """Return who did not agree within the bound, by the end of the run.

        A client is not blamed for a change that was superseded, or the run over, before its time
        was up.
        """
        unsettled = [
            violation
            for change in self.changes
            if change.counts
            for client in change.settled
            if (violation := self._lateness(change, client, end)) is not None
        ]
        # Those that lasted into the present are among the unsettled, or settled once more.
        return sorted(
            {*self._long_lapses, *unsettled}, key=lambda it: (it.change, it.client, it.at)
        )

    def _lateness(self, change: Change, client: int, end: float) -> Violation | None:
        """Return what is to be said against a client's last settling of a change, if anything."""
        settled, lapsed_at = change.settled[client], change.lapsed.get(client)
        kind, at, bound_s = change.kind, change.at, change.bound_s
        # Within the bound, a view may still take up what was true when its list was read.
        if lapsed_at is not None and lapsed_at > at + bound_s:
            kind, at, bound_s = "lapse", lapsed_at, self._bound("lapse", lapsed_at)
        due = at + bound_s
        if settled is None:
            until = end if change.superseded_at is None else change.superseded_at
            if due >= until:
                return None
        elif settled <= due + _ROUNDING:
            return None
        return Violation(
            client=client,
            change=change.number,
            instance=change.instance,
            kind=kind,
            at=at,
            bound_s=bound_s,
            took_s=None if settled is None else settled - at,
        )
