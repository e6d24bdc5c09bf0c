"""What lies in etcd, in our words: keys and values to instances. No I/O.

A value is what gRPC-Go's resolver reads: `{"Op": 0, "Addr": "host:port", "Metadata": ...}`, the
names in any case, all but the address optional. `Metadata` is null, an object, or text that is
the JSON of an object, which is how we write it (see `writing`). In it `id`, `weight`, `zone`,
`scheme` and `status` are taken for ours where they make sense; everything else is metadata.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trimtab.errors import InvalidInstanceError, RegistryAnswerError
from trimtab.registries.asking import parse_json
from trimtab.registries.entries import gather, read_entry
from trimtab.registries.etcd.wire import KeyValue, RangeAnswer, WatchResult, read
from trimtab.registries.protocol import Listing

if TYPE_CHECKING:
    from trimtab.instance import Instance

__all__ = ["OWN_FIELDS", "View", "read_value", "services_of"]

OWN_FIELDS = ("id", "weight", "zone", "scheme", "status")
"""The fields of an instance that its `Metadata` may carry, besides its metadata."""
_NONE = (None, "")


class View:
    """The keys of one service: a whole list, then kept by changes.

    Only what changes is read again; a list of thousands is not parsed for one event.

    Args:
        place: how messages name the service.
        prefix: what the keys of the service begin with, the slash included. What has another
            slash after it belongs to another service ("orders/v2" is not "orders").
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
        """Follow the changes that a watch tells."""
        self._reset = False
        for event in result.events:
            if event.type == "DELETE":
                self._found.pop(event.kv.key, None)
            else:
                self._put(event.kv)

    def listing(self) -> Listing:
        """Give the whole list, in the order of the keys.

        Raises:
            RegistryAnswerError: there are instances, and not one of them can be read.
        """
        ordered = (self._found[key][1] for key in sorted(self._found))
        instances, skipped = gather(ordered, _good, place=self._place)
        return Listing(
            instances=instances, version=self._version(), reset=self._reset, skipped=skipped
        )

    def _version(self) -> str:
        """Mark the list: what is put is newer than all before, and what is deleted is missing."""
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
    """Read a value; `name` is the end of its key, and the id where the value tells none.

    Raises:
        InvalidInstanceError: there is no address, or none that can be used.
        RegistryAnswerError: it is no JSON object.
    """
    said = {key.lower(): each for key, each in parse_json("value", value, dict[str, Any]).items()}
    if not said.get("addr"):
        raise InvalidInstanceError("the value has no Addr")
    metadata = _metadata(said.get("metadata"))
    own = {field: metadata[field] for field in OWN_FIELDS if metadata.get(field, "") not in _NONE}
    fields = {"id": name, "address": said["addr"]}
    try:
        return _instance(fields, own, metadata)
    except InvalidInstanceError:
        # What others mean by these words need not be what we mean.
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


def _good(found: Instance | RegistryAnswerError) -> Instance:
    if isinstance(found, RegistryAnswerError):
        raise found
    return found


def _metadata(said: Any) -> dict[str, Any]:
    if isinstance(said, str) and said:
        try:
            said = parse_json("Metadata", said.encode(errors="replace"), dict[str, Any])
        except RegistryAnswerError:
            return {"metadata": said}
    if isinstance(said, dict):
        return said
    return {"metadata": said} if said else {}


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
