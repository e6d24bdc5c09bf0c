from __future__ import annotations

import logging
import tracemalloc

import pytest

from trimtab.errors import ConfigurationError, InvalidInstanceError, RegistryAnswerError
from trimtab.instance import Instance, Status
from trimtab.registries import entries
from trimtab.registries.entries import (
    Complaints,
    StatusWords,
    check_protocol,
    gather,
    read_entry,
    text_or_json,
)


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
        ({"host": "h", "port": 80, "Priority": 3}, Instance(host="h", port=80, priority=3)),
        ({"host": "h", "port": 80, "priority": "127"}, Instance(host="h", port=80, priority=127)),
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
        ({"host": "h", "port": 1, "priority": "128"}, "priority is '128'; it must be a whole"),
        ({"host": "h", "port": 1, "priority": "high"}, "priority is 'high'; it must be a whole"),
        ({"host": "h", "port": 1, "priority": 1.5}, "priority is 1.5; it must be a whole"),
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


# Other names of fields


@pytest.mark.parametrize(
    ("entry", "address", "id_"),
    [
        ({"ip": "10.0.0.1", "port": 80}, "10.0.0.1:80", "10.0.0.1:80"),
        ({"IP": "10.0.0.1", "Port": "80"}, "10.0.0.1:80", "10.0.0.1:80"),
        ({"ip_addr": "10.0.0.1", "port": 80, "instance-id": "a"}, "10.0.0.1:80", "a"),
        ({"ipAddress": "::1", "port": 80}, "[::1]:80", "[::1]:80"),
        ({"address": "10.0.0.1", "port": 80}, "10.0.0.1:80", "10.0.0.1:80"),
        ({"address": "[::1]", "port": 80}, "[::1]:80", "[::1]:80"),
        ({"address": "::1", "port": 80}, "[::1]:80", "[::1]:80"),
        ({"addr": "h:81", "port": 80}, "h:80", "h:80"),
        ({"hostname": "web-1", "ip": "10.0.0.1", "port": 80}, "10.0.0.1:80", "10.0.0.1:80"),
        (
            {"Address": "10.0.0.9", "ServiceAddress": "10.0.0.1", "ServicePort": 80},
            "10.0.0.1:80",
            "10.0.0.1:80",
        ),
        ({"Address": "10.0.0.9", "ServiceAddress": "", "ServicePort": 80}, *["10.0.0.9:80"] * 2),
        ({"endpoint": "http://h:80/"}, "h:80", "h:80"),
    ],
)
def test_the_usual_names_of_fields_are_known(entry, address, id_):
    instance = read_entry(entry)
    assert (instance.address, instance.id) == (address, id_)


# Words for the status


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (("success", "SUCCESS", "Up", "in service", "passing", True, 1, "1", "Running"), "passing"),
        (("on", "ON", "connected", "valid"), "passing"),
        (("off", "disconnected", "invalid", "gone"), "critical"),
        (("degraded", "WARN", "warning"), "warning"),
        (("error", "Failed", "DOWN", False, 0, "not-ready", "critical", "timeout"), "critical"),
        (("draining", "OUT_OF_SERVICE", "maintenance", "Terminating", "paused"), "draining"),
    ],
)
def test_common_words_are_known(words, status):
    known = StatusWords()
    assert {known.status_of(word).value for word in words} == {status}
    assert known.unknown("here") == ()


@pytest.mark.parametrize(
    "word",
    ["asleep", "", "  ", 2, -1, 1.0, ["up"], {"phase": "Running"}, 10**5000, "x" * 10**6],
    ids=lambda word: type(word).__name__,
)
def test_an_unknown_word_counts_as_critical_and_is_named_once(word):
    words = StatusWords()
    entry = {"host": "h", "port": 1, "status": word}
    instances, _ = gather([entry] * 2, lambda each: read_entry(each, words=words), place="here")
    if word == "":
        assert instances[0].status is Status.PASSING  # An empty field is none.
        return
    assert instances[0].status is Status.CRITICAL
    (message,) = words.unknown("here")
    assert "unknown status" in message
    assert len(message) < 300
    assert words.unknown("here") == ()


