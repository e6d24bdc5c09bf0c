"""Durations in Go's form."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.server.durations import duration_s


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
    "text", ["banana", "10", "s", "10 s", "1s ", "1d", "1e3s", "--1s", "9999999h", "1s" * 50, "."]
)
def test_refuses_other_texts_by_name(text):
    with pytest.raises(ValueError, match="invalid duration") as caught:
        duration_s(text)
    assert text in str(caught.value)


@pytest.mark.parametrize("value", [None, True, [], {}, float("nan"), float("inf")])
def test_refuses_other_values(value):
    with pytest.raises(ValueError, match="invalid duration"):
        duration_s(value)


@given(st.integers(0, 10_000), st.integers(0, 59), st.integers(0, 59), st.integers(0, 999))
def test_parts_add_up(hours, minutes, seconds, milliseconds):
    text = f"{hours}h{minutes}m{seconds}s{milliseconds}ms"
    whole = hours * 3600 + minutes * 60 + seconds + milliseconds / 1000
    assert duration_s(text) == pytest.approx(whole)
