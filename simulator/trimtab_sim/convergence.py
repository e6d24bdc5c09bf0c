"""What "converged" means, measured per change and per client, each against its bound.

The *truth* at a moment is the set of instances that serve and are registered: from their first
registration until they die or deregister. The *view* of a client is the set that its list allows it
to pick; instances that it ejected itself or whose probes failed still belong to it. A *change* is
one instance entering or leaving the truth. A client has converged on a change from the moment since
which its view agrees about that instance, until the end or until the instance changes again.

A view that agreed and then disagrees while the truth stays the same has *lapsed*: the registry has
lost a live instance, for example, or gives wrong answers. A lapse after the bound of its change has
a bound of its own, which is zero without registry faults.
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
        bound_s: the time within which every view must agree, as the settings imply.
        agreed_at: per client, the moment since which it agrees; None while it does not.
        lapsed: per client whose view disagreed again, the moment of the last time.
        superseded_at: when the same instance changed again; None if it did not.
        counts: whether it belongs to the figures (changes during the warm-up do not).
    """

    number: int
    at: float
    instance: str
    kind: str
    bound_s: float
    agreed_at: dict[int, float | None] = field(default_factory=dict)
    lapsed: dict[int, float] = field(default_factory=dict)
    superseded_at: float | None = None
    counts: bool = True

    @property
    def is_present(self) -> bool:
        """Whether the instance is in the truth after this change."""
        return self.kind == "add"


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """A client that did not agree in time.

    Attributes:
        kind: that of the change, or "lapse".
        at: when the change happened, or the lapse began.
        took_s: how long it took; None if it did not agree before the next change or the end.
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
    """Follow the truth and every client's view.

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
        """The clients that have received a list, in that order."""
        return list(self._views)

    def client_started(self, client: int) -> None:
        """Measure a client from now on; earlier changes are not held against it."""
        self._views[client] = frozenset()

    def truth_changed(self, instance: str, kind: str, now: float, *, is_seen: bool = True) -> None:
        """Note that an instance entered or left the truth; a repetition is ignored.

        Args:
            instance: its id.
            kind: "add", "remove" or "death".
            now: when.
            is_seen: whether views hold it; an instance of weight 0 takes no traffic and is in no
                view.
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
            change.agreed_at[client] = now if (instance in view) == present else None
        self._latest[instance] = change
        self.changes.append(change)

    def view_changed(self, client: int, view: Iterable[str], now: float) -> None:
        """Note the instances that a client may pick from now on."""
        after = frozenset(view)
        before = self._views[client]
        self._views[client] = after
        # Sorted: the order of a set of strings differs in each process.
        for instance in sorted(before ^ after):
            change = self._latest.get(instance)
            if change is None or client not in change.agreed_at:
                continue
            if (instance in after) == change.is_present:
                change.agreed_at[client] = now
                if client in change.lapsed and (late := self._lateness(change, client, now)):
                    self._long_lapses.append(late)
            else:
                change.agreed_at[client] = None
                change.lapsed[client] = now

    def times(self) -> list[float]:
        """Return the seconds that each client took to agree on each change that counts."""
        return [
            agreed - change.at
            for change in self.changes
            if change.counts
            for agreed in change.agreed_at.values()
            if agreed is not None
        ]

    def last_times(self) -> list[float]:
        """Return, per change that counts and that all agreed on, the seconds of the last client."""
        return [
            max(times) - change.at
            for change in self.changes
            if change.counts
            and (times := [t for t in change.agreed_at.values() if t is not None])
            and len(times) == len(change.agreed_at)
        ]

    def violations(self, end: float) -> list[Violation]:
        """Return the clients that did not agree within the bound, by the end of the run.

        A change that was superseded before its bound had passed counts for no client, and neither
        does one whose bound lies after the end.
        """
        late = [
            violation
            for change in self.changes
            if change.counts
            for client in change.agreed_at
            if (violation := self._lateness(change, client, end)) is not None
        ]
        # A set: a long lapse that is still open is in both.
        return sorted({*self._long_lapses, *late}, key=lambda it: (it.change, it.client, it.at))

    def _lateness(self, change: Change, client: int, end: float) -> Violation | None:
        """Return the violated bound of a change for a client, or None."""
        agreed, lapsed_at = change.agreed_at[client], change.lapsed.get(client)
        kind, at, bound_s = change.kind, change.at, change.bound_s
        # Within the bound, a view may still take over a list that was read before the change.
        if lapsed_at is not None and lapsed_at > at + bound_s:
            kind, at, bound_s = "lapse", lapsed_at, self._bound("lapse", lapsed_at)
        due = at + bound_s
        if agreed is None:
            until = end if change.superseded_at is None else change.superseded_at
            if due >= until:
                return None
        elif agreed <= due + _ROUNDING:
            return None
        return Violation(
            client=client,
            change=change.number,
            instance=change.instance,
            kind=kind,
            at=at,
            bound_s=bound_s,
            took_s=None if agreed is None else agreed - at,
        )
