"""The network: how long a message takes, and whether it arrives."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trimtab_sim.laws import Constant
from trimtab_sim.streams import KeyedUniforms
from trimtab_sim.world.places import Side

if TYPE_CHECKING:
    from trimtab_sim.laws import Law, Sampler
    from trimtab_sim.scenario.content import Network as Content
    from trimtab_sim.world.places import Place

__all__ = ["Network", "Partition"]


class Partition:
    """Messages from one side to another vanish while it lasts."""

    def __init__(self, from_: str, to: str, *, both_ways: bool) -> None:
        self._from = Side(from_)
        self._to = Side(to)
        self._both_ways = both_ways

    def cuts(self, source: Place, target: Place) -> bool:
        """Say whether messages from `source` to `target` vanish."""
        if self._from.holds(source) and self._to.holds(target):
            return True
        return self._both_ways and self._from.holds(target) and self._to.holds(source)


class _Way:
    """From one zone to another: its law, worked out."""

    __slots__ = ("constant_s", "loss", "sampler")

    def __init__(self, law: Law, loss: float) -> None:
        self.constant_s = float(law.mean) if isinstance(law, Constant) else None
        self.sampler: Sampler = law.sampler()
        self.loss = loss


class Network:
    """Latencies and losses by zone, and what is cut.

    The chance of a message is keyed by its request and its place in it, so that strategies meet
    the same luck.

    Attributes:
        partitions: those in force.
        is_ideal: whether every message arrives at once; then nobody needs to ask.
    """

    def __init__(self, content: Content, seed: int | str) -> None:
        self._default = _Way(content.latency, content.loss)
        self._ways: dict[tuple[str, str], _Way] = {}
        for path in content.paths:
            way = _Way(path.latency, path.loss)
            self._ways[path.from_, path.to] = way
            self._ways.setdefault((path.to, path.from_), way)
        self._luck = KeyedUniforms(seed, "network", "latency")
        self._loss = KeyedUniforms(seed, "network", "loss")
        self.partitions: list[Partition] = []
        ways = (self._default, *self._ways.values())
        self._swift = all(way.constant_s == 0 and way.loss == 0 for way in ways)
        self.is_ideal = self._swift

    def cut(self, partition: Partition) -> None:
        """Put a partition in force."""
        self.partitions.append(partition)
        self.is_ideal = False

    def mend(self, partition: Partition) -> None:
        """Lift a partition."""
        self.partitions.remove(partition)
        self.is_ideal = self._swift and not self.partitions

    def delay(self, source: Place, target: Place, request: int, number: int) -> float | None:
        """Return how long a message takes in seconds; None if it never arrives.

        `request` and `number` name the message: the request's id, and its place within it.
        """
        if any(partition.cuts(source, target) for partition in self.partitions):
            return None
        way = self._ways.get((source.zone, target.zone), self._default)
        if way.loss and self._loss.draw(request, number) < way.loss:
            return None
        if way.constant_s is not None:
            return way.constant_s
        return way.sampler(self._luck.draw(request, number))

    def cuts(self, source: Place, target: Place) -> bool:
        """Say whether a partition lies between two places."""
        return any(partition.cuts(source, target) for partition in self.partitions)
