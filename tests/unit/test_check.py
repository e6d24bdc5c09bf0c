"""Checks as values: what they may say, their text form, and where they point."""

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab import ConfigurationError, Instance
from trimtab.check import Check

ME = Instance(host="10.0.0.7", port=8080)
SIX = Instance(host="::1", port=8080, scheme="https")


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        ("http:/", {"kind": "http"}),
        ("http:/health?deep=1", {"kind": "http", "path": "/health?deep=1"}),
        ("http:8081/health", {"kind": "http", "path": "/health", "port": 8081}),
        ("https:/health", {"kind": "http", "path": "/health", "scheme": "https"}),
        ("http:/health 200,429", {"kind": "http", "path": "/health", "statuses": "200,429"}),
        ("tcp", {"kind": "tcp"}),
        ("tcp:9000", {"kind": "tcp", "port": 9000}),
        ("script:/bin/check -v", {"kind": "script", "command": ("/bin/check", "-v")}),
        ("script:check 'a b' '$HOME'", {"kind": "script", "command": ("check", "a b", "$HOME")}),
    ],
)
def test_the_text_form_goes_both_ways(text, fields):
    check = Check(**fields)
    assert Check.parse(text) == check
    assert str(check) == text


def test_the_text_form_takes_further_fields():
    check = Check.parse("tcp", interval_s=1.0, fall=1)
    assert (check.interval_s, check.timeout_s, check.rise, check.fall) == (1.0, 2.0, 2, 1)


@pytest.mark.parametrize(
    "text",
    [
        *("", "http", "http:", "http:health", "http://host/health", "http:/a b c", "ftp:/", "tcp:"),
        *("tcp:x", "TCP", "script", "script:", "script: ", "script:'open", "http:/ 99", "tcp:0"),
        *("http:70000/", "http:/ 200-", "tcp /", "http:/\nX: y", "http:/é"),
    ],
)
def test_other_texts_are_refused_in_a_line(text):
    with pytest.raises(ConfigurationError, match="check "):
        Check.parse(text)


@given(st.text())
def test_any_text_is_read_or_refused(text):
    try:
        check = Check.parse(text)
    except ConfigurationError:
        return
    assert Check.parse(str(check)) == check


@given(st.lists(st.text(st.characters(exclude_characters="\0")), min_size=1))
def test_any_command_survives_its_text_form(words):
    words[0] = words[0] or "x"
    check = Check(kind="script", command=tuple(words))
    assert Check.parse(str(check)).command == tuple(words)


@pytest.mark.parametrize(
    ("field", "fields"),
    [
        ("kind", {"kind": "grpc"}),
        ("path", {"path": "health"}),
        ("path", {"path": "/a b"}),
        ("path", {"path": "/a\r\nX: y"}),
        ("path", {"path": None}),
        ("statuses", {"statuses": "2xx"}),
        ("statuses", {"statuses": ""}),
        ("statuses", {"statuses": "299-200"}),
        ("scheme", {"scheme": "ftp"}),
        ("port", {"port": 0}),
        ("port", {"port": 65536}),
        ("port", {"port": True}),
        ("command", {"command": ("true",)}),
        ("command", {"kind": "script"}),
        ("command", {"kind": "script", "command": ("",)}),
        ("command", {"kind": "script", "command": ("a", 1)}),
        ("command", {"kind": "script", "command": ("a\0b",)}),
        ("interval_s", {"interval_s": 0}),
        ("interval_s", {"interval_s": float("nan")}),
        ("timeout_s", {"timeout_s": float("inf")}),
        ("timeout_s", {"timeout_s": "1"}),
        ("rise", {"rise": 0}),
        ("fall", {"fall": 1.5}),
        ("fall", {"fall": True}),
    ],
)
def test_a_wrong_field_is_named(field, fields):
    with pytest.raises(ConfigurationError, match=f": {field} is .*; it must be "):
        Check(**{"kind": "http", **fields})


def test_expected_statuses():
    assert [Check(kind="http").expects(n) for n in (199, 200, 299, 300)] == [False, True, True, 0]
    check = Check(kind="http", statuses="200,301-302")
    assert [n for n in range(100, 600) if check.expects(n)] == [200, 301, 302]


def test_where_a_check_points():
    assert Check(kind="http", path="/h").url(ME) == "http://10.0.0.7:8080/h"
    assert Check(kind="http").url(SIX) == "https://[::1]:8080/"
    assert Check(kind="http", scheme="http", port=81).url(SIX) == "http://[::1]:81/"
    assert Check(kind="tcp").address(SIX) == ("::1", 8080)
    assert Check(kind="tcp", port=9).address(ME) == ("10.0.0.7", 9)


def test_it_is_a_value():
    check = Check(kind="script", command=["a"])
    assert check == Check(kind="script", command=("a",))
    assert hash(check) == hash(check.with_(rise=2))
    assert pickle.loads(pickle.dumps(check)) == check
    with pytest.raises(ConfigurationError, match="fall is 0"):
        check.with_(fall=0)
