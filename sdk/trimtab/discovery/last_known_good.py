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

    Written beside and moved into place, so that a reader or a crash never meets half a file. The
    file's modification time says when the list was last confirmed. Trouble with the disk is
    logged and never stops discovery.

    Args:
        folder: made if it is not there.
        registry_key: what tells the registry from others; hashed into the file's name.
        registry_url: for people who read the file.
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
            logger.warning("service %r: cannot keep its list on disk: %s", self._service, error)
        else:
            self.confirm()

    def confirm(self) -> None:
        """Note that the list on disk still holds now."""
        now = self._wall_clock()
        try:
            os.utime(self.path, (now, now))
        except OSError as error:
            logger.warning("service %r: cannot touch its list on disk: %s", self._service, error)

    def load(self) -> tuple[tuple[Instance, ...], float] | None:
        """Return the list and its age in seconds, or None if there is none to be used."""
        try:
            age_s = max(0.0, self._wall_clock() - self.path.stat().st_mtime)
            content = msgspec.json.decode(self.path.read_bytes(), type=_File)
            instances = tuple(Instance(**fields) for fields in content.instances)
        except FileNotFoundError:
            return None
        except (OSError, msgspec.MsgspecError, ConfigurationError, TypeError) as error:
            logger.warning("%s: not usable as a last-known-good list: %s", self.path, error)
            return None
        if content.format != _FORMAT or age_s > self._max_age_s:
            logger.warning(
                "%s: not used: format %d, age %.0f s; wanted are format %d, at most %.0f s",
                self.path,
                content.format,
                age_s,
                _FORMAT,
                self._max_age_s,
            )
            return None
        return instances, age_s


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
