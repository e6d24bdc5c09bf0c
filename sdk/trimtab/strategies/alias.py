"""Weighted drawing in O(1): the alias method.

Source: M. D. Vose, "A Linear Algorithm for Generating Random Numbers with a Given Distribution",
IEEE Transactions on Software Engineering 17(9), 1991.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from random import Random

__all__ = ["AliasTable"]


class AliasTable:
    """Draws index i with a chance proportional to `weights[i]`.

    Each column keeps a share of its own and lends the rest to one alias. Built in O(n); a draw
    takes one random number: its whole part names the column, its fraction decides who of the two.

    Args:
        weights: positive and finite, at least one.
    """

    __slots__ = ("_alias", "_keep", "_size")

    def __init__(self, weights: Sequence[float]) -> None:
        size = self._size = len(weights)
        # Divided by the largest first, so that the sum of huge weights stays finite.
        top = max(weights)
        scaled = [weight / top for weight in weights]
        mean = sum(scaled) / size
        share = [weight / mean for weight in scaled]
        self._keep = [1.0] * size
        self._alias = list(range(size))
        small = [i for i in range(size) if share[i] < 1.0]
        large = [i for i in range(size) if share[i] >= 1.0]
        while small and large:
            poor, rich = small.pop(), large[-1]
            self._keep[poor], self._alias[poor] = share[poor], rich
            share[rich] -= 1.0 - share[poor]
            if share[rich] < 1.0:
                small.append(large.pop())

    def draw(self, rng: Random) -> int:
        """Return an index."""
        point = rng.random() * self._size
        column = int(point)
        return column if point - column < self._keep[column] else self._alias[column]
