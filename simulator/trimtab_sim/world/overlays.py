"""Attributes that faults change for a time, however many of them overlap."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Overlaid"]


class Overlaid:
    """Something that faults lie over: of several in force on one attribute the latest counts.

    When the last one is lifted, the attribute is exactly what it was before the first.
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
        setattr(self, name, self._layers[name][-1][0])
        self.look_again()
