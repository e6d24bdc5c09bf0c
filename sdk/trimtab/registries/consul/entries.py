"""Read Consul's health entries into instances. No I/O.

Every check of an entry counts, those of the node too: after a node's death the service's own
TTL check stays "passing", and only `serfHealth` turns critical. Maintenance is a failing check with
a known name; it means draining.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import msgspec

from trimtab.errors import RegistryAnswerError
from trimtab.instance import Instance, Status
from trimtab.registries.asking import parse_json
from trimtab.registries.entries import gather, take_priority

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["DRAINING", "OWN_META", "Ids", "read_executed", "read_health", "status_of"]

OWN_META = ("scheme", "status", "weight", "zone")
"""The keys of a service's Meta that carry an instance's own fields, besides `priority`."""
DRAINING = "draining"
_MAINTENANCE = ("_node_maintenance", "_service_maintenance:")
_STATUSES = {"passing": Status.PASSING, "warning": Status.WARNING}
_SCHEMES = ("http", "https")


class _Weights(msgspec.Struct, rename="pascal"):
    passing: int = 1
    warning: int = 1


class _Node(msgspec.Struct, rename="pascal"):
    node: str = ""
    address: str = ""
    meta: dict[str, str] | None = None


class _Service(msgspec.Struct, rename="pascal"):
    port: int
    service: str = ""
    id: str = msgspec.field(default="", name="ID")
    address: str = ""
    meta: dict[str, str] | None = None
    tags: list[str] | None = None
    weights: _Weights | None = None
    create_index: int = 0


class _Check(msgspec.Struct, rename="pascal"):
    status: str
    check_id: str = msgspec.field(default="", name="CheckID")


class _Entry(msgspec.Struct, rename="pascal"):
    service: _Service
    node: _Node = msgspec.field(default_factory=_Node)
    checks: list[_Check] | None = None


class _Executed(msgspec.Struct, rename="pascal"):
    nodes: list[msgspec.Raw] | None
    datacenter: str = ""
    failovers: int = 0


class Ids:
    """Gives the entries of one service ids that are unique, and that stay.

    Consul's own ids are unique per node only. The entry that was registered first keeps its id,
    and one of the same id on another node gets `id@node`. An entry keeps the id that it was given
    for as long as it is listed: with a new id it would be a new instance, without its statistics.
    """

    def __init__(self) -> None:
        self._given: dict[tuple[str, str], str] = {}

    def give(self, entries: Iterable[_Entry]) -> dict[tuple[str, str], str]:
        """Return the id per (id of the service, node), and remember it. O(n log n)."""
        there = {(each.service.id, each.node.node): each.service for each in entries}
        given = {pair: self._given[pair] for pair in there if pair in self._given}
        taken = set(given.values())
        for pair in sorted(there.keys() - given.keys(), key=lambda each: _age(there[each], each)):
            id_, node = pair
            # An id left out at registration is the service's name, on every node.
            is_alone = id_ not in taken and id_ != there[pair].service
            given[pair] = id_ if is_alone or not (id_ and node) else f"{id_}@{node}"
            taken.add(given[pair])
        self._given = given
        return given


def _age(service: _Service, pair: tuple[str, str]) -> tuple[int, tuple[str, str]]:
    return service.create_index, pair


def read_health(
    place: str, body: bytes, ids: Ids | None = None
) -> tuple[tuple[Instance, ...], tuple[str, ...]]:
    """Read the answer of `/v1/health/service/<name>`: the instances, and what was skipped.

    Raises:
        RegistryAnswerError: it is no list, or nothing in it can be read.
    """
    return _read(place, parse_json(place, body, list[msgspec.Raw]), ids or Ids())


def read_executed(
    place: str, body: bytes, ids: Ids | None = None
) -> tuple[tuple[Instance, ...], tuple[str, ...], str]:
    """Read the answer of `/v1/query/<name>/execute`; also give the datacenter failed over to.

    Consul shuffles what a query finds, so the instances are sorted by id. The datacenter is ""
    while the query is answered where it was asked.

    Raises:
        RegistryAnswerError: it is no such answer, or nothing in it can be read.
    """
    executed = parse_json(place, body, _Executed)
    instances, skipped = _read(place, executed.nodes or [], ids or Ids())
    elsewhere = executed.datacenter if executed.failovers else ""
    if elsewhere:
        instances = tuple(
            each.with_(metadata={**each.metadata, "datacenter": elsewhere}) for each in instances
        )
    return tuple(sorted(instances, key=lambda each: each.id)), skipped, elsewhere


def _read(
    place: str, raws: Sequence[msgspec.Raw], ids: Ids
) -> tuple[tuple[Instance, ...], tuple[str, ...]]:
    entries = [_entry_or_raw(raw) for raw in raws]
    given = ids.give(each for each in entries if isinstance(each, _Entry))

    def read(entry: _Entry | msgspec.Raw) -> Instance:
        if isinstance(entry, msgspec.Raw):
            entry = _entry(entry)  # Raises again; `gather` then names the entry.
        return _instance(entry, given[entry.service.id, entry.node.node])

    return gather(entries, read, place=place)


def status_of(checks: Iterable[tuple[str, str]]) -> Status:
    """Sum up the checks of an entry, each given as (its id, its status)."""
    found = Status.PASSING
    for check_id, status in checks:
        if check_id.startswith(_MAINTENANCE):
            return Status.DRAINING
        if status not in _STATUSES:
            found = Status.CRITICAL
        elif status == "warning" and found is Status.PASSING:
            found = Status.WARNING
    return found


def _entry_or_raw(raw: msgspec.Raw) -> _Entry | msgspec.Raw:
    try:
        return _entry(raw)
    except RegistryAnswerError:
        return raw


def _entry(raw: msgspec.Raw) -> _Entry:
    entry: _Entry = parse_json("this entry", bytes(raw), _Entry)
    return entry


def _instance(entry: _Entry, id_: str) -> Instance:
    service, node, meta = entry.service, entry.node, entry.service.meta or {}
    status = status_of((check.check_id, check.status) for check in entry.checks or ())
    if meta.get("status") == DRAINING:
        status = Status.DRAINING
    metadata = {name: value for name, value in meta.items() if name not in OWN_META}
    if service.tags:
        metadata["tags"] = ",".join(service.tags)
    return Instance(
        id=id_,
        host=service.address or node.address,
        port=service.port,
        scheme=meta["scheme"] if meta.get("scheme") in _SCHEMES else None,
        weight=_weight(service.weights or _Weights(), meta.get("weight"), status),
        zone=meta.get("zone") or (node.meta or {}).get("zone", ""),
        priority=take_priority(metadata),
        metadata=metadata,
        status=status,
    )


def _weight(weights: _Weights, exact: str | None, status: Status) -> float:
    """Return the weight; our registrar writes weights that are no integers into `exact`."""
    # Not made a float here: `Instance` refuses too large numbers, and names the entry.
    if status is Status.WARNING:
        return weights.warning
    try:
        weight = float(exact or "")
    except ValueError:
        return weights.passing
    return weight if weight >= 0 and math.isfinite(weight) else weights.passing
