"""What a subset is: the few instances of a large fleet that one client talks to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from trimtab.instance import Instance

__all__ = ["Subset"]

Subset: TypeAlias = Callable[[Sequence["Instance"]], Sequence["Instance"]]
"""Chooses from all instances, well or not, in the registry's order. Called when the list changes;
the same list must give the same choice."""
