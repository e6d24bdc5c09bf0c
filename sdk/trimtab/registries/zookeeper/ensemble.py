"""An ensemble, asked: every question bounded, and asked again when the connection breaks.

The election of a leader cuts all clients off for half a second or so, those of the followers
too. That passes unnoticed: a question waits, within its bound, until it is connected. What lasts
longer is told.
"""

from __future__ import annotations

import contextlib
import struct
from typing import TYPE_CHECKING, TypeVar, cast

from kazoo.exceptions import KazooException

from trimtab.errors import RegistryError, RegistryUnavailableError
from trimtab.registries.zookeeper.patience import while_answered
from trimtab.registries.zookeeper.sessions import SessionsPerLoop
from trimtab.registries.zookeeper.troubles import INTERRUPTIONS, in_our_words

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from contextlib import AbstractContextManager

    from trimtab.registries.zookeeper.client import ClientSettings
    from trimtab.registries.zookeeper.session import Session
    from trimtab.registries.zookeeper.sessions import Alarm

__all__ = ["Ensemble"]

T = TypeVar("T")

# What kazoo raises on an answer that it cannot read.
_UNREADABLE = (UnicodeDecodeError, struct.error, IndexError)


class Ensemble:
    """Answer questions over the sessions of the running loop.

    Args:
        place: how messages name the ensemble.
        settings: how to connect.
        session_s: the timeout of the session to read with.
        timeout_s: how long ZooKeeper may be silent while a question waits.
    """

    def __init__(
        self, place: str, settings: ClientSettings, *, session_s: float, timeout_s: float
    ) -> None:
        self._place = place
        self._sessions = SessionsPerLoop(place, settings)
        self._session_s, self._timeout_s = session_s, timeout_s

    async def ask(
        self,
        what: str,
        question: Callable[[Session], Awaitable[T]],
        *,
        session_s: float | None = None,
    ) -> T:
        """Put a question to a connected session: the one to read with, or that of a lease.

        The question may be put more than once.

        Raises:
            RegistryError: see `trimtab.registries.protocol`; the message begins with `what`.
            ClosedError: after `aclose`.
        """
        place, session = f"{self._place}: {what}", cast("Session | None", None)
        try:
            async with while_answered(
                self._timeout_s, lambda: session.answered_at if session else 0.0
            ):
                while True:
                    session = self._sessions.here().of(session_s or self._session_s)
                    with contextlib.suppress(*INTERRUPTIONS):
                        await session.ready()
                        return await question(session)
        except TimeoutError:
            trouble = session.trouble if session else ""
            raise RegistryUnavailableError(
                f"{place}: no answer within {self._timeout_s:g} s"
                + (f" (not connected: {trouble})" if trouble else "")
            ) from None
        except (KazooException, RegistryError, *_UNREADABLE) as error:
            raise in_our_words(place, error) from error

    def alarm(self, path: str) -> AbstractContextManager[Alarm]:
        """Have changes of a node and its children told; see `Sessions.alarm`."""
        return self._sessions.here().alarm(path)

    async def aclose(self) -> None:
        """End the sessions of this loop."""
        await self._sessions.aclose()
