"""What faults act on: places, sides of places, and attributes overridden for a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trimtab_sim.errors import ScenarioError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Overlaid", "Place", "Side"]


class Place:
    """One end of messages: a client, a server or the registry.

    Attributes:
        kind: "client", "server" or "registry".
        index: which, counted from 0 in order of appearance.
        group: the clients' group; "" otherwise.
        zone: the failure domain; "" when there are none.
        skew_s: how far its clock is ahead. Nothing here reads such a clock, and nothing in the
            SDK does: all intervals are measured on monotonic ones.
        messages: how many it has exchanged with the registry; numbers their luck.
    """

    __slots__ = ("group", "index", "kind", "messages", "skew_s", "zone")

    def __init__(self, kind: str, index: int = 0, *, group: str = "", zone: str = "") -> None:
        self.kind = kind
        self.index = index
        self.group = group
        self.zone = zone
        self.skew_s = 0.0
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
                f"{text!r} is no side; write clients, servers, registry, client:3, server:0, "
                "clients:GROUP or zone:NAME"
            )

    def holds(self, place: Place) -> bool:
        """Say whether a place is on this side."""
        if self._kind == "zone":
            return place.zone == self._name
        if self._kind in {"client", "server"}:
            return place.kind == self._kind and place.index == int(self._name)
        if self._kind == "registry":
            return place.kind == "registry"
        return f"{place.kind}s" == self._kind and self._name in {"", place.group}


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
