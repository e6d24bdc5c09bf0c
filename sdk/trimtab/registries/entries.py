"""Read instances as people and servers write them; skip and log what cannot be read."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from trimtab.errors import ConfigurationError, InvalidInstanceError, RegistryAnswerError
from trimtab.instance import Instance, Status

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

__all__ = ["FIELDS", "Complaints", "gather", "read_entry", "text_or_json"]

FIELDS = ("host", "port", "id", "scheme", "weight", "zone", "metadata", "status", "address")
"""The fields of an entry. `address` is `host:port` in one."""

# Other registries' words for the same four states, in lower case.
_STATUS_WORDS: dict[object, Status] = {
    **{status.value: status for status in Status},
    **dict.fromkeys(("up", "healthy", "ok", "serving", "alive", "true"), Status.PASSING),
    **dict.fromkeys(("down", "unhealthy", "not_serving", "dead", "false"), Status.CRITICAL),
    **dict.fromkeys(("out_of_service", "maintenance", "leaving"), Status.DRAINING),
}

_log = logging.getLogger("trimtab.registries")


def read_entry(entry: object) -> Instance:
    """Make an instance of an `Instance`, a "host:port" or a table of the `FIELDS`.

    Numbers may be written as text. Metadata that is not text is kept as JSON text.

    Raises:
        InvalidInstanceError: naming the field, and what it must be.
    """
    if isinstance(entry, Instance):
        return entry
    if isinstance(entry, str):
        entry = {"address": entry}
    if not isinstance(entry, dict):
        raise InvalidInstanceError(f"{_short(entry)} is neither a table nor a 'host:port'")
    unknown = [name for name in entry if name not in FIELDS]
    if unknown:
        raise InvalidInstanceError(f"unknown field {unknown[0]!r}; known are {', '.join(FIELDS)}")
    fields = {name: value for name, value in entry.items() if value is not None}
    if "address" in fields:
        fields.update(_address(fields.pop("address")))
    for name in ("host", "port"):
        if name not in fields:
            raise InvalidInstanceError(f"{_short(entry)} has no {name}")
    return Instance(**_converted(fields))


def gather(
    entries: Iterable[Any], read: Callable[[Any], Instance], *, place: str
) -> tuple[tuple[Instance, ...], tuple[str, ...]]:
    """Read all entries; return the instances, and a message per entry that was left out.

    Raises:
        RegistryAnswerError: there are entries, and not one can be read.
    """
    found: dict[str, Instance] = {}
    skipped: list[str] = []
    for number, entry in enumerate(entries):
        try:
            instance = read(entry)
        except (ConfigurationError, RegistryAnswerError) as error:
            skipped.append(f"{place}: entry {number} skipped: {error}")
            continue
        if instance.id in found:
            skipped.append(f"{place}: entry {number} skipped: a second instance {instance.id!r}")
        else:
            found[instance.id] = instance
    if skipped and not found:
        raise RegistryAnswerError(f"{skipped[0]} (and no other entry can be read)")
    return tuple(found.values()), tuple(skipped)


class Complaints:
    """Logs each skipped entry once, and not again at every poll."""

    def __init__(self) -> None:
        self._logged: dict[str, tuple[str, ...]] = {}

    def about(self, service: str, skipped: tuple[str, ...]) -> None:
        """Log the messages that are new since the last answer about this service."""
        before = self._logged.pop(service, ())
        for message in skipped:
            if message not in before:
                _log.warning("%s", message)
        if skipped:
            self._logged[service] = skipped


def text_or_json(value: object) -> str:
    """Return text as it is and other values as JSON: metadata is text.

    Raises:
        InvalidInstanceError: it is nested too deeply.
    """
    try:
        return value if isinstance(value, str) else json.dumps(value, default=str)
    except RecursionError:
        raise InvalidInstanceError("metadata is nested too deeply to be kept as text") from None


def _address(text: object) -> dict[str, Any]:
    try:
        parts = urlsplit(f"//{text}" if "://" not in str(text) else str(text))
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise InvalidInstanceError(f"{text!r}: {error}") from None
    if not isinstance(text, str) or not host or port is None or parts.path.strip("/"):
        raise InvalidInstanceError(f"{_short(text)} is not 'host:port'")
    return {"host": host, "port": port} | ({"scheme": parts.scheme} if parts.scheme else {})


def _converted(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Accept other spellings of the same value; `Instance` checks the rest."""
    result = dict(fields)
    if isinstance(result["port"], str) and result["port"].isdecimal():
        result["port"] = int(result["port"])
    if isinstance(result.get("weight"), str):
        try:
            result["weight"] = float(result["weight"])
        except ValueError:
            raise InvalidInstanceError(f"weight {result['weight']!r} is not a number") from None
    if "id" in result:
        result["id"] = str(result["id"])
    if "status" in result:
        word = str(result["status"]).lower()
        result["status"] = _STATUS_WORDS.get(word, result["status"])
    if isinstance(result.get("metadata"), dict):
        result["metadata"] = {
            str(name): text_or_json(value) for name, value in result["metadata"].items()
        }
    return result


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."  # noqa: PLR2004 - a line of a terminal
