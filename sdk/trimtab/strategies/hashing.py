"""Where names fall: XXH64 of keys and addresses, the same in every process and language."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from xxhash import xxh64_intdigest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trimtab.member import Member

__all__ = ["hash_keys", "hash_of"]


def hash_of(text: str, seed: int = 0) -> int:
    """Return the XXH64 of the text in UTF-8: 0 to 2**64 - 1."""
    return xxh64_intdigest(text.encode("utf-8", "surrogatepass"), seed)


def hash_keys(members: Sequence[Member]) -> list[str]:
    """Return what stands for each member in a hash table: its address, as Envoy has it.

    Members that share an address are told apart by their ids; hashed alike, one of them would
    get nothing.
    """
    addresses = [member.instance.address for member in members]
    times = Counter(addresses)
    if len(times) == len(addresses):
        return addresses
    return [
        address if times[address] == 1 else f"{address} {member.id}"
        for address, member in zip(addresses, members, strict=True)
    ]
