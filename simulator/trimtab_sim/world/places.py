"""What faults act on: places, sides of places, and attributes overridden for a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trimtab_sim.errors import ScenarioError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Overlaid", "Place", "Side"]


class Place:
    """One end of the network: a client, a server or the registry.

    Attributes:
        kind: "client", "server" or "registry".
        index: counted from 0 in the order of their start.
        group: the clients' group; "" otherwise.
        zone: the failure domain, or "".
        messages: the number exchanged with the registry; the count keys their random draws.
    """

    __slots__ = ("group", "index", "kind", "messages", "zone")

    def __init__(self, kind: str, index: int = 0, *, group: str = "", zone: str = "") -> None:
        self.kind = kind
        self.index = index
        self.group = group
        self.zone = zone
        self.messages = 0

    def __repr__(self) -> str:
        return f"{self.kind}:{self.index}"


class Side:
    """A set of places as a scenario writes it.

    `clients`, `servers`, `registry`, `client:3`, `server:0`, `clients:web`, `zone:a`.

    Raises:
        ScenarioError: the text names no side.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        kind, _, name = text.partition(":")
        self._kind, self._name = kind, name
        known = {
            "zone": bool(name),
            "clients": True,
            "servers": not name,
            "registry": not name,
            "client": name.isdecimal(),
            "server": name.isdecimal(),
        }
        if not known.get(kind):
            raise ScenarioError(
                f"{text!r} is not a side; write clients, servers, registry, client:3, server:0, "
                "clients:GROUP or zone:NAME"
            )

    def holds(self, place: Place) -> bool:
        """Return whether a place is on this side."""
        if self._kind == "zone":
            return place.zone == self._name
        if self._kind in {"client", "server"}:
            return place.kind == self._kind and place.index == int(self._name)
        if self._kind == "registry":
            return place.kind == "registry"
        return f"{place.kind}s" == self._kind and self._name in {"", place.group}


class Overlaid:
    """Base of what faults change: attributes with a stack of overrides, of which the latest counts.

    When the last override is removed, the attribute is exactly what it was before the first.
    """

    _layers: dict[str, list[list[Any]]]

    def override(self, name: str, value: Any) -> Callable[[], None]:
        """Override an attribute; return a function that removes the override."""
        # Each layer is a list of its own, so that equal values are distinct.
        layers = self.__dict__.setdefault("_layers", {}).setdefault(name, [[getattr(self, name)]])
        layer = [value]
        layers.append(layer)
        self._set_latest(name)

        def remove() -> None:
            layers[:] = [other for other in layers if other is not layer]
            self._set_latest(name)

        return remove

    def attribute_changed(self) -> None:
        """React to a changed attribute; subclasses may override this."""

    def _set_latest(self, name: str) -> None:
        setattr(self, name, self._layers[name][-1][0])
        self.attribute_changed()
