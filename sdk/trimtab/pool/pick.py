"""The result of picking: one request's claim on one member, given back exactly once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

from trimtab.errors import ConfigurationError, PickDoneError

if TYPE_CHECKING:
    from trimtab.instance import Instance
    from trimtab.member import Member

__all__ = ["Outcome", "Pick"]

Outcome: TypeAlias = Literal["success", "failure", "cancelled"]
"""How a request ended. `cancelled` is the caller's doing and says nothing against the instance."""

_OUTCOMES = frozenset(get_args(Outcome))


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

    __slots__ = ("_answer", "instance", "is_done", "member", "started_at")

    def __init__(self, member: Member, now: float) -> None:
        self.member = member
        self.instance: Instance = member.instance
        self.started_at = now
        self.is_done = False
        self._answer: bool | None = None
        member.begin(self, now)

    def answered(self, now: float, *, ok: bool = True) -> None:
        """Note the response's head; `ok` is false when it is itself a failure (a 503, say).

        Its time counts as the instance's latency if `ok`. Only the first call counts.
        """
        if self._answer is None and not self.is_done:
            self._answer = ok
            self.member.answer(self, now, ok=ok)

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
        self.is_done = True
        member = self.member
        member.in_flight -= 1
        if self._answer is False:
            member.failures += 1
            return
        if self._answer is None:
            if outcome == "success":
                member.answer(self, now, ok=True)
            else:
                member.abandon(self, now, failed=outcome == "failure")
        elif outcome == "failure":
            member.break_off(now)
        if outcome == "success":
            member.successes += 1
        elif outcome == "failure":
            member.failures += 1
        else:
            member.cancelled += 1
