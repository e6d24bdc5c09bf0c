"""The SDK's own settings in a scenario: taken verbatim, and checked by the SDK's own classes.

`[discovery]` holds the fields of DiscoverySettings; `[balancer]` the arguments of the transport:
`strategy`, `deadline_s`, and one table per settings class (`[balancer.retry]` for RetryPolicy),
which may hold others (`[balancer.health.slow_start]`). Outliers are a variant's name, or a table
with `variant` and the settings of that variant.
"""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any

from trimtab.check import Check
from trimtab.discovery.policies import check_deadline
from trimtab.discovery.settings import DiscoverySettings
from trimtab.errors import ConfigurationError
from trimtab.health import OUTLIER_VARIANTS, HealthSettings, SlowStart
from trimtab.health.probing import ProbeSettings
from trimtab.pool import LoadLimits
from trimtab.retry import HedgePolicy, RetryPolicy
from trimtab.strategies import resolve
from trimtab_sim.scenario.complaints import Complaint, suggest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

__all__ = ["balancer_arguments", "check_balancer", "check_discovery", "check_strategy"]

_TABLES: dict[str, type[Any]] = {
    "retry": RetryPolicy,
    "hedge": HedgePolicy,
    "health": HealthSettings,
    "load_limits": LoadLimits,
    "slow_start": SlowStart,
    "probe": ProbeSettings,
}
_OF_CHECKS = ("interval_s", "timeout_s", "rise", "fall")
_SETTINGS = ("strategy", "deadline_s", "retry", "hedge", "health", "load_limits", "probe")


def balancer_arguments(table: Mapping[str, Any]) -> dict[str, Any]:
    """Turn a checked `[balancer]` table into arguments: settings classes instead of tables."""
    return {name: _made(name, value) for name, value in table.items()}


def _made(name: str, value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    if name == "probe":
        return _probe(value)
    kind, fields_ = _kind(name, value)
    return kind(**{inner: _made(inner, each) for inner, each in fields_.items()})


def _probe(table: dict[str, Any]) -> ProbeSettings:
    """Make the settings of probes: the fields of a check stand beside those of its schedule."""
    of_check = {name: table[name] for name in _OF_CHECKS if name in table}
    check = Check.parse(table.get("check", "http:/"), **of_check)
    rest = {name: value for name, value in table.items() if name not in {"check", *_OF_CHECKS}}
    return ProbeSettings(check=check, **rest)


def _kind(name: str, table: dict[str, Any]) -> tuple[type[Any], dict[str, Any]]:
    if name != "outliers":
        return _TABLES[name], table
    rest = {inner: value for inner, value in table.items() if inner != "variant"}
    return OUTLIER_VARIANTS[table["variant"]], rest


def check_discovery(table: Mapping[str, Any]) -> Iterator[Complaint]:
    """Complain of what DiscoverySettings does not take."""
    yield from _check(DiscoverySettings, table, ("discovery",))


def check_balancer(table: Mapping[str, Any]) -> Iterator[Complaint]:
    """Complain of what the transport does not take."""
    for name, value in table.items():
        steps = ("balancer", name)
        if name == "strategy":
            yield from check_strategy(value, steps)
        elif name not in _SETTINGS:
            message = f"the balancer has no such setting; {suggest(name, _SETTINGS)}"
            yield Complaint(steps, message)
        elif name == "deadline_s":
            yield from _refusal(lambda: check_deadline(table["deadline_s"]), steps)
        elif isinstance(value, dict):
            yield from _check_table(name, value, steps)
        else:
            yield Complaint(steps, f"{value!r} is wrong here; write a table [balancer.{name}]")


def _check_table(name: str, table: dict[str, Any], steps: tuple[str, ...]) -> Iterator[Complaint]:
    """Complain of a table of settings, and first of those within it."""
    if name == "probe":
        fields_ = ("check", *_OF_CHECKS, "jitter_ratio", "only_ejected", "max_at_once")
        for unknown in [inner for inner in table if inner not in fields_]:
            message = f"probes have no such setting; {suggest(unknown, fields_)}"
            yield Complaint((*steps, unknown), message)
            return
        yield from _refusal(lambda: _probe(table), steps)
        return
    if name == "outliers" and table.get("variant") not in OUTLIER_VARIANTS:
        known = ", ".join(OUTLIER_VARIANTS)
        yield Complaint((*steps, "variant"), f"outliers need a variant; known are {known}")
        return
    kind, settings = _kind(name, table)
    plain = {}
    for inner, value in settings.items():
        if not isinstance(value, dict):
            plain[inner] = value
        elif inner in {"slow_start", "outliers"}:
            yield from _check_table(inner, value, (*steps, inner))
        else:
            yield Complaint((*steps, inner), "a table is wrong here")
    yield from _check(kind, plain, steps)


def _refusal(make: Callable[[], Any], steps: tuple[str | int, ...]) -> Iterator[Complaint]:
    try:
        make()
    except ConfigurationError as error:
        yield Complaint(steps, str(error))


def check_strategy(name: Any, steps: tuple[str | int, ...]) -> Iterator[Complaint]:
    """Complain of a strategy that nobody knows."""
    yield from _refusal(lambda: resolve(name), steps)


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
