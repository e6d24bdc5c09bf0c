"""The result of picking: one request's claim on one member, given back exactly once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

from trimtab.errors import ConfigurationError, PickDoneError

if TYPE_CHECKING:
    from typing import Protocol

    from trimtab.instance import Instance
    from trimtab.member import Member

    class Observer(Protocol):
        """Whom picks tell what became of them."""

        def note(self, pick: Pick, status: int | None, now: float) -> None:
            """Take a response's status, None for no (whole) response."""

        def left(self, pick: Pick) -> None:
            """Take that the request is no longer in flight."""


__all__ = ["Outcome", "Pick"]

Outcome: TypeAlias = Literal["success", "failure", "cancelled"]
"""How a request ended. `cancelled` is the caller's doing and says nothing against the instance."""

_OUTCOMES = frozenset(get_args(Outcome))
_OK, _SERVER_ERROR = 200, 500


class Pick:
    """A request in flight on a member, from `Pool.pick` to `done`.

    Call `answered` when the response's head arrives, if that is worth knowing apart, and `done`
    when the body has ended, failed or been given up. Without `answered`, `done` stands for both.

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
        member.begin(self, now)

    def answered(self, now: float, *, ok: bool = True, status: int = 0) -> None:
        """Note the response's head. Only the first call counts.

        Args:
            now: seconds on the caller's monotonic clock.
            ok: false when the response is itself a failure (a 503, say); its time counts as the
                instance's latency if it is not.
            status: the HTTP status, for outlier ejection; 0 stands for 200 or 500, by `ok`.
        """
        if self._answer is not None or self.is_done:
            return
        self._answer = ok
        self.member.answer(self, now, ok=ok)
        if self._observer is not None:
            self._observer.note(self, status or (_OK if ok else _SERVER_ERROR), now)

    def done(self, now: float, outcome: Outcome) -> None:
        """Give the claim back: `success`, `failure` or `cancelled`.

        After `answered(ok=False)` the request is a failure whatever is said here.

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
        self._learn(now, outcome)
        self.is_done = True
        self.member.in_flight -= 1
        if self._observer is not None:
            self._observer.left(self)

    def _learn(self, now: float, outcome: Outcome) -> None:
        member, observer = self.member, self._observer
        if self._answer is False:
            member.failures += 1
            return
        if outcome == "failure":
            member.failures += 1
            if self._answer is None:
                member.abandon(self, now, failed=True)
            else:
                member.break_off(now)
            if observer is not None:
                observer.note(self, None, now)
        elif outcome == "success":
            member.successes += 1
            if self._answer is None:
                member.answer(self, now, ok=True)
                if observer is not None:
                    observer.note(self, _OK, now)
        else:
            member.cancelled += 1
            if self._answer is None:
                member.abandon(self, now, failed=False)
