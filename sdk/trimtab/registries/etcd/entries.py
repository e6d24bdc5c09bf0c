"""Translate etcd's keys and values into instances, and instances into them. No I/O.

A value is what gRPC-Go's resolver reads: `{"Op": 0, "Addr": "host:port", "Metadata": ...}`, the
names in any case, all but the address optional. `Metadata` is null, an object, or text that is
the JSON of an object. In it `id`, `weight`, `zone`, `priority`, `scheme` and `status` are taken for
our fields where they fit; everything else is metadata.

Our own fields are written into `Metadata` as *text*, the JSON of an object, and not as an object:
gRPC-Go compares the metadata of two addresses with `==`, and a Go program in which these are
maps panics ("comparing uncomparable type", etcd issue 19700). Text it compares, and ignores.
"""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

from trimtab.errors import InvalidInstanceError, RegistryAnswerError
from trimtab.instance import Status
from trimtab.registries.asking import parse_json
from trimtab.registries.entries import gather, read_entry
from trimtab.registries.etcd.wire import KeyValue, RangeAnswer, WatchResult, read
from trimtab.registries.protocol import Listing

if TYPE_CHECKING:
    from trimtab.instance import Instance

__all__ = [
    "OWN_FIELDS",
    "View",
    "key_of",
    "lease_ttl_s",
    "read_value",
    "services_of",
    "value_of",
]

OWN_FIELDS = ("id", "weight", "zone", "priority", "scheme", "status")
"""The fields of an instance that its `Metadata` may carry, besides its metadata."""
_NONE = (None, "")
_ADD = 0


class View:
    """The keys of one service: a whole list, then kept by changes.

    Only what changes is read again; a list of thousands is not parsed for one event.

    Args:
        place: how messages name the service.
        prefix: what the keys of the service begin with, the slash included. A key with
            another slash after it belongs to another service ("orders/v2" is not "orders").
        answer: the whole list.
        reset: see `Listing`.
    """

    def __init__(self, place: str, prefix: str, answer: RangeAnswer, *, reset: bool) -> None:
        self._place = place
        self._prefix = prefix.encode()
        self._reset = reset
        self._found: dict[bytes, tuple[int, Instance | RegistryAnswerError]] = {}
        for number, raw in enumerate(answer.kvs):
            try:
                self._put(read("its key", bytes(raw), KeyValue))
            except RegistryAnswerError as error:
                self._found[b"%s/%d" % (self._prefix, number)] = (number, error)

    def apply(self, result: WatchResult) -> None:
        """Apply the changes of one message of a watch."""
        self._reset = False
        for event in result.events:
            if event.type == "DELETE":
                self._found.pop(event.kv.key, None)
            else:
                self._put(event.kv)

    def listing(self) -> Listing:
        """Return the whole list, in the order of the keys.

        Raises:
            RegistryAnswerError: there are instances, and not one of them can be read.
        """
        ordered = (self._found[key][1] for key in sorted(self._found))
        instances, skipped = gather(ordered, _good, place=self._place)
        return Listing(
            instances=instances, version=self._version(), reset=self._reset, skipped=skipped
        )

    def _version(self) -> str:
        """Mark the list: a key that is put is newer than all before, a deleted one is missing."""
        revisions = [revision for revision, _ in self._found.values()]
        return f"{max(revisions, default=0)}-{len(revisions)}-{sum(revisions)}"

    def _put(self, entry: KeyValue) -> None:
        name = entry.key.removeprefix(self._prefix)
        if b"/" in name or not name:
            return
        try:
            found: Instance | RegistryAnswerError = read_value(name.decode(), entry.value)
        except (InvalidInstanceError, RegistryAnswerError, UnicodeDecodeError) as error:
            shown = entry.key.decode(errors="backslashreplace")
            found = RegistryAnswerError(f"key {shown!r}: {error}")
        self._found[entry.key] = (entry.mod_revision, found)


def read_value(name: str, value: bytes) -> Instance:
    """Read a value; `name` is the end of its key, and the id if the value has none.

    Raises:
        InvalidInstanceError: there is no address, or none that can be used.
        RegistryAnswerError: it is no JSON object.
    """
    found = {key.lower(): each for key, each in parse_json("value", value, dict[str, Any]).items()}
    if not found.get("addr"):
        raise InvalidInstanceError("the value has no Addr")
    metadata = _metadata(found.get("metadata"))
    own = {field: metadata[field] for field in OWN_FIELDS if metadata.get(field, "") not in _NONE}
    fields = {"id": name, "address": found["addr"]}
    try:
        return _instance(fields, own, metadata)
    except InvalidInstanceError:
        # Other writers may use these names with another meaning.
        fitting = {field: each for field, each in own.items() if _fits(fields, {field: each})}
        return _instance(fields, fitting, metadata)


def services_of(prefix: str, answer: RangeAnswer) -> list[str]:
    """Name the services that the keys under a prefix belong to, sorted.

    Raises:
        RegistryAnswerError: a key cannot be read.
    """
    keys = (read("a key", bytes(raw), KeyValue).key for raw in answer.kvs)
    names = (key.removeprefix(prefix.encode()).rpartition(b"/")[0] for key in keys)
    return sorted({name.decode(errors="replace") for name in names if name})


def key_of(prefix: str, service: str, id_: str) -> str:
    """Return the key of an instance; a slash in its id would make it that of another service."""
    return f"{prefix}{service}/{id_.replace('%', '%25').replace('/', '%2F')}"


def value_of(instance: Instance) -> bytes:
    """Return the value of an instance; fields with their default are left out."""
    own: dict[str, Any] = {"id": instance.id}
    if instance.weight != 1:
        own["weight"] = instance.weight
    if instance.zone:
        own["zone"] = instance.zone
    if instance.priority:
        own["priority"] = instance.priority
    if instance.scheme:
        own["scheme"] = instance.scheme
    if instance.status is not Status.PASSING:
        own["status"] = instance.status.value
    if instance.metadata:
        own["metadata"] = dict(instance.metadata)
    return _json({"Op": _ADD, "Addr": instance.address, "Metadata": _json(own).decode()})


def lease_ttl_s(ttl_s: float) -> int:
    """Return the whole seconds of a lease.

    etcd itself makes it at least one and a half of its election time-outs: 2 s by default.
    """
    return math.ceil(ttl_s)


def _good(found: Instance | RegistryAnswerError) -> Instance:
    if isinstance(found, RegistryAnswerError):
        raise found
    return found


def _metadata(value: Any) -> dict[str, Any]:
    if isinstance(value, str) and value:
        try:
            value = parse_json("Metadata", value.encode(errors="replace"), dict[str, Any])
        except RegistryAnswerError:
            return {"metadata": value}
    if isinstance(value, dict):
        return value
    return {"metadata": value} if value else {}


def _instance(fields: dict[str, Any], own: dict[str, Any], metadata: dict[str, Any]) -> Instance:
    others = {name: each for name, each in metadata.items() if name not in own}
    if isinstance(others.get("metadata"), dict):
        others.update(others.pop("metadata"))
    return read_entry({**fields, **own, "metadata": others})


def _fits(fields: dict[str, Any], own: dict[str, Any]) -> bool:
    try:
        read_entry({**fields, **own})
    except InvalidInstanceError:
        return False
    return True


def _json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
