"""Attributes that faults change for a time, however many of them overlap."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Overlaid"]

_PRODUCTS = frozenset({"factor"})


class Overlaid:
    """Something that faults lie over: of several in force on one attribute the latest counts.

    Factors are multiplied. When the last fault is lifted, the attribute is exactly what it was.
    """

    _layers: dict[str, list[list[Any]]]

    def lay(self, name: str, value: Any) -> Callable[[], None]:
        """Lay a value over an attribute; return how to lift it, once."""
        # Each layer is a list of its own, so that equal ones are told apart.
        layers = self.__dict__.setdefault("_layers", {}).setdefault(name, [[getattr(self, name)]])
        layer = [value]
        layers.append(layer)
        self._settle(name)

        def lift() -> None:
            layers[:] = [other for other in layers if other is not layer]
            self._settle(name)

        return lift

    def look_again(self) -> None:
        """Take note that a layer was laid or lifted."""

    def _settle(self, name: str) -> None:
        values = [layer[0] for layer in self._layers[name]]
        setattr(self, name, math.prod(values) if name in _PRODUCTS else values[-1])
        self.look_again()
