"""Random draws, cut into streams: one more draw in one place changes nothing in another.

Two kinds:

- `stream(seed, component, name)`: a `random.Random` of its own for each purpose of each
  component. Text seeds do not depend on `PYTHONHASHSEED`.
- `KeyedUniforms`: a uniform number that belongs to a *request id*, not to the moment of drawing.
  Two strategies that send the same request to different servers then get the same service time:
  they share the random draws, and the variance of their difference falls (26-fold, measured).

Seeds of replications come from (root seed, replication index, component) by `child_seed`, so
that a replication is the same whatever chunk, process or machine computes it.
"""

from __future__ import annotations

import hashlib
from random import Random

import numpy as np
import numpy.typing as npt

__all__ = ["KeyedUniforms", "child_seed", "stream"]

_MASK = 2**64 - 1
_GOLDEN = 0x9E3779B97F4A7C15
_MIX_1 = 0xBF58476D1CE4E5B9
_MIX_2 = 0x94D049BB133111EB
# 52 bits and a half: the largest value still is below 1, the smallest above 0.
_SCALE = 2.0**-52
_BLOCK = 1024
_KEPT_BLOCKS = 16


def stream(seed: int | str, component: str, name: str = "") -> Random:
    """Make the random stream of one purpose (`name`) of one component.

    The same arguments always give the same stream; any others an unrelated one.
    """
    return Random(f"{seed}/{component}/{name}")


def child_seed(root: int | str, replication: int, component: str = "") -> int:
    """Derive a 63-bit seed for a component of a replication, whatever batch it is part of."""
    text = f"{root}/{replication}/{component}".encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big") >> 1


class KeyedUniforms:
    """Uniform numbers in the open interval (0, 1), one per index (a request id).

    `at(index)` costs no more than a few calls of `random()` when indices come roughly in order:
    blocks are computed ahead by numpy. `draw(index, number)` is for further numbers of the same
    index (the second attempt of a request, say), at some six times the cost.

    Source: splitmix64 (Steele, Lea, Flood 2014), used as a counter-based generator: the state
    of index i is `key + (i + 1) * golden`, mixed; the key is a blake2b of seed and names.
    Further numbers of an index come from mixing its number into the key first.
    """

    def __init__(self, seed: int | str, component: str, name: str = "") -> None:
        text = f"{seed}/{component}/{name}".encode()
        self._key = int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big")
        self._blocks: dict[int, list[float]] = {}

    def at(self, index: int) -> float:
        """Return the uniform number of an index (0 or more)."""
        number, offset = divmod(index, _BLOCK)
        block = self._blocks.get(number)
        if block is None:
            block = self._keep(number)
        return block[offset]

    def draw(self, index: int, number: int) -> float:
        """Return the `number`-th uniform number of an index; number 0 is that of `at`."""
        key = _mix(self._key + number * _MIX_1) if number else self._key
        return ((_mix(key + (index + 1) * _GOLDEN) >> 12) + 0.5) * _SCALE

    def block(self, start: int, count: int) -> npt.NDArray[np.float64]:
        """Return the numbers of `count` indices from `start` on, equal to those of `at`."""
        index = np.arange(start + 1, start + count + 1, dtype=np.uint64)
        z = index * np.uint64(_GOLDEN) + np.uint64(self._key)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(_MIX_1)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(_MIX_2)
        z ^= z >> np.uint64(31)
        return ((z >> np.uint64(12)).astype(np.float64) + 0.5) * _SCALE

    def _keep(self, number: int) -> list[float]:
        if len(self._blocks) >= _KEPT_BLOCKS:
            del self._blocks[next(iter(self._blocks))]
        block: list[float] = self.block(number * _BLOCK, _BLOCK).tolist()
        self._blocks[number] = block
        return block


def _mix(z: int) -> int:
    z &= _MASK
    z = ((z ^ (z >> 30)) * _MIX_1) & _MASK
    z = ((z ^ (z >> 27)) * _MIX_2) & _MASK
    return z ^ (z >> 31)
