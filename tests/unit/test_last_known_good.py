"""Lists on disk: whole or not used, with an age, and never in the way."""

import asyncio
import json
import logging
import os
import threading
import tracemalloc

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from trimtab import Instance, Status
from trimtab.discovery import last_known_good as module
from trimtab.discovery.last_known_good import LastKnownGood, OffLoop
from trimtab.testing import ManualClock

LIST = (
    Instance(
        host="10.0.0.7",
        port=80,
        id="a",
        weight=2.0,
        zone="east",
        priority=2,
        metadata={"rack": "r7"},
    ),
    Instance(host="::1", port=81, scheme="https", status=Status.CRITICAL),
)


@pytest.fixture
def clock():
    return ManualClock(1_700_000_000.0)


@pytest.fixture
def store(tmp_path, clock):
    return make(tmp_path / "lists", clock)


def make(folder, clock, key="consul://one", service="orders"):
    return LastKnownGood(
        folder,
        registry_key=key,
        registry_url="consul://one",
        service=service,
        max_age_s=3600.0,
        wall_clock=clock,
    )


def test_a_saved_list_is_loaded_with_its_age(store, clock):
    assert store.load() is None
    store.save(LIST)
    clock.advance(60)
    assert store.load() == (LIST, pytest.approx(60))
    store.confirm()
    assert store.load() == (LIST, pytest.approx(0))


def test_nothing_is_left_beside_the_file(store):
    store.save(LIST)
    store.save(LIST[:1])
    assert list(store.path.parent.iterdir()) == [store.path]
    assert store.load()[0] == LIST[:1]


def test_the_file_is_for_people_too(store):
    store.save(LIST)
    content = json.loads(store.path.read_text())
    assert (content["registry"], content["service"]) == ("consul://one", "orders")
    assert content["instances"][0]["host"] == "10.0.0.7"


def test_registries_and_services_have_files_of_their_own(tmp_path, clock):
    names = [
        make(tmp_path, clock, key, service).path.name
        for key in ("one", "two")
        for service in ("orders", "or/ders", "or_ders", "../../etc/passwd", "x" * 500)
    ]
    assert len(set(names)) == len(names)
    assert all("/" not in name and len(name) < 120 for name in names)


def test_an_old_list_is_not_used(store, clock, caplog):
    store.save(LIST)
    clock.advance(3601)
    assert store.load() is None
    assert "3601 s old" in caplog.text


def test_a_clock_set_back_counts_as_no_age(store, clock):
    store.save(LIST)
    clock._now -= 100
    assert store.load() == (LIST, 0.0)


@pytest.mark.parametrize(
    "text",
    [
        "", "{", "[]", "null", '{"format": 1}', "\x00\x00", '{"format": "1"}',
        '{"format": 1, "registry": "r", "service": "s", "instances": [{"host": "a", "port": 0}]}',
        '{"format": 1, "registry": "r", "service": "s", "instances": [{"host": "a"}]}',
        '{"format": 1, "registry": "r", "service": "s", "instances": [{"x": 1}]}',
    ],
)  # fmt: skip
def test_a_torn_or_foreign_file_is_not_used_and_named(store, text, caplog):
    store.path.parent.mkdir()
    store.path.write_text(text)
    assert store.load() is None
    assert str(store.path) in caplog.text


def test_every_torn_prefix_is_refused(store):
    store.save(LIST)
    whole = store.path.read_bytes()
    for length in range(len(whole)):
        store.path.write_bytes(whole[:length])
        assert store.load() is None


def test_another_format_is_not_used(store, caplog):
    store.save(LIST)
    store.path.write_text(store.path.read_text().replace('"format": 1', '"format": 2'))
    assert store.load() is None
    assert "format 2" in caplog.text


def test_trouble_with_the_disk_is_logged_and_no_more(tmp_path, clock, caplog):
    (tmp_path / "file").write_text("")
    store = make(tmp_path / "file", clock)
    with caplog.at_level(logging.WARNING):
        store.save(LIST)
        store.confirm()
        assert store.load() is None
    for said in ("cannot be saved", "date of its list cannot be updated", "is not used"):
        assert said in caplog.text
    assert caplog.text.count("service 'orders'") == 3


def test_a_folder_where_the_file_should_be(store, caplog):
    os.makedirs(store.path)  # noqa: PTH103 - the parents too
    store.save(LIST)
    assert store.load() is None


def test_every_flipped_bit_is_survived(store):
    store.save(LIST)
    whole = store.path.read_bytes()
    for at in range(len(whole)):
        for bit in range(8):
            store.path.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << bit]) + whole[at + 1 :])
            loaded = store.load()
            assert loaded is None or loaded[0] == LIST, (at, bit)


@given(st.binary(max_size=200))
@example(b"\xff\xfe")
@example(b"[" * 100_000)
@example(b'{"format": ' + b"9" * 5000 + b"}")
def test_any_content_is_survived(tmp_path_factory, content):
    folder = tmp_path_factory.mktemp("lists")
    store = make(folder, ManualClock(1_700_000_000.0))
    store.path.write_bytes(content)
    assert store.load() is None


def hand_written(instances):
    return f'{{"format": 1, "registry": "r", "service": "s", "instances": {instances}}}'.encode()


