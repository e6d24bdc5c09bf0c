"""Lists that survive a restart: one small JSON file per registry and service."""

from __future__ import annotations

import hashlib
import logging
import os
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from trimtab.errors import ConfigurationError
from trimtab.instance import Instance

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["LastKnownGood"]

logger = logging.getLogger("trimtab.discovery")

_FORMAT = 1


class _File(msgspec.Struct):
    format: int
    registry: str
    service: str
    instances: list[dict[str, Any]]


class LastKnownGood:
    """The last good list of one service, on disk.

    A new list is written to a file beside the old one and renamed, so the file is always complete.
    Its modification time says when the list was last confirmed. An error of the disk is logged;
    it does not stop discovery.

    Args:
        folder: is made if it does not exist.
        registry_key: identifies the registry; its hash is part of the file's name.
        registry_url: for people who read the file; without secrets.
        service: the service's name.
        max_age_s: an older list is not used.
        wall_clock: seconds since the epoch.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        registry_key: str,
        registry_url: str,
        service: str,
        max_age_s: float,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        digest = hashlib.sha256(f"{registry_key}\n{service}".encode()).hexdigest()[:16]
        readable = re.sub(r"[^A-Za-z0-9_.-]", "_", service)[:80]
        self.path = Path(folder) / f"{readable}-{digest}.json"
        self._registry_url = registry_url
        self._service = service
        self._max_age_s = max_age_s
        self._wall_clock = wall_clock

    def save(self, instances: tuple[Instance, ...]) -> None:
        """Write the list, confirmed now."""
        content = _File(_FORMAT, self._registry_url, self._service, [_plain(i) for i in instances])
        beside = self.path.with_name(f"{self.path.name}.{os.getpid()}.new")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            beside.write_bytes(msgspec.json.format(msgspec.json.encode(content)))
            beside.replace(self.path)
        except OSError as error:
            self._warn("its list cannot be saved, so a restart may find an older one", error)
        else:
            self.confirm()

    def confirm(self) -> None:
        """Note that the list on disk is confirmed now."""
        now = self._wall_clock()
        try:
            os.utime(self.path, (now, now))
        except OSError as error:
            self._warn("the date of its list cannot be updated", error)

    def load(self) -> tuple[tuple[Instance, ...], float] | None:
        """Return the list and its age in seconds, or None if there is no usable one."""
        try:
            age_s = max(0.0, self._wall_clock() - self.path.stat().st_mtime)
            content = msgspec.json.decode(self.path.read_bytes(), type=_File)
            instances = tuple(Instance(**fields) for fields in content.instances)
        except FileNotFoundError:
            return None
        except (OSError, msgspec.MsgspecError, ConfigurationError, TypeError) as error:
            self._warn("the last known list is not used", error)
            return None
        if content.format != _FORMAT or age_s > self._max_age_s:
            self._warn(
                "the last known list is not used",
                f"it has format {content.format} and is {age_s:.0f} s old; format {_FORMAT} and "
                f"at most {self._max_age_s:.0f} s are required",
            )
            return None
        return instances, age_s

    def _warn(self, what: str, why: object) -> None:
        logger.warning("service %r: %s (%s): %s", self._service, what, self.path, why)


def _plain(instance: Instance) -> dict[str, Any]:
    return {
        "id": instance.id,
        "host": instance.host,
        "port": instance.port,
        "scheme": instance.scheme,
        "weight": instance.weight,
        "zone": instance.zone,
        "metadata": dict(instance.metadata),
        "status": str(instance.status),
    }
