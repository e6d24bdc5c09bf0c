"""A message to people."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["Alert"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """What has happened to one service since the last message about it.

    Attributes:
        service: its name.
        kind: `fault`: something is newly wrong; `recovery`: nothing is any more; `notice`: neither.
        title: in one line.
        lines: what happened, one line per instance (or other thing that something happened to).
        events: how many events these lines sum up.
    """

    service: str
    kind: Literal["fault", "recovery", "notice"]
    title: str
    lines: tuple[str, ...]
    events: int

    @property
    def body(self) -> str:
        """The lines as one text."""
        return "\n".join(self.lines)
