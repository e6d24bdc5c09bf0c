"""How a registry spells the name of a service: names compare as the hosts of URLs do.

A URL's host has no capitals, and may end in a dot. So a service that is registered as
`Billing_API` is called as `billing_api`, and most registries tell the two apart. Where the registry
lists nothing under a name, it is asked for its names, and the one that differs by case only is
used. Once a name has had instances, it stays.
"""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING

from trimtab.registries.entries import check_case, plain_name

if TYPE_CHECKING:
    from trimtab.registries import Listing, Registry

__all__ = ["Names", "Spelling"]

_ASK_EVERY_S = 5.0
_ANSWER_WITHIN_S = 3.0


class Names:
    """The names of all services of a registry, asked for once for all who look for one.

    Args:
        registry: the registry.
    """

    def __init__(self, registry: Registry) -> None:
        self.registry = registry
        self._known: list[str] = []
        self._asked_at = -math.inf
        self._turn = asyncio.Lock()

    async def since(self, moment: float) -> list[str]:
        """Return the names as they were at a moment of the loop's clock, or later.

        A registry that does not name its services has none.
        """
        async with self._turn:
            if self._asked_at < moment:
                asked_at = asyncio.get_running_loop().time()
                try:
                    async with asyncio.timeout(_ANSWER_WITHIN_S):
                        self._known = await self.registry.services()
                except Exception:  # noqa: BLE001 - the list of the service counts without them, too
                    self._known = []
                self._asked_at = asked_at
            return self._known


class Spelling:
    """The name of one service as its registry spells it.

    Args:
        names: those of its registry.
        service: the name as it is called.

    Attributes:
        name: how the registry spells it, as far as is known.
    """

    def __init__(self, names: Names, service: str) -> None:
        self.name = service.removesuffix(".") or service
        self._names = names
        self._service = service
        self._is_sure = False
        self._asked_at = -math.inf

    def is_proven_by(self, listing: Listing) -> bool:
        """Say whether the name is known to be right, after this answer about it."""
        self._is_sure = self._is_sure or bool(listing.instances or listing.skipped)
        return self._is_sure

    async def has_changed(self) -> bool:
        """Ask the registry for another spelling; say whether there is one, which is `name` then.

        Asks no more often than every 5 s.

        Raises:
            RegistryRequestError: several names differ by case only.
        """
        now = asyncio.get_running_loop().time()
        if self._is_sure or now < self._asked_at + _ASK_EVERY_S:
            return False
        self._asked_at = now
        names = await self._names.since(now - _ASK_EVERY_S)
        check_case(self._names.registry.url, self._service, names)
        wanted = plain_name(self._service)
        found = [name for name in names if plain_name(name) == wanted]
        before, self.name = self.name, found[0] if found else self.name
        return self.name != before
