"""What differs between two lists of instances."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Literal

from trimtab.instance import Instance

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Change", "changes"]

_MARKS = {"added": "+", "removed": "-", "changed": "~"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One instance that came, went, or is not what it was.

    Attributes:
        instance: as it is now; as it was last, if it was removed.
        before: as it was, if it changed.
    """

    kind: Literal["added", "removed", "changed"]
    instance: Instance
    before: Instance | None = None

    def __str__(self) -> str:
        mark, each = _MARKS[self.kind], self.instance
        if self.before is not None:
            return f"{mark} {each.id}  {', '.join(_differences(self.before, each))}"
        if self.kind == "removed":
            return f"{mark} {each.id}  {each.address}"
        zone = f" zone={each.zone}" if each.zone else ""
        return f"{mark} {each.id}  {each.address} {each.status.value} weight={each.weight:g}{zone}"


def changes(before: Iterable[Instance], after: Iterable[Instance]) -> list[Change]:
    """List the changes from one list to the next: removed, then added, then changed ones."""
    old, new = {each.id: each for each in before}, {each.id: each for each in after}
    return [
        *(Change(kind="removed", instance=old[id_]) for id_ in old if id_ not in new),
        *(Change(kind="added", instance=new[id_]) for id_ in new if id_ not in old),
        *(
            Change(kind="changed", instance=new[id_], before=old[id_])
            for id_ in new
            if id_ in old and new[id_] != old[id_]
        ),
    ]


def _differences(before: Instance, after: Instance) -> Iterable[str]:
    for field in fields(Instance):
        old, new = getattr(before, field.name), getattr(after, field.name)
        if old != new:
            yield f"{field.name}: {_shown(old)} -> {_shown(new)}"


def _shown(value: object) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    return str(dict(value)) if isinstance(value, Mapping) else str(value)
