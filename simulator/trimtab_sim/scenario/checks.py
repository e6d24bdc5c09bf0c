"""Check that the tables of a scenario fit together."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from trimtab_sim.scenario import actions
from trimtab_sim.scenario.complaints import Complaint, suggest
from trimtab_sim.scenario.sdk import check_balancer, check_discovery, check_strategy

if TYPE_CHECKING:
    from collections.abc import Iterator

    from trimtab_sim.scenario.complaints import Steps
    from trimtab_sim.scenario.document import Scenario

__all__ = ["check"]

_LEAST_U = 1e-9
"""Of all laws a uniform number near 0 draws the least value."""
_SIDE = re.compile(r"(clients|servers|registry)|(client|server):(\d+)|clients:(.+)|zone:(.+)")
_SIDES = '"clients", "servers", "registry", "client:0", "server:0", "clients:GROUP" or "zone:NAME"'


def check(scenario: Scenario) -> list[Complaint]:
    """Return all complaints, in the order of the file's tables."""
    return [
        *_about(scenario),
        *_service(scenario),
        *_registry(scenario),
        *_network(scenario),
        *_clients(scenario),
        *_timeline(scenario),
        *_churn(scenario),
        *check_discovery(scenario.discovery),
        *check_balancer(scenario.balancer),
    ]


def _about(scenario: Scenario) -> Iterator[Complaint]:
    about = scenario.about
    if not about.duration > 0:
        yield Complaint(
            ("scenario", "duration"), 'it must be above 0; write a duration, like "120s"'
        )
    if about.warmup >= about.duration > 0:
        yield Complaint(
            ("scenario", "warmup"),
            f"warm-up of {about.warmup:g} s in {about.duration:g} s leaves nothing to measure; "
            "make it shorter or the duration longer",
        )
    if about.heal is not None and about.heal > about.duration:
        yield Complaint(
            ("scenario", "heal"), f"{about.heal:g} s is after the end, {about.duration:g} s"
        )
    for at, name in enumerate(about.strategies):
        yield from check_strategy(name, ("scenario", "strategies", at))
        if name in about.strategies[:at]:
            yield Complaint(("scenario", "strategies", at), f"{name!r} is listed twice")


def _service(scenario: Scenario) -> Iterator[Complaint]:
    if not scenario.service.count:
        yield Complaint(("service", "servers"), "there is no server; give a number or groups")
    elif not any(group.weight for group in scenario.service.groups()):
        yield Complaint(
            ("service", "servers"), "all weights are 0, so nothing takes traffic; raise one"
        )


def _registry(scenario: Scenario) -> Iterator[Complaint]:
    registry = scenario.registry
    for name in ("ttl", "heartbeat", "sweep", "long_poll_wait"):
        if not getattr(registry, name) > 0:
            yield Complaint(("registry", name), "it must be above 0")
    if registry.heartbeat >= registry.ttl > 0:
        yield Complaint(
            ("registry", "heartbeat"),
            f"a heartbeat each {registry.heartbeat:g} s cannot keep a registration of "
            f"{registry.ttl:g} s alive; make it shorter (a third of the ttl) or raise ttl",
        )
    if registry.mode == "poll" and scenario.discovery.get("mode") == "push":
        yield Complaint(
            ("discovery", "mode"),
            'this registry can only be polled; give [registry] mode = "push" or "long_poll"',
        )


def _zones(scenario: Scenario) -> list[str]:
    zones = [group.zone for group in scenario.service.groups()]
    zones += [group.zone for group in scenario.clients]
    zones += [event.zone for event in scenario.timeline if isinstance(event, actions.Add)]
    return list(dict.fromkeys([*zones, scenario.registry.zone]))


def _unknown_zone(scenario: Scenario, zone: str) -> str | None:
    zones = _zones(scenario)
    if zone in zones:
        return None
    named = [name for name in zones if name]
    remedy = suggest(zone, named) if named else "no server or client has a zone; give them one"
    return f"unknown zone {zone!r}; {remedy}"


def _network(scenario: Scenario) -> Iterator[Complaint]:
    seen: list[tuple[str, str]] = []
    for at, path in enumerate(scenario.network.paths):
        for key, zone in (("from", path.from_), ("to", path.to)):
            if message := _unknown_zone(scenario, zone):
                yield Complaint(("network", "paths", at, key), message)
        if (path.from_, path.to) in seen:
            yield Complaint(("network", "paths", at), "these two zones have a path already")
        seen.append((path.from_, path.to))


