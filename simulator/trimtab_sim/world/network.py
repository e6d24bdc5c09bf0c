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
    """While it lasts, messages from one side to another are lost."""

    def __init__(self, from_: str, to: str, *, both_ways: bool) -> None:
        self._from = Side(from_)
        self._to = Side(to)
        self._both_ways = both_ways

    def cuts(self, source: Place, target: Place) -> bool:
        """Return whether messages from `source` to `target` are lost."""
        if self._from.holds(source) and self._to.holds(target):
            return True
        return self._both_ways and self._from.holds(target) and self._to.holds(source)


class _Link:
    """From one zone to another: latency and loss, precomputed."""

    __slots__ = ("constant_s", "loss", "sampler")

    def __init__(self, law: Law, loss: float) -> None:
        self.constant_s = float(law.mean) if isinstance(law, Constant) else None
        self.sampler: Sampler = law.sampler()
        self.loss = loss


class Network:
    """Latencies and losses by zone, and partitions.

    The random draws of a message are keyed by its request and its number in it, so that all
    strategies get the same draws.

    Attributes:
        partitions: those in force.
        is_ideal: whether every message arrives at once; callers then skip `delay`.
    """

    def __init__(self, content: Content, seed: int | str) -> None:
        self._default = _Link(content.latency, content.loss)
        self._links: dict[tuple[str, str], _Link] = {}
        for path in content.paths:
            link = _Link(path.latency, path.loss)
            self._links[path.from_, path.to] = link
            self._links.setdefault((path.to, path.from_), link)
        self._latency = KeyedUniforms(seed, "network", "latency")
        self._loss = KeyedUniforms(seed, "network", "loss")
        self.partitions: list[Partition] = []
        links = (self._default, *self._links.values())
        self._swift = all(link.constant_s == 0 and link.loss == 0 for link in links)
        self.is_ideal = self._swift

    def cut(self, partition: Partition) -> None:
        """Start a partition."""
        self.partitions.append(partition)
        self.is_ideal = False

    def mend(self, partition: Partition) -> None:
        """End a partition."""
        self.partitions.remove(partition)
        self.is_ideal = self._swift and not self.partitions

    def delay(self, source: Place, target: Place, request: int, number: int) -> float | None:
        """Return how long a message takes in seconds; None if it never arrives.

        `request` and `number` name the message: the request's id, and its number within it.
        """
        if any(partition.cuts(source, target) for partition in self.partitions):
            return None
        link = self._links.get((source.zone, target.zone), self._default)
        if link.loss and self._loss.draw(request, number) < link.loss:
            return None
        if link.constant_s is not None:
            return link.constant_s
        return link.sampler(self._latency.draw(request, number))

    def cuts(self, source: Place, target: Place) -> bool:
        """Return whether a partition lies between two places."""
        return any(partition.cuts(source, target) for partition in self.partitions)
