"""Subsets: which few instances of a large fleet one client talks to.

With a thousand instances and a thousand clients there would be a million connections, and one
poisonous client would reach all instances. A subset is a value that is called with the instances,
and returns some of them in the same order:

| | clients must know | load of the instances | when one instance comes or goes |
|---|---|---|---|
| `DeterministicSubset` | their number, from 0 | even, to within one client | many change |
| `RandomSubset` | nothing | even for many clients only | each client changes one at most |
| `DeterministicAperture` | number, and how many they are | exactly even | most change a little |

Pass it as `subset` to a pool or a transport. Choose the size so that a client never has too few:
with 20 instances of which 10 % fail, all of a subset fail in one of 10**20 cases.
"""

from __future__ import annotations

from trimtab.subsetting.subsets import DeterministicAperture, DeterministicSubset, RandomSubset

__all__ = ["DeterministicAperture", "DeterministicSubset", "RandomSubset"]
