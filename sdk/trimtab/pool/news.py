"""What changed in a pool, told as events."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trimtab.events import InstanceChanged, ServiceChanged
from trimtab.health import Reason

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from trimtab.events import InstanceChange, Listener
    from trimtab.member import Member

__all__ = ["News"]

_TURNS: dict[Reason, tuple[InstanceChange, InstanceChange]] = {
    Reason.EJECTED: ("ejected", "returned"),
    Reason.PROBE_FAILED: ("probe_failed", "probe_passed"),
}


class News:
    """Compares what this client holds against members with what it held before.

    Args:
        service: the service's name.
        listener: told of every change.
        why: tells more about a member's reason.
    """

    def __init__(self, service: str, listener: Listener, why: Callable[[str], str]) -> None:
        self._service = service
        self._listener = listener
        self._why = why
        self._held: Mapping[str, Reason] = {}
        self._was_unavailable = self._was_panicking = False

    def instances(
        self, members: Mapping[str, Member], held: Mapping[str, Reason], at: float
    ) -> None:
        """Tell of members that are ejected, or failed by a probe, and of those that are back."""
        for id_, member in members.items():
            before, after = self._held.get(id_), held.get(id_)
            if before is not after:
                self._turn(member, before, back=True, at=at)
                self._turn(member, after, back=False, at=at)
        self._held = held

    def service(self, *, eligible: int, total: int, is_panicking: bool, at: float) -> None:
        """Tell when nobody is left to pick, when all are used for want of better, and the ends."""
        is_unavailable = total > 0 and not eligible
        for was, is_, kinds in (
            (self._was_unavailable, is_unavailable, ("recovered", "unavailable")),
            (self._was_panicking, is_panicking, ("panic_ended", "panic_began")),
        ):
            if was != is_:
                self._listener(
                    ServiceChanged(
                        service=self._service,
                        kind=kinds[is_],  # type: ignore[arg-type] # one of the two
                        eligible=eligible,
                        total=total,
                        at=at,
                    )
                )
        self._was_unavailable, self._was_panicking = is_unavailable, is_panicking

    def _turn(self, member: Member, reason: Reason | None, *, back: bool, at: float) -> None:
        if reason not in _TURNS:
            return
        words = (str(reason), "eligible") if back else ("eligible", str(reason))
        self._listener(
            InstanceChanged(
                service=self._service,
                instance=member.instance,
                kind=_TURNS[reason][back],
                before=words[0],
                after=words[1],
                reason="" if back else self._why(member.id),
                at=at,
            )
        )
