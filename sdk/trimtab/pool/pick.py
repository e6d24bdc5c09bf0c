"""A pick: one request's claim on one member, which is given back exactly once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

from trimtab.errors import ConfigurationError, PickDoneError

if TYPE_CHECKING:
    from typing import Protocol

    from trimtab.instance import Instance
    from trimtab.member import Member

    class Observer(Protocol):
        """The pool, as its picks report to it.

        Attributes:
            watches_outcomes: whether to call `note`.
            watches_ends: whether to call `left`.
        """

        watches_outcomes: bool
        watches_ends: bool

        def note(self, pick: Pick, status: int | None, now: float) -> None:
            """Take a response's status, None for no (whole) response."""

        def left(self, pick: Pick) -> None:
            """Note that the request is no longer in flight."""


__all__ = ["Outcome", "Pick"]

Outcome: TypeAlias = Literal["success", "failure", "cancelled"]
"""How a request ended. `cancelled` is the caller's doing and does not count for the instance."""

_OUTCOMES = frozenset(get_args(Outcome))
_OK, _SERVER_ERROR = 200, 500


class Pick:
    """A request in flight on a member, from `Pool.pick` to `done`.

    Call `answered` when the response's head arrives, to measure the time to the head, and `done`
    when the body has ended or failed, or when the caller has given up. Without `answered`, `done`
    counts as both.

    Attributes:
        instance: where the request goes.
        member: the same with this client's statistics.
        started_at: `now` of the pick.
        is_done: whether `done` was called.
    """

    __slots__ = ("_answer", "_observer", "instance", "is_done", "member", "started_at")

    def __init__(self, member: Member, now: float, observer: Observer | None = None) -> None:
        self.member = member
        self.instance: Instance = member.instance
        self.started_at = now
        self.is_done = False
        self._answer: bool | None = None
        self._observer = observer
        member.picks += 1
        member.in_flight += 1
        member.unanswered[self] = now

    def __repr__(self) -> str:
        state = "done" if self.is_done else "in flight"
        return f"<Pick {self.instance.id} {state} started_at={self.started_at:g}>"

    def answered(self, now: float, *, ok: bool = True, status: int = 0) -> None:
        """Note the response's head. Only the first call counts.

        Args:
            now: seconds on the caller's monotonic clock.
            ok: false when the response is itself a failure (a 503, say). Its time counts as the
                instance's latency only if it is true.
            status: the HTTP status, for outlier ejection; 0 stands for 200 or 500, by `ok`.
        """
        if self._answer is not None or self.is_done:
            return
        self._answer = ok
        self.member.answer(self, now, ok=ok)
        observer = self._observer
        if observer is not None and observer.watches_outcomes:
            observer.note(self, status or (_OK if ok else _SERVER_ERROR), now)

    def done(self, now: float, outcome: Outcome) -> None:
        """Give the claim back: `success`, `failure` or `cancelled`.

        After `answered(ok=False)` the request is a failure, whatever the outcome given here.

        Raises:
            PickDoneError: it was done before.
            ConfigurationError: the outcome is not one of the three.
        """
        if outcome not in _OUTCOMES:
            raise ConfigurationError(
                f"outcome {outcome!r} is not one of {', '.join(sorted(_OUTCOMES))}"
            )
        if self.is_done:
            raise PickDoneError(f"the pick of instance {self.instance.id} was done before")
        if self._answer and outcome == "success":
            self.member.successes += 1
        else:
            self._learn(now, outcome)
        self.is_done = True
        self.member.in_flight -= 1
        observer = self._observer
        if observer is not None and observer.watches_ends:
            observer.left(self)

    def _learn(self, now: float, outcome: Outcome) -> None:
        """Count an end other than the usual one, a success after a good head."""
        member = self.member
        if self._answer is False:
            member.failures += 1
        elif outcome == "failure":
            member.failures += 1
            if self._answer is None:
                member.abandon(self, now, failed=True)
            else:
                member.break_off(now)
            self._note(None, now)
        elif outcome == "success":
            member.successes += 1
            member.answer(self, now, ok=True)
            self._note(_OK, now)
        else:
            member.cancelled += 1
            if self._answer is None:
                member.abandon(self, now, failed=False)

    def _note(self, status: int | None, now: float) -> None:
        if self._observer is not None and self._observer.watches_outcomes:
            self._observer.note(self, status, now)
