from __future__ import annotations

import logging

import pytest

from trimtab.errors import InvalidInstanceError, RegistryAnswerError
from trimtab.instance import Instance, Status
from trimtab.registries.entries import Complaints, gather, read_entry, text_or_json


@pytest.mark.parametrize(
    ("entry", "instance"),
    [
        ("10.0.0.1:80", Instance(host="10.0.0.1", port=80)),
        ("[::1]:80", Instance(host="::1", port=80)),
        ("https://h:443/", Instance(host="h", port=443, scheme="https")),
        ({"address": "h:80", "zone": "a"}, Instance(host="h", port=80, zone="a")),
        (
            {"host": "h", "port": "80", "weight": "2.5", "id": 7, "status": "UP"},
            Instance(host="h", port=80, weight=2.5, id="7"),
        ),
        (
            {"host": "h", "port": 80, "zone": None, "status": False, "metadata": None},
            Instance(host="h", port=80, status=Status.CRITICAL),
        ),
        (
            {"host": "h", "port": 1, "status": "leaving"},
            Instance(host="h", port=1, status=Status.DRAINING),
        ),
        (
            {"host": "h", "port": 1, "metadata": {"a": "b", "n": 3, "l": [1]}},
            Instance(host="h", port=1, metadata={"a": "b", "n": "3", "l": "[1]"}),
        ),
        (Instance(host="h", port=1), Instance(host="h", port=1)),
    ],
)
def test_entries_are_read(entry, instance):
    assert read_entry(entry) == instance


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (7, "7 is neither a table nor a 'host:port'"),
        ("h", "'h' is not 'host:port'"),
        ("h:80/path", "is not 'host:port'"),
        ("h:99999", "Port out of range"),
        ({"address": 80}, "80 is not 'host:port'"),
        ({"host": "h", "prot": 80}, "unknown field 'prot'; known are host, port"),
        ({"host": "h"}, "has no port"),
        ({"port": 80, "metadata": {"x": "y" * 100}}, r"\.\.\. has no host"),
        ({"host": "h", "port": "http"}, "port is 'http'"),
        ({"host": "h", "port": 1, "weight": "much"}, "weight 'much' is not a number"),
        ({"host": "h", "port": 1, "status": "asleep"}, "status is 'asleep'"),
        ({"host": "h", "port": 1, "metadata": 3}, "metadata is 3"),
    ],
)
def test_entries_that_make_no_instance_say_why(entry, message):
    with pytest.raises(InvalidInstanceError, match=message):
        read_entry(entry)


def test_bad_and_doubled_entries_are_left_out_and_named():
    instances, skipped = gather(["h:1", "h:x", "h:1", "h:2"], read_entry, place="the list")
    assert [instance.port for instance in instances] == [1, 2]
    assert len(skipped) == 2
    assert skipped[0].startswith("the list: entry 1 skipped: 'h:x'")
    assert skipped[1] == "the list: entry 2 skipped: a second instance 'h:1'"


def test_an_empty_list_is_empty_but_one_that_cannot_be_read_is_not():
    assert gather([], read_entry, place="the list") == ((), ())
    with pytest.raises(RegistryAnswerError, match=r"entry 0 skipped: .*no other entry"):
        gather(["h", "i"], read_entry, place="the list")


def test_complaints_are_logged_once_and_again_after_they_had_gone(caplog):
    caplog.set_level(logging.WARNING, "trimtab.registries")
    complaints = Complaints()
    for skipped in (("x",), ("x",), ("x", "y"), (), ("x",)):
        complaints.about("orders", skipped)
    assert caplog.messages == ["x", "y", "x"]


def test_metadata_nested_beyond_measure_is_one_bad_entry():
    value: list = []
    for _ in range(100_000):
        value = [value]
    with pytest.raises(InvalidInstanceError, match="nested too deeply"):
        text_or_json(value)
