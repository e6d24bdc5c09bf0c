"""How an embedded registry is to behave."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from trimtab.errors import ConfigurationError

__all__ = ["Settings"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All that may be set, with what it is otherwise.

    Attributes:
        data_dir: the directory for the state; None keeps it in memory only.
        token: what clients must show; None asks for nothing.
        enable_script_checks: let clients register commands that this machine then runs.
            Whoever may register can then do anything that the registry's user can.
        node_name: the name of the registry's own node, under which instances are listed.
        node_address: the node's address, which stands for that of instances without one.
        datacenter: the one datacenter there is; a query for another is refused.
        max_body_bytes: the largest request body taken; more is refused with 413.
        max_waiting: how many blocking queries may wait at once; more are refused with 429.
    """

    data_dir: str | Path | None = None
    token: str | None = None
    enable_script_checks: bool = False
    node_name: str = "trimtab"
    node_address: str = "127.0.0.1"
    datacenter: str = "dc1"
    max_body_bytes: int = 1 << 20
    max_waiting: int = 10_000

    def __post_init__(self) -> None:
        if self.token is not None and not self.token:
            raise ConfigurationError("registry token is empty; leave it out to ask for none")
        for name in ("node_name", "node_address", "datacenter"):
            if not getattr(self, name):
                raise ConfigurationError(f"registry {name} is empty; give it a name")
        for name in ("max_body_bytes", "max_waiting"):
            if getattr(self, name) < 1:
                raise ConfigurationError(f"registry {name} is {getattr(self, name)}; at least 1")

    @property
    def directory(self) -> Path | None:
        """The data directory as a path."""
        return None if self.data_dir is None else Path(self.data_dir)