def _clients(scenario: Scenario) -> Iterator[Complaint]:
    names: list[str] = []
    for at, group in enumerate(scenario.clients):
        if group.name and group.name in names:
            message = f"a group {group.name!r} exists already; choose another name"
            yield Complaint(("clients", at, "name"), message)
        names.append(group.name)
        if not group.timeout > 0:
            yield Complaint(("clients", at, "timeout"), "it must be above 0")
        if group.start >= scenario.about.duration > 0:
            yield Complaint(("clients", at, "start"), "these clients start after the end")
        if group.cost is not None and not group.cost.units.draw(_LEAST_U) > 0:
            yield Complaint(("clients", at, "cost", "units"), "a cost must be above 0")


def _timeline(scenario: Scenario) -> Iterator[Complaint]:
    for at, event in enumerate(scenario.timeline):
        steps = ("timeline", at)
        yield from _moment(scenario, event, steps)
        yield from _action(scenario, event, steps)


def _moment(scenario: Scenario, event: Any, steps: Steps) -> Iterator[Complaint]:
    end, heal = scenario.about.duration, scenario.about.heal
    if event.at is None:
        yield Complaint(steps, "'at' is missing; add at = \"60s\"")
    elif event.at > end:
        yield Complaint((*steps, "at"), f"{event.at:g} s is after the end, {end:g} s")
    elif heal is not None and event.at >= heal and _is_fault(event):
        message = f"{event.at:g} s is after the healing, {heal:g} s, and no fault may begin then"
        yield Complaint((*steps, "at"), message)


def _is_fault(event: Any) -> bool:
    good = (actions.Add, actions.Remove, actions.Replace, actions.Load)
    return not isinstance(event, good)


def _churn(scenario: Scenario) -> Iterator[Complaint]:
    for at, churn in enumerate(scenario.churn):
        steps: Steps = ("churn", at)
        if churn.do.at is not None:
            message = "churn draws its own moments; leave 'at' out, or use [[timeline]]"
            yield Complaint((*steps, "do", "at"), message)
        if churn.until is not None and churn.until <= (churn.from_ or 0):
            yield Complaint((*steps, "until"), "it ends before it begins; make it later than from")
        yield from _action(scenario, churn.do, (*steps, "do"))


def _action(scenario: Scenario, event: Any, steps: Steps) -> Iterator[Complaint]:
    duration = getattr(event, "duration", None)
    if duration is not None and not duration > 0:
        message = "it must be above 0; leave it out for a fault that stays"
        yield Complaint((*steps, "duration"), message)
    targets = getattr(event, "targets", None)
    if isinstance(targets, actions.Targets):
        yield from _targets(scenario, targets, (*steps, "targets"))
    if isinstance(event, actions.Partition):
        yield from _side(scenario, event.from_, (*steps, "from"))
        yield from _side(scenario, event.to, (*steps, "to"))
    elif isinstance(event, actions.Load) and event.clients:
        yield from _group(scenario, event.clients, (*steps, "clients"))


def _most_servers(scenario: Scenario) -> float:
    """Return the most servers until the end; churn may add any number."""
    adding = (actions.Add, actions.Replace)
    if any(isinstance(churn.do, adding) for churn in scenario.churn):
        return float("inf")
    if any(isinstance(event, actions.Replace) for event in scenario.timeline):
        return float("inf")
    added = sum(event.count for event in scenario.timeline if isinstance(event, actions.Add))
    return scenario.service.count + added


def _targets(scenario: Scenario, targets: Any, steps: Steps) -> Iterator[Complaint]:
    most = _most_servers(scenario)
    if targets.count is not None and targets.count > most:
        yield Complaint((*steps, "count"), f"there are only {most} servers, not {targets.count}")
    for index in targets.index or ():
        if index >= most:
            message = f"there is no server {index}; they are counted from 0 to {most - 1}"
            yield Complaint((*steps, "index"), message)
    if targets.zone is not None and (unknown := _unknown_zone(scenario, targets.zone)):
        yield Complaint((*steps, "zone"), unknown)


def _side(scenario: Scenario, side: str, steps: Steps) -> Iterator[Complaint]:
    found = _SIDE.fullmatch(side)
    if not found:
        yield Complaint(steps, f"{side!r} is not a side; write {_SIDES}")
    elif found[4]:
        yield from _group(scenario, found[4], steps)
    elif found[5] and (message := _unknown_zone(scenario, found[5])):
        yield Complaint(steps, message)
    elif found[2]:
        clients = sum(group.count for group in scenario.clients)
        count = clients if found[2] == "client" else _most_servers(scenario)
        if int(found[3]) >= count:
            message = f"there is no {side}; they are counted from 0 to {count - 1}"
            yield Complaint(steps, message)


def _group(scenario: Scenario, name: str, steps: Steps) -> Iterator[Complaint]:
    names = [group.name for group in scenario.clients if group.name]
    if name not in names:
        remedy = suggest(name, names) if names else "give a [[clients]] group this name"
        yield Complaint(steps, f"no group of clients is called {name!r}; {remedy}")