@pytest.mark.parametrize(
    "instances",
    [
        "null", "7", '{"host": "a"}', "[7]", "[[]]", '[{"host": "a..b", "port": 1}]',
        f'[{{"host": "a", "port": {"9" * 5000}}}]', '[{"host": "a", "port": 1, "metadata": 7}]',
        "[" * 10_000, '[{"host": "a", "port": 1, "x": ' + "[" * 10_000,
    ],
    ids=range(10),
)  # fmt: skip
def test_any_entries_are_survived(store, instances):
    store.path.parent.mkdir()
    store.path.write_bytes(hand_written(instances))
    assert store.load() is None


def test_a_list_written_by_hand_is_used_and_of_two_with_one_id_the_last(store):
    store.path.parent.mkdir()
    one, two = '{"host": "a", "port": 1, "id": "x"}', '{"host": "b", "port": 1, "id": "x"}'
    store.path.write_bytes(hand_written(f"[{one}, {two}]"))
    assert store.load()[0] == (Instance(host="b", port=1, id="x"),)


@pytest.mark.parametrize("kind", ["pipe", "folder", "huge", "device"])
def test_what_is_no_file_of_a_bounded_size_is_not_read(store, kind, caplog):
    store.path.parent.mkdir()
    if kind == "pipe":
        os.mkfifo(store.path)  # Reading it would wait for a writer without end.
    elif kind == "folder":
        store.path.mkdir()
    elif kind == "device":
        store.path.symlink_to("/dev/zero")
    else:
        with store.path.open("wb") as file:
            file.truncate(2**33)
    tracemalloc.start()
    try:
        assert store.load() is None
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2**20
    assert "is not used" in caplog.text


def test_writers_of_one_file_do_not_meet(tmp_path, clock):
    """Equal process ids on a shared volume, and threads, may write at once."""
    lists = [
        tuple(Instance(host=f"h{at}-{number}", port=80) for number in range(60)) for at in range(4)
    ]
    ended = threading.Event()

    def write(instances):
        store = make(tmp_path, clock)
        while not ended.is_set():
            store.save(instances)

    writers = [threading.Thread(target=write, args=(each,)) for each in lists]
    reader = make(tmp_path, clock)
    reader.save(lists[0])
    for writer in writers:
        writer.start()
    try:
        loads = [reader.load() for _ in range(300)]
    finally:
        ended.set()
        for writer in writers:
            writer.join()
    assert all(loaded is not None and loaded[0] in lists for loaded in loads)
    assert list(tmp_path.iterdir()) == [reader.path]


def test_what_a_killed_writer_has_left_is_removed_later(store):
    store.save(LIST)
    beside = store.path.with_name(f"{store.path.name}.0123456789abcdef.new")
    beside.write_text("half")
    store.load()
    assert beside.exists()  # It may be another's that is being written.
    os.utime(beside, (1.0, 1.0))
    store.load()
    assert not beside.exists()


@pytest.mark.parametrize("metadata", [{"a": object()}, {"a": "\ud800"}, {"a": 1j}])
def test_a_list_that_cannot_be_written_is_logged_and_the_one_before_stays(store, metadata, caplog):
    store.save(LIST)
    store.save((Instance(host="a", port=1, metadata=metadata),))
    assert store.load()[0] == LIST
    assert "cannot be saved" in caplog.text
    assert list(store.path.parent.iterdir()) == [store.path]


# Off the loop


class Slow:
    """A store on a disk that hangs until it is released."""

    def __init__(self):
        self.saved, self.threads = [], set()
        self.released = threading.Event()

    def save(self, instances):
        self.threads.add(threading.current_thread())
        self.released.wait(10)
        self.saved.append(instances)

    def confirm(self):
        self.save("confirmed")

    def load(self):
        self.threads.add(threading.current_thread())
        self.released.wait(10)


def test_saving_holds_up_no_loop_and_the_newest_list_is_saved_last():
    async def main():
        slow = Slow()
        disk = OffLoop(slow)
        for number in range(1000):
            disk.save(number)
        await asyncio.sleep(0.01)
        for number in range(1000, 2000):
            disk.save(number)
            disk.confirm()
        assert slow.saved == []
        slow.released.set()
        await disk.aclose()
        assert slow.saved[-1] == 1999
        assert len(slow.saved) <= 3
        assert threading.main_thread() not in slow.threads

    asyncio.run(main())


def test_a_loop_that_ends_saves_what_waits():
    slow = Slow()
    slow.released.set()

    async def main():
        disk = OffLoop(slow)
        disk.save("list")
        disk._writing.cancel()  # As when a loop cancels all its tasks.
        await disk.aclose()

    asyncio.run(main())
    assert slow.saved == ["list"]


def test_an_error_of_the_store_costs_one_save_alone(caplog):
    class Broken(Slow):
        def save(self, instances):
            if instances == "bad":
                raise MemoryError
            super().save(instances)

    async def main():
        store = Broken()
        store.released.set()
        disk = OffLoop(store)
        disk.save("bad")
        await disk.aclose()
        disk.save("good")
        await disk.aclose()
        return store.saved

    assert asyncio.run(main()) == ["good"]
    assert "cannot be kept on disk" in caplog.text


def test_a_disk_that_hangs_holds_up_no_closing(monkeypatch, caplog):
    monkeypatch.setattr(module, "_CLOSE_WITHIN_S", 0.05)
    slow = Slow()

    async def main():
        disk = OffLoop(slow)
        disk.save("one")
        await asyncio.sleep(0.01)
        disk.save("two")
        await disk.aclose()
        assert slow.saved == []
        slow.released.set()

    asyncio.run(main())
    assert "has not written" in caplog.text
