"""The registry's state in one SQLite file, so that it survives being killed.

It uses WAL mode and one transaction per change, committed before any client sees the change: what
was answered once is there again after `kill -9`. (`synchronous=NORMAL`: the last moments before a
power failure may be lost; the file stays valid.) A commit appends to the log without waiting for
the disk, in tens of microseconds, so it is done in line.

The log is emptied when it has grown by 4 MiB, and at every thousandth change. `checkpoint` copies
it into the file, in a thread with its own connection, since it waits for the disk. Changes go on
meanwhile, so SQLite cannot start the log again by itself under steady writes. Hence `empty_log`
copies the rest in line, with no write in between, and cuts the log to nothing.
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
_LOG_BYTES, _CHANGES = 4 << 20, 1000
_MAX_LOG_BYTES = 16 << 20
_BUSY_MS = 5000

Record = tuple[str, str, str]


@dataclass(slots=True)
class Saved:
    """What a store kept.

    Attributes:
        last_index: 1 in a new store.
        node_name: the registry's own node when the store was last written; "" in a new one.
    """

    last_index: int = 1
    node_name: str = ""
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
        self._log_path = data_dir / "registry.sqlite3-wal" if data_dir else None
        self._lock = _locked(data_dir) if data_dir else None
        self._unsaved: dict[Record, msgspec.Struct | None] = {}
        self._due_at_bytes, self._changes = _LOG_BYTES, 0
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
        self._unsaved = {}
        self._changes += 1

    def set_node_name(self, name: str) -> None:
        """Keep the name of the registry's own node.

        Raises:
            sqlite3.Error: the write failed.
        """
        self._db.execute(_SET, ("node_name", name))

    def log_is_long(self) -> bool:
        """Return True, once, if it is time to empty the log."""
        size, is_due = self._log_bytes(), False
        if size >= self._due_at_bytes:
            self._due_at_bytes, is_due = size + _LOG_BYTES, True
        if size and self._changes >= _CHANGES:
            self._changes, is_due = 0, True
        return is_due

    def log_is_too_long(self) -> bool:
        """Return True if the log should be emptied at once, in line: the thread is too slow."""
        return self._log_bytes() >= _MAX_LOG_BYTES

    def checkpoint(self) -> None:
        """Copy the log into the file. Waits for the disk; may run in another thread.

        Raises:
            sqlite3.Error: it failed, for example because the disk is full.
        """
        if self._path:
            with closing(sqlite3.connect(self._path)) as db:
                db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()

    def empty_log(self, *, wait_ms: int = 0) -> None:
        """Copy the rest of the log into the file, and cut the log to nothing.

        Waits for the disk. While another program reads the file, or a checkpoint runs, the log
        cannot be cut. This waits up to `wait_ms` for them, and then changes nothing; it is due
        again when the log has grown by 4 MiB more.

        Raises:
            sqlite3.Error: it failed, for example because the disk is full.
        """
        self._db.execute(f"PRAGMA busy_timeout = {wait_ms}")
        try:
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        finally:
            self._db.execute(f"PRAGMA busy_timeout = {_BUSY_MS}")
        self._due_at_bytes = self._log_bytes() + _LOG_BYTES

    def _log_bytes(self) -> int:
        try:
            return self._log_path.stat().st_size if self._log_path else 0
        except OSError:
            return 0  # there is none until the first change

    def close(self) -> None:
        """Close the file and unlock the directory."""
        self._db.close()
        if self._lock:
            self._lock.close()

    def _load(self) -> Saved:
        saved = Saved()
        for name, value in self._db.execute("SELECT name, value FROM settings"):
            if name in {"last_index", "node_name"}:
                setattr(saved, name, value)
        for kind, node, body in self._db.execute("SELECT kind, node, body FROM records"):
            if kind == "services":
                saved.services.append((node, msgspec.json.decode(body, type=Service)))
            elif kind == "checks":
                saved.checks.append(msgspec.json.decode(body, type=Check))
            elif kind == "definitions":
                saved.definitions.append(msgspec.json.decode(body, type=CheckDefinition))
                # Only the own node has definitions. Old files have no setting with its name.
                saved.node_name = saved.node_name or node
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
