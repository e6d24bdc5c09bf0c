"""Options that several commands share, and what their values may be."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path  # noqa: TC003 - the annotations are read at run time
from typing import Annotated, Any

from cyclopts import Parameter

__all__ = ["DEFAULT", "LOCAL", "Configured", "Json", "Positive", "Seconds", "Source", "Strategy"]

_DEFAULT_REGISTRY = "consul://127.0.0.1:8500"


def _above_zero(_: Any, value: float | None) -> None:
    # Written so that a NaN fails.
    if value is not None and not 0 < value < math.inf:
        raise ValueError("It must be above 0 and finite.")


def _at_least_one(_: Any, value: int) -> None:
    if value < 1:
        raise ValueError("It must be 1 or more.")


Json = Annotated[bool, Parameter(name="--json")]
Positive = Annotated[int, Parameter(validator=_at_least_one)]
Seconds = Annotated[float, Parameter(validator=_above_zero)]
Strategy = Annotated[str, Parameter(env_var="TRIMTAB_STRATEGY")]


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Configured:
    """What every command takes.

    Attributes:
        config: A TOML file with settings; ./trimtab.toml is read if it is there.
    """

    config: Annotated[Path | None, Parameter(env_var="TRIMTAB_CONFIG")] = None


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Source(Configured):
    """What every command takes that talks to a registry.

    Attributes:
        registry: The registry's URL: consul://, etcd://, zk://, dns+srv://, dns+a://, eureka://,
            nacos://, kubernetes://, http(s)://, file:// or static://.
    """

    registry: Annotated[str, Parameter(env_var="TRIMTAB_REGISTRY")] = _DEFAULT_REGISTRY


DEFAULT = Configured()
LOCAL = Source()
