"""The deterministic aperture: clients and instances on one ring, each client before its part."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from trimtab.errors import ConfigurationError
from trimtab.strategies.hashing import hash_of
from trimtab.strategies.settings import require_whole

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trimtab.instance import Instance

__all__ = ["DeterministicAperture"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeterministicAperture:
    """Take what lies in this client's slice of a ring that all instances share evenly.

    n instances divide the ring into n equal parts, m clients into m. A client's slice begins at
    its part and is as many client parts wide as cover `size` instances. All slices together
    cover every instance equally often, so with the weights that it returns every instance gets
    exactly the same load: an instance at the edge of a slice, of which a share f lies within,
    comes with its weight times f.

    Source: Finagle's `DeterministicAperture` and `Ring`. Deviations: shares are computed in whole
    numbers, so they are exact; and an instance that both ends of a wide slice touch counts twice.

    Attributes:
        client_id: this client's number among its like, from 0 to `clients - 1`.
        clients: how many there are; all must agree.
        size: the least number of instances. Below 12, Finagle found, the fractions are not kept
            well, and a slice without a healthy instance is too likely.
        group: the clients' common name. Groups of different names begin at different places, so
            that the first clients of all do not meet at the same instances.

    Raises:
        ConfigurationError: a value is out of its range.
    """

    client_id: int
    clients: int
    size: int = 12
    group: str = ""

    def __post_init__(self) -> None:
        for name, least in (("client_id", 0), ("clients", 1), ("size", 1)):
            require_whole(f"DeterministicAperture: {name}", getattr(self, name), least)
        if self.client_id >= self.clients:
            raise ConfigurationError(
                f"DeterministicAperture: client_id is {self.client_id}, but there are "
                f"{self.clients} clients; number them from 0"
            )

    def __call__(self, instances: Sequence[Instance]) -> list[Instance]:
        """Return this client's instances, those at the edges with part of their weight. O(n)."""
        order = sorted((hash_of(each.address), each.id) for each in instances)
        shares = dict(zip((id_ for _, id_ in order), self.shares(len(order)), strict=True))
        return [
            each if shares[each.id] == 1 else each.with_(weight=each.weight * shares[each.id])
            for each in instances
            if shares[each.id]
        ]

    def shares(self, count: int) -> list[float]:
        """Return what share of each of `count` instances lies in this client's slice: 0 to 1.

        The whole ring is `clients * count` units long: a client has `count` of them, and an
        instance `clients`.
        """
        if count == 0:
            return []
        whole = self.clients * count
        # The fewest client parts that are as wide as `size` instances.
        parts = -(-min(self.size, count) * self.clients // count)
        begin = self.client_id * count + (hash_of(self.group) % whole if self.group else 0)
        begin %= whole
        end = begin + parts * count
        return [
            (
                _overlap(begin, end, place, place + self.clients)
                + _overlap(begin, end, place + whole, place + whole + self.clients)
            )
            / self.clients
            for place in range(0, whole, self.clients)
        ]


def _overlap(begin: int, end: int, other_begin: int, other_end: int) -> int:
    return max(min(end, other_end) - max(begin, other_begin), 0)
