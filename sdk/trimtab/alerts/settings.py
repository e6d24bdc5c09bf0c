"""What is told to people, and how often, as one frozen value."""

from __future__ import annotations

from dataclasses import dataclass

from trimtab.errors import ConfigurationError

__all__ = ["AlertSettings"]


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertSettings:
    """How events become messages.

    Attributes:
        quiet_s: everything that happens within so long of the first event goes into one message,
            0 or more.
        min_interval_s: at least so long lies between two messages about a service, 0 or more; what
            happens meanwhile is summed up in the second.
        removals: whether an instance that leaves its registry is a fault. It is where the dead are
            taken off the list (etcd, ZooKeeper), and is not where they are called critical.
        max_lines: how many lines a message has; what is left out is counted.
        flaps: an instance that turned so often since the last message is called flapping.

    Raises:
        ConfigurationError: a value is out of range; the message names it.
    """

    quiet_s: float = 5.0
    min_interval_s: float = 60.0
    removals: bool = False
    max_lines: int = 20
    flaps: int = 4

    def __post_init__(self) -> None:
        for name, least in (("quiet_s", 0), ("min_interval_s", 0), ("max_lines", 1), ("flaps", 2)):
            # Written so that a NaN fails.
            if not least <= getattr(self, name) < float("inf"):
                raise ConfigurationError(
                    f"{name} is {getattr(self, name)!r}; it must be {least} or more and finite"
                )
