"""The SDK's own settings in a scenario: taken verbatim, and checked by the SDK's own classes.

`[discovery]` holds the fields of DiscoverySettings; `[balancer]` the arguments of the transport:
`strategy`, and one table per settings class (`[balancer.retry]` for RetryPolicy).
"""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any

from trimtab.discovery.settings import DiscoverySettings
from trimtab.errors import ConfigurationError
from trimtab.retry import RetryPolicy
from trimtab.strategies import resolve
from trimtab_sim.scenario.complaints import Complaint, suggest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["balancer_arguments", "check_balancer", "check_discovery", "check_strategy"]

_TABLES: dict[str, type[Any]] = {"retry": RetryPolicy}


def balancer_arguments(table: Mapping[str, Any]) -> dict[str, Any]:
    """Turn a checked `[balancer]` table into arguments: settings classes instead of tables."""
    return {
        name: _TABLES[name](**value) if name in _TABLES else value for name, value in table.items()
    }


def check_discovery(table: Mapping[str, Any]) -> Iterator[Complaint]:
    """Complain of what DiscoverySettings does not take."""
    yield from _check(DiscoverySettings, table, ("discovery",))


def check_balancer(table: Mapping[str, Any]) -> Iterator[Complaint]:
    """Complain of what the transport does not take."""
    for name, value in table.items():
        steps = ("balancer", name)
        if name == "strategy":
            yield from check_strategy(value, steps)
        elif name not in _TABLES:
            message = f"the balancer has no such setting; {suggest(name, ('strategy', *_TABLES))}"
            yield Complaint(steps, message)
        elif isinstance(value, dict):
            yield from _check(_TABLES[name], value, steps)
        else:
            yield Complaint(steps, f"{value!r} is wrong here; write a table [balancer.{name}]")


def check_strategy(name: Any, steps: tuple[str | int, ...]) -> Iterator[Complaint]:
    """Complain of a strategy that nobody knows."""
    try:
        resolve(name)
    except ConfigurationError as error:
        yield Complaint(steps, str(error))


def _check(
    kind: type[Any], table: Mapping[str, Any], steps: tuple[str, ...]
) -> Iterator[Complaint]:
    known = [field.name for field in fields(kind)]
    unknown = [name for name in table if name not in known]
    for name in unknown:
        message = f"{kind.__name__} has no such setting; {suggest(name, known)}"
        yield Complaint((*steps, name), message)
    if unknown:
        return
    try:
        kind(**table)
    except ConfigurationError as error:
        name = str(error).split(" ", 1)[0]
        yield Complaint((*steps, name) if name in table else steps, str(error))
    except TypeError:
        wrong = ", ".join(f"{name} = {value!r}" for name, value in table.items())
        yield Complaint(steps, f"a setting is of the wrong kind among {wrong}; see {kind.__name__}")
