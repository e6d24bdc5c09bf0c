"""What is open for a block of code, asynchronous or not."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Self

from trimtab.background import background

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["Block"]


class Block(ABC):
    """Used with `async with` on the running loop, or with `with` on the background loop."""

    @abstractmethod
    async def start(self) -> None:
        """Begin."""

    @abstractmethod
    async def stop(self) -> None:
        """End. Again: nothing."""

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        trace: TracebackType | None = None,
    ) -> None:
        await self.stop()

    def __enter__(self) -> Self:
        background().run(self.start())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        trace: TracebackType | None = None,
    ) -> None:
        background().run(self.stop())
