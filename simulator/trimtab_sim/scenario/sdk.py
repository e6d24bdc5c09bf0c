"""The SDK's own settings in a scenario: used unchanged, and checked by the SDK's own classes.

`[discovery]` holds the fields of DiscoverySettings; `[balancer]` the arguments of the transport:
`strategy`, `deadline_s`, `reconnect = false`, and one table per settings class (`[balancer.retry]`
for RetryPolicy), which may hold others (`[balancer.health.slow_start]`). Outliers are a variant's
name, or a table with `variant` and the settings of that variant. A probe's table also has the
fields of its check:

    [balancer]                          [balancer.health]              [balancer.probe]
    strategy = "least_latency"          panic_ratio = 0.5              check = "http:/health"
    deadline_s = 1.0                    [balancer.health.outliers]     interval_s = 2.0
    [balancer.retry]                    variant = "envoy"              fall = 2
    statuses = [503]                    max_ejected_ratio = 0.2        [balancer.concurrency]
    failures = ["refused", "timeout"]   [balancer.health.slow_start]   max_in_flight = 20
    budget_ratio = 0.1                  window_s = 30.0                max_pending = 100
    [balancer.hedge]
    quantile = 0.95                     [balancer.priorities]
                                        spill_above_in_flight = 8
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from trimtab.balancing import check_deadline
from trimtab.calls import HedgePolicy, RetryPolicy
from trimtab.check import Check
from trimtab.discovery.settings import DiscoverySettings
from trimtab.errors import ConfigurationError
from trimtab.health import OUTLIER_VARIANTS, HealthSettings, SlowStart
from trimtab.health.probing import ProbeSettings, ReconnectSettings
from trimtab.pool import ConcurrencyLimits
from trimtab.strategies import STRATEGIES, PrioritySettings, resolve
from trimtab_sim.scenario.complaints import Complaint, suggest
from trimtab_sim.scenario.kinds import check_kinds, check_names, fields_of, schema_of_table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from dataclasses import Field

__all__ = ["balancer_arguments", "check_balancer", "check_discovery", "check_strategy", "schemas"]

_TABLES: dict[str, type[Any]] = {
    "retry": RetryPolicy,
    "hedge": HedgePolicy,
    "health": HealthSettings,
    "concurrency": ConcurrencyLimits,
    "priorities": PrioritySettings,
    "slow_start": SlowStart,
    "probe": ProbeSettings,
    "reconnect": ReconnectSettings,
}
_NESTED = ("outliers", "slow_start")
"""The tables of `[balancer.health]`."""
_CHECK_FIELDS = ("interval_s", "timeout_s", "rise", "fall")
_PROBES = {"check": fields_of(Check)["path"]} | {
    name: field
    for name, field in fields_of(Check, ProbeSettings).items()
    if name in _CHECK_FIELDS or name in {"jitter_ratio", "only_ejected", "max_at_once"}
}
"""The settings of probes: those of the check together with those of its schedule."""
_RECONNECTS = {
    name: field for name, field in fields_of(ReconnectSettings).items() if name != "carrier"
}
_SETTINGS = (
    "strategy",
    "deadline_s",
    "retry",
    "hedge",
    "health",
    "concurrency",
    "priorities",
    "probe",
    "reconnect",
)
_AT_FAULT = re.compile(r"(\w+)(?: '.*': (\w+))?")


def balancer_arguments(table: Mapping[str, Any]) -> dict[str, Any]:
    """Turn a checked `[balancer]` table into arguments: tables become settings objects."""
    return {name: _made(name, value) for name, value in table.items()}


def _made(name: str, value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    if name == "probe":
        return _probe(value)
    kind, fields_ = _kind(name, value)
    return kind(**{inner: _made(inner, each) for inner, each in fields_.items()})


def _probe(table: dict[str, Any]) -> ProbeSettings:
    """Make the settings of probes from the fields of the check and of its schedule."""
    check_fields = {name: table[name] for name in _CHECK_FIELDS if name in table}
    check = Check.parse(table.get("check", "http:/"), **check_fields)
    rest = {name: value for name, value in table.items() if name not in {"check", *_CHECK_FIELDS}}
    return ProbeSettings(check=check, **rest)


def _kind(name: str, table: dict[str, Any]) -> tuple[type[Any], dict[str, Any]]:
    if name != "outliers":
        return _TABLES[name], table
    rest = {inner: value for inner, value in table.items() if inner != "variant"}
    return OUTLIER_VARIANTS[table["variant"]], rest


def check_discovery(table: Mapping[str, Any]) -> Iterator[Complaint]:
    """Yield complaints about the table `[discovery]`."""
    yield from _check(DiscoverySettings, table, ("discovery",))


def check_balancer(table: Mapping[str, Any]) -> Iterator[Complaint]:
    """Yield complaints about the table `[balancer]`."""
    for name, value in table.items():
        steps = ("balancer", name)
        if name == "strategy":
            yield from check_strategy(value, steps)
        elif name not in _SETTINGS:
            message = f"the balancer has no such setting; {suggest(name, _SETTINGS)}"
            yield Complaint(steps, message)
        elif name == "deadline_s":
            yield from _refusal(lambda: check_deadline(table["deadline_s"]), steps, {})
        elif name != "reconnect" or not isinstance(value, bool):
            yield from _check_table(name, value, steps)


def _check_table(name: str, table: Any, steps: tuple[str, ...]) -> Iterator[Complaint]:
    """Yield complaints about a table of settings, those of nested tables first."""
    if not isinstance(table, dict):
        message = f"{table!r} is wrong here; write a table [{'.'.join(steps)}]"
        names = " or ".join(f'"{variant}"' for variant in OUTLIER_VARIANTS)
        yield Complaint(steps, f"{message}, or {names}" if name == "outliers" else message)
    elif name == "probe":
        yield from _check_settings(_PROBES, table, steps, who="probes have", make=_probe)
    elif name == "reconnect":
        yield from _check_settings(
            _RECONNECTS, table, steps, who="reconnect has", make=lambda given: _made(name, given)
        )
    elif name == "outliers" and table.get("variant") not in list(OUTLIER_VARIANTS):
        known = ", ".join(OUTLIER_VARIANTS)
        place = (*steps, "variant") if "variant" in table else steps
        yield Complaint(place, f"outliers need a variant; known are {known}")
    else:
        kind, settings = _kind(name, table)
        inner = {each: settings[each] for each in _NESTED if each in settings}
        if isinstance(inner.get("outliers"), str):
            del inner["outliers"]
        for each, value in inner.items():
            yield from _check_table(each, value, (*steps, each))
        plain = {each: value for each, value in settings.items() if each not in inner}
        yield from _check(kind, plain, steps)


def check_strategy(name: Any, steps: tuple[str | int, ...]) -> Iterator[Complaint]:
    """Yield a complaint about an unknown strategy."""
    if isinstance(name, str):
        yield from _refusal(lambda: resolve(name), steps, {})
    else:
        yield Complaint(steps, f"{name!r} is wrong here; write a strategy's name")


def _check(
    kind: type[Any], table: Mapping[str, Any], steps: tuple[str, ...]
) -> Iterator[Complaint]:
    who = f"{kind.__name__} has"
    yield from _check_settings(
        fields_of(kind), table, steps, who=who, make=lambda given: kind(**given)
    )


def _check_settings(
    known: Mapping[str, Field[Any]],
    table: Mapping[str, Any],
    steps: tuple[str, ...],
    *,
    who: str,
    make: Callable[[dict[str, Any]], Any],
) -> Iterator[Complaint]:
    """Yield complaints about names; else about kinds; else about values."""
    found = list(check_names(known, table, steps, who=who))
    found = found or list(check_kinds(known, table, steps))
    yield from found or _refusal(lambda: make(dict(table)), steps, table)


def _refusal(
    make: Callable[[], Any], steps: tuple[str | int, ...], table: Mapping[str, Any]
) -> Iterator[Complaint]:
    """Yield the SDK's own complaint, whose message begins with the name of the setting."""
    try:
        make()
    except ConfigurationError as error:
        found = _AT_FAULT.match(str(error))
        # In "check 'http:/': fall is 0" the setting is `fall`, if the table has it.
        names = [name for name in (found[2], found[1]) if name in table] if found else []
        yield Complaint((*steps, *names[:1]), str(error))
    except TypeError:
        wrong = ", ".join(f"{name} = {value!r}" for name, value in table.items())
        yield Complaint(steps, f"a setting is of the wrong kind among {wrong}")


