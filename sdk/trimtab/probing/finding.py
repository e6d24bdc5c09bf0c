"""What a probe finds, and the bound on the time that it may take."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple

from trimtab.instance import Status

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

__all__ = ["Finding", "bounded"]


class Finding(NamedTuple):
    """What a probe found: passing, warning or critical, and a text for people."""

    status: Status
    output: str

    @property
    def ok(self) -> bool:
        """Whether the instance may take traffic: a warning one may."""
        return self.status is not Status.CRITICAL


async def bounded(
    look: Callable[[], Awaitable[Finding]], *, what: str, timeout_s: float
) -> Finding:
    """Wait for a look; whatever hinders it, the instance is critical. Never raises.

    `what` names the kind of probe in the text.
    """
    try:
        async with asyncio.timeout(timeout_s):
            return await look()
    except TimeoutError:
        return Finding(Status.CRITICAL, f"{what} check timed out after {timeout_s:g} s")
    except Exception as error:  # noqa: BLE001 - see above
        return Finding(Status.CRITICAL, f"{type(error).__name__}: {error}")
