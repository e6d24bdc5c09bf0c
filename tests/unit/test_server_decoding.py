"""What clients send is read as Go reads it: JSON bodies and durations."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.server.decoding import Refusal, duration_s, read
from trimtab.server.definitions import CheckDefinition, CheckUpdate, ServiceDefinition


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"", "Request decode failed: EOF"),
        (b"  \n", "Request decode failed: EOF"),
        (b'{"Name":', "Request decode failed: unexpected EOF"),
        (b"[]", "Request decode failed: Expected `object`, got `array`"),
        (b"null", "got `null`"),
        (b"{]", "Request decode failed: JSON is malformed"),
        (b'{"Name": "\xff"}', "Request decode failed"),
        (b'{"Name": "\\ud800"}', "Request decode failed"),
        (b'{"Meta": ' + b"[" * 100_000, "Request decode failed"),
        (b'{"Check": {"TTL": 1' + b"0" * 400 + b"}}", "time: invalid duration"),
    ],
)
def test_refuses_bodies_that_are_not_a_json_object(body, text):
    with pytest.raises(Refusal) as caught:
        read(body, ServiceDefinition)
    assert caught.value.status == 400
    assert text in caught.value.text


def test_reads_updates_and_checks():
    assert read(b'{"Status": "warning", "output": "o"}', CheckUpdate).output == "o"
    check = read(b'{"ID": "c", "Name": "n", "TCP": "h:1", "Interval": "1s"}', CheckDefinition)
    assert (check.check_id, check.type) == ("c", "tcp")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("10s", 10.0),
        ("1m30s", 90.0),
        ("500ms", 0.5),
        ("1h2m3.5s", 3723.5),
        ("1.5h", 5400.0),
        (".5s", 0.5),
        ("2.s", 2.0),
        ("10us", 1e-5),
        ("10\u00b5s", 1e-5),
        ("10\u03bcs", 1e-5),
        ("7ns", 7e-9),
        ("-3s", -3.0),
        ("+3s", 3.0),
        ("0", 0.0),
        ("", 0.0),
        (10, 1e-8),
        (2_000_000_000, 2.0),
    ],
)
def test_reads_what_go_reads(text, seconds):
    assert duration_s(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text",
    [
        "banana",
        "10",
        "s",
        "10 s",
        "1s ",
        "1d",
        "1e3s",
        "--1s",
        "+-1s",
        "1d2h",
        "9999999h",
        "1s" * 50,
        ".",
    ],
)
def test_refuses_other_texts_by_name(text):
    with pytest.raises(ValueError, match="invalid duration") as caught:
        duration_s(text)
    assert text in str(caught.value)


@pytest.mark.parametrize(
    "value", [None, True, [], {}, float("nan"), float("inf"), 10**400, -(10**400)]
)
def test_refuses_other_values(value):
    with pytest.raises(ValueError, match="invalid duration"):
        duration_s(value)


@given(st.integers(0, 10_000), st.integers(0, 59), st.integers(0, 59), st.integers(0, 999))
def test_parts_add_up(hours, minutes, seconds, milliseconds):
    text = f"{hours}h{minutes}m{seconds}s{milliseconds}ms"
    whole = hours * 3600 + minutes * 60 + seconds + milliseconds / 1000
    assert duration_s(text) == pytest.approx(whole)