def schemas() -> dict[str, dict[str, Any]]:
    """Return the JSON schemas of `[discovery]` and `[balancer]`."""
    tables = {name: schema_of_table(fields_of(kind)) for name, kind in _TABLES.items()}
    variants = [
        _with_variant(name, schema_of_table(fields_of(kind)))
        for name, kind in OUTLIER_VARIANTS.items()
    ]
    outliers = {"anyOf": [{"enum": list(OUTLIER_VARIANTS)}, *variants]}
    tables["health"] = schema_of_table(
        fields_of(HealthSettings), outliers=outliers, slow_start=tables.pop("slow_start")
    )
    tables["probe"] = schema_of_table(_PROBES, check={"type": "string", "default": "http:/"})
    reconnect = schema_of_table(_RECONNECTS)
    tables["reconnect"] = {"anyOf": [{"type": "boolean"}, reconnect]}
    plain = {"strategy": {"enum": sorted(STRATEGIES)}, "deadline_s": {"type": "number"}}
    balancer = {"type": "object", "properties": plain | tables, "additionalProperties": False}
    return {"discovery": schema_of_table(fields_of(DiscoverySettings)), "balancer": balancer}


def _with_variant(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    properties = {"variant": {"const": name}} | schema["properties"]
    return schema | {"properties": properties, "required": ["variant"]}
