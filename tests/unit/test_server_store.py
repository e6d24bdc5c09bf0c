"""The store: all or nothing, kept, locked, and clear about what is wrong with it."""

import shutil
import sqlite3
from contextlib import closing

import pytest

from trimtab.errors import ConfigurationError
from trimtab.server.definitions import CheckDefinition
from trimtab.server.records import Check, Node, Service
from trimtab.server.store import Saved, Store

NODE = Node(id="1", node="n", address="h", meta={"a": "b"})
SERVICE = Service(id="a", service="web", tags=("x",), meta={"k": "v"}, create_index=3)
CHECK = Check(node="n", check_id="c", name="c", output="o", service_id="a")
DEFINITION = CheckDefinition(check_id="c", ttl_s=1.5, header={"a": ["b"]}, args=["x"])
ALL = {
    ("nodes", "n", ""): NODE,
    ("services", "n", "a"): SERVICE,
    ("checks", "n", "c"): CHECK,
    ("definitions", "n", "c"): DEFINITION,
}


def test_gives_back_what_it_was_given(tmp_path):
    with closing(Store(tmp_path)) as store:
        assert store.load() == Saved()
        store.save(ALL, 7)
    with closing(Store(tmp_path)) as store:
        kept = Saved(7, "n", [NODE], [("n", SERVICE)], [CHECK], [DEFINITION])
        assert store.load() == kept
        store.set_node_name("other")
        store.save({("services", "n", "a"): None, ("checks", "n", "c"): None}, 8)
    with closing(Store(tmp_path)) as store:
        assert store.load() == Saved(8, "other", [NODE], [], [], [DEFINITION])


def test_memory_keeps_nothing():
    with closing(Store(None)) as store:
        store.save(ALL, 7)
        assert store.load().last_index == 7
        store.checkpoint()
        assert not store.log_is_long()
        store.empty_log()
    with closing(Store(None)) as store:
        assert store.load() == Saved()


def test_what_could_not_be_written_is_written_with_the_next(tmp_path):
    with closing(Store(tmp_path)) as store:
        with closing(sqlite3.connect(tmp_path / "registry.sqlite3")) as other:
            other.execute("BEGIN IMMEDIATE")
            store._db.execute("PRAGMA busy_timeout = 1")
            with pytest.raises(sqlite3.OperationalError, match="locked"):
                store.save({("nodes", "n", ""): NODE}, 2)
        store.save({("services", "n", "a"): SERVICE}, 3)
        assert store.load() == Saved(3, "", [NODE], [("n", SERVICE)], [], [])


def log_bytes(folder):
    return (folder / "registry.sqlite3-wal").stat().st_size


def write_until_long(store, start=0):
    for index in range(start, start + 10_000):
        store.save({("nodes", "n", str(index)): NODE}, index)
        if store.log_is_long():
            return index
    raise AssertionError("the log is never called long")


def test_the_log_is_moved_into_the_file_and_emptied(tmp_path):
    with closing(Store(tmp_path)) as store:
        written = write_until_long(store)
        assert 1 << 20 <= log_bytes(tmp_path) < 5 << 20
        assert not store.log_is_long()
        before = (tmp_path / "registry.sqlite3").stat().st_size
        store.checkpoint()
        assert (tmp_path / "registry.sqlite3").stat().st_size > before
        store.save({("nodes", "n", "between"): NODE}, written + 1)
        store.empty_log()
        assert log_bytes(tmp_path) == 0
        shutil.copytree(tmp_path, tmp_path.parent / "copy", ignore=lambda *_: {"lock"})
    with closing(Store(tmp_path.parent / "copy")) as store:
        assert len(store.load().nodes) == written + 2


def test_a_log_that_another_program_reads_is_due_again_later(tmp_path):
    with closing(Store(tmp_path)) as store:
        written = write_until_long(store)
        with closing(sqlite3.connect(tmp_path / "registry.sqlite3")) as other:
            other.execute("BEGIN")
            other.execute("SELECT * FROM records").fetchone()
            store.empty_log()
            assert log_bytes(tmp_path) > 0
            assert not store.log_is_long()
        write_until_long(store, written + 1)
        store.empty_log()
        assert log_bytes(tmp_path) == 0


def test_a_directory_is_used_by_one_registry_only(tmp_path):
    with (
        closing(Store(tmp_path)),
        pytest.raises(ConfigurationError, match="in use by another registry"),
    ):
        Store(tmp_path)
    Store(tmp_path).close()


def test_a_path_that_is_not_a_directory(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match=r"registry data directory .*file"):
        Store(tmp_path / "file")


def test_a_file_that_is_no_database_is_named(tmp_path):
    (tmp_path / "registry.sqlite3").write_bytes(b"not a database at all" * 100)
    for _ in range(2):
        with pytest.raises(ConfigurationError, match=r"registry.sqlite3 cannot be read: .*move"):
            Store(tmp_path)


def test_a_newer_file_is_left_alone(tmp_path):
    with closing(sqlite3.connect(tmp_path / "registry.sqlite3")) as db:
        db.execute("PRAGMA user_version = 99")
    with pytest.raises(ConfigurationError, match="it is of version 99, not 1"):
        Store(tmp_path)


def test_a_broken_record_is_named(tmp_path):
    with closing(Store(tmp_path)) as store:
        store._db.execute("INSERT INTO records VALUES ('checks', 'n', 'c', '{')")
        with pytest.raises(
            ConfigurationError, match=r"registry.sqlite3 cannot be read: Input data was truncated"
        ):
            store.load()