def test_few_of_many_unknown_words_are_named():
    words = StatusWords()
    for number in range(10_000):
        words.status_of(f"word{number}")
    assert len(words.unknown("here")[0]) < 1000


def test_other_words_may_be_given():
    words = StatusWords({"Fine": "passing", "up": "critical"})
    assert words.status_of("FINE") is Status.PASSING
    assert words.status_of("up") is Status.CRITICAL
    with pytest.raises(ConfigurationError, match="'good'; it must be one of passing"):
        StatusWords({"fine": "good"})


# What costs more than it should


class Counting(list):
    """Counts how often it is looked through."""

    def __init__(self, *args):
        super().__init__(*args)
        self.walks = 0

    def __iter__(self):
        self.walks += 1
        return super().__iter__()


BAD = [7, None, "no port", {"host": "h"}, {"host": "h", "port": "9" * 4300}, [[]], {}, "h:99999"]


@pytest.mark.parametrize("bad", BAD, ids=range(len(BAD)))
def test_many_unreadable_entries_cost_few_messages_and_are_counted(bad):
    entries = Counting([*[bad] * 20_000, "h:1"])
    tracemalloc.start()
    try:
        instances, skipped = gather(entries, read_entry, place="here")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert [each.address for each in instances] == ["h:1"]
    assert (entries.walks, len(skipped)) == (1, 101)
    assert skipped[-1] == "here: 20000 entries are skipped in all"
    assert sum(map(len, skipped)) < 64 * 1024
    assert peak < 2**20


def test_known_complaints_are_looked_up_and_not_searched(caplog):
    class Message(str):
        __slots__ = ()
        compared = 0

        def __eq__(self, other):
            Message.compared += 1
            return str.__eq__(self, other)

        __hash__ = str.__hash__

    complaints = Complaints()
    for _ in range(3):
        # New strings, as each answer has them.
        complaints.about("orders", tuple(Message(f"entry {number}") for number in range(2000)))
    assert len(caplog.messages) == 2000
    assert Message.compared < 20_000


def test_a_list_without_end_is_refused_after_a_bounded_number(monkeypatch):
    monkeypatch.setattr(entries, "MOST_ENTRIES", 1000)
    taken = 0

    def endless():
        nonlocal taken
        while True:
            taken += 1
            yield "h:1"

    with pytest.raises(RegistryAnswerError, match="more than 1000 entries"):
        gather(endless(), read_entry, place="here")
    assert taken == 1001


def test_one_long_entry_has_a_short_message():
    for bad in ("x" * 2**20, {"host": "x" * 2**20, "port": 1}, {"x" * 2**20: 1}, ["y" * 2**20]):
        _, skipped = gather([bad, "h:1"], read_entry, place="here")
        assert len(skipped[0]) < 600


@pytest.mark.parametrize(
    "port",
    ["9" * 4300, "9" * 10**6, 10**4300, int("9" * 4000), "0" * 5000, "٣" * 5000, 1e300],
    ids=range(7),
)
def test_a_port_of_any_length_costs_its_entry_alone(port):
    (instance,), (message,) = gather([{"host": "h", "port": port}, "h:1"], read_entry, place="here")
    assert instance.port == 1
    assert len(message) < 600


@pytest.mark.parametrize("error", [ValueError, KeyError, RecursionError, MemoryError, TypeError])
def test_whatever_an_entry_raises_costs_that_entry_alone(error):
    def read(entry):
        if entry == "bad":
            raise error("a bug")
        return read_entry(entry)

    instances, skipped = gather(["bad", "h:1"], read, place="here")
    assert (len(instances), len(skipped)) == (1, 1)
    assert error.__name__ in skipped[0]


# Protocols


def test_only_what_speaks_http_is_listed():
    for protocol in ("http", "HTTPS", "rest", "tri", "h2"):
        check_protocol(protocol)
    for protocol in ("dubbo", "DUBBO", "grpc", "thrift", "rmi", "redis", "amqp", "", "x" * 10**6):
        with pytest.raises(InvalidInstanceError, match="not HTTP") as caught:
            check_protocol(protocol)
        assert len(str(caught.value)) < 200
