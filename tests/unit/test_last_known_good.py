"""Lists on disk: whole or not used, with an age, and never in the way."""

import json
import logging
import os

import pytest

from trimtab import Instance, Status
from trimtab.discovery.last_known_good import LastKnownGood
from trimtab.testing import ManualClock

LIST = (
    Instance(host="10.0.0.7", port=80, id="a", weight=2.0, zone="east", metadata={"rack": "r7"}),
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
