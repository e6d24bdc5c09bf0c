"""Subsets: the few instances of a large fleet that one client talks to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeAlias

from trimtab.health import Reason

if TYPE_CHECKING:
    from collections.abc import Container, Iterable

    from trimtab.instance import Instance
    from trimtab.member import Member

__all__ = ["Subset", "chosen", "narrow"]

Subset: TypeAlias = Callable[[Sequence["Instance"]], Sequence["Instance"]]
"""Chooses from all instances, well or not, in the registry's order. Called when the list changes;
the same list must give the same choice."""


def chosen(members: Iterable[Member], subset: Subset | None) -> dict[str, float] | None:
    """Return the ids that a subset chooses, with the weights that it gives them; None without one.

    Of all, whether they are well or not: one that falls ill must not deal out all anew.
    """
    if subset is None:
        return None
    everyone = [member.instance for member in members]
    return {instance.id: instance.weight for instance in subset(everyone)}


def narrow(well: list[Member], inside: Container[str], reasons: dict[str, Reason]) -> list[Member]:
    """Keep to those inside, with a reason against the others; to all, if none inside is well."""
    within = [member for member in well if member.id in inside]
    if not within:
        return well
    for member in well:
        if member.id not in inside:
            reasons[member.id] = Reason.OUTSIDE_SUBSET
    return within
