"""Lists that survive a restart: one small JSON file per registry and service.

`LastKnownGood` reads and writes the file, and blocks meanwhile; `OffLoop` has that done in a
thread, so that no request waits for a disk.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import os
import re
import secrets
import stat
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import msgspec

from trimtab.errors import ConfigurationError
from trimtab.instance import Instance

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["LastKnownGood", "OffLoop", "Store"]

logger = logging.getLogger("trimtab.discovery")

T = TypeVar("T")
Found = tuple[tuple[Instance, ...], float]
"""A list, and its age in seconds."""

_FORMAT = 1
_MAX_BYTES = 256 * 2**20
_LEFT_BEHIND_S = 3600.0
_CLOSE_WITHIN_S = 5.0


class _File(msgspec.Struct):
    format: int
    registry: str
    service: str
    instances: msgspec.Raw
    digest: str = ""


class Store(Protocol):
    """Where one list is kept; the calls block."""

    def save(self, instances: tuple[Instance, ...]) -> None: ...  # noqa: D102 - see `LastKnownGood`
    def confirm(self) -> None: ...  # noqa: D102 - see `LastKnownGood`
    def load(self) -> Found | None: ...  # noqa: D102 - see `LastKnownGood`


class OffLoop:
    """Has a list saved and loaded in a thread, one call at a time.

    Of several lists that wait to be saved, the newest is saved. A loop without threads, such as a
    simulated one, has a method `run_blocking(call)` of its own, which is used instead.

    Args:
        store: where the list is kept.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._waiting: Callable[[], None] | None = None
        self._writing: asyncio.Task[None] | None = None

    def save(self, instances: tuple[Instance, ...]) -> None:
        """Save the list, soon."""
        self._soon(lambda: self._store.save(instances))

    def confirm(self) -> None:
        """Note that the list still holds, soon."""
        if self._waiting is None:  # What waits is a newer list, or the same.
            self._soon(self._store.confirm)

    async def load(self) -> Found | None:
        """Return the list and its age in seconds, or None."""
        return await _in_a_thread(self._store.load)

    async def aclose(self) -> None:
        """Wait until everything is saved, unless the disk hangs."""
        if self._writing is not None:
            _, hanging = await asyncio.wait([self._writing], timeout=_CLOSE_WITHIN_S)
            if hanging:
                logger.warning("a list is not kept: the disk has not written it so far")
                return
        if self._waiting is not None:  # The writer was cancelled: its loop ends.
            waiting, self._waiting = self._waiting, None
            waiting()

    def _soon(self, call: Callable[[], None]) -> None:
        self._waiting = call
        if self._writing is None or self._writing.done():
            self._writing = asyncio.get_running_loop().create_task(self._write())

    async def _write(self) -> None:
        while self._waiting is not None:
            call, self._waiting = self._waiting, None
            try:
                await _in_a_thread(call)
            except Exception:
                logger.exception("a list cannot be kept on disk")


async def _in_a_thread(call: Callable[[], T]) -> T:
    run = getattr(asyncio.get_running_loop(), "run_blocking", asyncio.to_thread)
    result: T = await run(call)
    return result


class LastKnownGood:
    """The last good list of one service, on disk.

    A new list is written to a file beside the old one and renamed, so the file is always complete.
    That file has a name of its own, since several processes may write, on several hosts. The
    modification time says when the list was last confirmed. A digest tells whether the file is as
    it was written. Errors of the disk, and any content of the file, are logged and never stop
    discovery.

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
        digest = hashlib.sha256(f"{registry_key}\n{service}".encode(errors="replace")).hexdigest()
        readable = re.sub(r"[^A-Za-z0-9_.-]", "_", service)[:80]
        self.path = Path(folder) / f"{readable}-{digest[:16]}.json"
        self._registry_url = registry_url
        self._service = service
        self._max_age_s = max_age_s
        self._wall_clock = wall_clock
        self._lock = threading.Lock()  # Two threads must not move files into place out of order.

    def save(self, instances: tuple[Instance, ...]) -> None:
        """Write the list, confirmed now."""
        with self._lock:
            beside = self.path.with_name(f"{self.path.name}.{secrets.token_hex(8)}.new")
            try:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                self._write(beside, instances)
            except Exception as error:  # noqa: BLE001 - also for metadata that is no text
                self._warn("its list cannot be saved, so a restart may find an older one", error)
                with suppress(OSError):
                    beside.unlink()
            else:
                self._touch()

    def confirm(self) -> None:
        """Note that the list on disk is confirmed now."""
        with self._lock:
            self._touch()

    def load(self) -> Found | None:
        """Return the list and its age in seconds, or None if there is no usable one."""
        self._remove_left_behind()
        try:
            data, changed_at = _read(self.path)
            age_s = max(0.0, self._wall_clock() - changed_at)
            content = msgspec.json.decode(data, type=_File)
            instances = _instances(content)
        except FileNotFoundError:
            return None
        except Exception as error:  # noqa: BLE001 - any content is survived
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

    def _write(self, beside: Path, instances: tuple[Instance, ...]) -> None:
        # Line by line: one large encoding would hold up all other threads.
        lines = [msgspec.json.encode(_plain(each)) for each in instances]
        listed = b"[\n" + b",\n".join(lines) + b"\n]"
        head = {
            "format": _FORMAT,
            "registry": self._registry_url,
            "service": self._service,
            "digest": _digest(listed),
        }
        with beside.open("xb") as file:
            file.write(json.dumps(head)[:-1].encode() + b',\n"instances": ' + listed + b"}")
        beside.replace(self.path)

    def _touch(self) -> None:
        now = self._wall_clock()
        try:
            os.utime(self.path, (now, now))
        except OSError as error:
            self._warn("the date of its list cannot be updated", error)

    def _remove_left_behind(self) -> None:
        """Remove the files of writers that were killed long ago."""
        try:
            for beside in self.path.parent.glob(f"{self.path.name}.*.new"):
                if time.time() - beside.stat().st_mtime > _LEFT_BEHIND_S:
                    beside.unlink(missing_ok=True)
        except OSError:
            return


def _read(path: Path) -> tuple[bytes, float]:
    """Return the content and the modification time of a file that is a file, and not too large."""
    # A pipe in its place would be waited for without end.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_size > _MAX_BYTES:
            raise ConfigurationError(f"it is no file of at most {_MAX_BYTES} bytes")
        return file.read(_MAX_BYTES), status.st_mtime


def _instances(content: _File) -> tuple[Instance, ...]:
    if content.digest and content.digest != _digest(bytes(content.instances)):
        raise ConfigurationError("its digest is another: it was changed after it was written")
    raws = msgspec.json.decode(content.instances, type=list[msgspec.Raw])
    found = (Instance(**msgspec.json.decode(raw, type=dict[str, Any])) for raw in raws)
    return tuple({each.id: each for each in found}.values())


def _digest(listed: bytes) -> str:
    return hashlib.blake2b(listed, digest_size=16).hexdigest()


def _plain(instance: Instance) -> dict[str, Any]:
    return {
        "id": instance.id,
        "host": instance.host,
        "port": instance.port,
        "scheme": instance.scheme,
        "weight": instance.weight,
        "zone": instance.zone,
        "priority": instance.priority,
        "metadata": dict(instance.metadata),
        "status": str(instance.status),
    }
