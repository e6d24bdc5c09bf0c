"""The registry's state in one SQLite file, so that it survives being killed.

It uses WAL mode and one transaction per change, committed before any client sees the change: what
was answered once is there again after `kill -9`. (`synchronous=NORMAL`: the last moments before a
power failure may be lost; the file stays valid.) A commit appends to the log without waiting for
the disk, in tens of microseconds, so it is done in line. The checkpoint waits for the disk, so it
runs in a thread with its own connection.
"""

from __future__ import annotations

import fcntl
import sqlite3
from contextlib import closing
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING

import msgspec

from trimtab.errors import ConfigurationError
from trimtab.server.definitions import CheckDefinition
from trimtab.server.records import Check, Node, Service

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["Saved", "Store"]

_SCHEMA_VERSION = 1
_SCHEMA = """
CREATE TABLE records (
    kind TEXT NOT NULL, node TEXT NOT NULL, id TEXT NOT NULL, body BLOB NOT NULL,
    PRIMARY KEY (kind, node, id)
) WITHOUT ROWID;
CREATE TABLE settings (name TEXT PRIMARY KEY, value NOT NULL) WITHOUT ROWID;
"""
_PUT = "INSERT OR REPLACE INTO records (kind, node, id, body) VALUES (?, ?, ?, ?)"
_DELETE = "DELETE FROM records WHERE kind = ? AND node = ? AND id = ?"
_SET = "INSERT OR REPLACE INTO settings (name, value) VALUES (?, ?)"
_WRITES_PER_CHECKPOINT = 1000

Record = tuple[str, str, str]


@dataclass(slots=True)
class Saved:
    """What a store kept. In a new store `last_index` is 1."""

    last_index: int = 1
    nodes: list[Node] = field(default_factory=list)
    services: list[tuple[str, Service]] = field(default_factory=list)
    checks: list[Check] = field(default_factory=list)
    definitions: list[CheckDefinition] = field(default_factory=list)


class Store:
    """One file `registry.sqlite3` in `data_dir`, locked by one process; in memory if it is None.

    Raises:
        ConfigurationError: the directory cannot be used, is in use, or holds something else.
    """

    def __init__(self, data_dir: Path | None) -> None:
        self._path = data_dir / "registry.sqlite3" if data_dir else None
        self._lock = _locked(data_dir) if data_dir else None
        self._unsaved: dict[Record, msgspec.Struct | None] = {}
        self._writes = 0
        self._db = sqlite3.connect(self._path or ":memory:", isolation_level=None)
        try:
            self._prepare()
        except sqlite3.Error as error:
            self.close()
            raise self._unreadable(error) from error

    def load(self) -> Saved:
        """Read everything.

        Raises:
            ConfigurationError: a record cannot be read.
        """
        try:
            return self._load()
        except (sqlite3.Error, msgspec.DecodeError) as error:
            raise self._unreadable(error) from error

    def save(self, records: Mapping[Record, msgspec.Struct | None], last_index: int) -> None:
        """Write some records, delete those that are None, and write the index, in one transaction.

        What could not be written is written together with the next change.

        Raises:
            sqlite3.Error: the write failed, for example because the disk is full.
        """
        self._unsaved.update(records)
        encode = msgspec.json.encode
        puts = [(*key, encode(body)) for key, body in self._unsaved.items() if body is not None]
        deletes = [key for key, body in self._unsaved.items() if body is None]
        with self._db:
            self._db.execute("BEGIN IMMEDIATE")
            self._db.executemany(_PUT, puts)
            self._db.executemany(_DELETE, deletes)
            self._db.execute(_SET, ("last_index", last_index))
        self._writes += len(self._unsaved)
        self._unsaved = {}

    def wants_checkpoint(self) -> bool:
        """Return True, once per thousand writes, if the log should be moved into the file."""
        due = self._path is not None and self._writes >= _WRITES_PER_CHECKPOINT
        if due:
            self._writes = 0
        return due

    def checkpoint(self) -> None:
        """Move the log into the file. Waits for the disk; may run in another thread."""
        if self._path:
            with closing(sqlite3.connect(self._path)) as db:
                db.execute("PRAGMA wal_checkpoint(PASSIVE)")

    def close(self) -> None:
        """Close the file and unlock the directory."""
        self._db.close()
        if self._lock:
            self._lock.close()

    def _load(self) -> Saved:
        saved = Saved()
        for (value,) in self._db.execute("SELECT value FROM settings WHERE name = 'last_index'"):
            saved.last_index = value
        for kind, node, body in self._db.execute("SELECT kind, node, body FROM records"):
            if kind == "services":
                saved.services.append((node, msgspec.json.decode(body, type=Service)))
            elif kind == "checks":
                saved.checks.append(msgspec.json.decode(body, type=Check))
            elif kind == "definitions":
                saved.definitions.append(msgspec.json.decode(body, type=CheckDefinition))
            else:
                saved.nodes.append(msgspec.json.decode(body, type=Node))
        return saved

    def _unreadable(self, error: Exception) -> ConfigurationError:
        return ConfigurationError(
            f"registry data in {self._path} cannot be read: {error}; "
            "move the file away to start with an empty registry"
        )

    def _prepare(self) -> None:
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = NORMAL")
        self._db.execute("PRAGMA wal_autocheckpoint = 0")
        (version,) = self._db.execute("PRAGMA user_version").fetchone()
        if version == 0:
            self._db.executescript(
                f"BEGIN; {_SCHEMA} PRAGMA user_version = {_SCHEMA_VERSION}; COMMIT;"
            )
        elif version != _SCHEMA_VERSION:
            raise sqlite3.DatabaseError(f"it is of version {version}, not {_SCHEMA_VERSION}")


def _locked(data_dir: Path) -> IO[bytes]:
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        lock = (data_dir / "lock").open("wb")
    except OSError as error:
        raise ConfigurationError(f"registry data directory {data_dir}: {error}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        raise ConfigurationError(
            f"registry data directory {data_dir} is in use by another registry; "
            "stop that one, or name another directory"
        ) from None
    return lock
