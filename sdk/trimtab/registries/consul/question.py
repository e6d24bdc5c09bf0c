"""What is asked besides the service: how the list is read, and what is left out of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from trimtab.errors import ConfigurationError

__all__ = ["Consistency", "Question"]

Consistency = Literal["default", "stale", "consistent"]
_CONSISTENCIES = ("default", "stale", "consistent")


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """The parameters of every question of one registry; see `ConsulReader` for each.

    Raises:
        ConfigurationError: `consistency` is none of the three.
    """

    datacenter: str | None = None
    tags: tuple[str, ...] = ()
    near: str | None = None
    only_passing: bool = False
    filter_: str | None = None
    consistency: Consistency = "default"

    def __post_init__(self) -> None:
        if self.consistency not in _CONSISTENCIES:
            raise ConfigurationError(
                f"consul: consistency is {self.consistency!r}; "
                f"it must be one of {', '.join(_CONSISTENCIES)}"
            )

    @property
    def is_stale(self) -> bool:
        """Whether any server may answer, also one without a leader."""
        return self.consistency == "stale"

    def whole(self) -> list[tuple[str, str]]:
        """Give the parameters that leave nothing out."""
        mode = [] if self.consistency == "default" else [(self.consistency, "")]
        return mode + ([("dc", self.datacenter)] if self.datacenter else [])

    def sorted_(self) -> list[tuple[str, str]]:
        """Give those, and the node by whose distance to sort."""
        return self.whole() + ([("near", self.near)] if self.near else [])

    def narrowed(self) -> list[tuple[str, str]]:
        """Give all."""
        return [
            *self.whole(),
            *(("tag", tag) for tag in self.tags),
            *([("near", self.near)] if self.near else []),
            *([("filter", self.filter_)] if self.filter_ else []),
            *([("passing", "1")] if self.only_passing else []),
        ]
