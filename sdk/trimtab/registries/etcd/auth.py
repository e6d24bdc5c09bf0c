"""The token that etcd gives for user and password, renewed when it has lapsed."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

__all__ = ["Tokens"]


class Tokens:
    """Keep one token for all questions, and ask for another one at a time.

    Passwords are slow to check by design: a thousand watches whose token has lapsed must not ask
    for a thousand new ones.

    Args:
        authenticate: asks for a token; "" while etcd has authentication turned off.
    """

    def __init__(self, authenticate: Callable[[], Awaitable[str]]) -> None:
        self._authenticate = authenticate
        self._token: str | None = None
        self._locks: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = (
            WeakKeyDictionary()
        )

    async def get(self, *, instead_of: str | None = None) -> str:
        """Give the token; a new one if it is still the one that etcd has just refused.

        Raises:
            RegistryError: none can be had.
        """
        async with self._locks.setdefault(asyncio.get_running_loop(), asyncio.Lock()):
            if self._token is None or self._token == instead_of:
                self._token = await self._authenticate()
            return self._token
