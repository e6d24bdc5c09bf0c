"""The one parser of durations."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.durations import parse_duration_s


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("60s", 60),
        ("10ms", 0.01),
        ("1m30s", 90),
        (" 1m 30s ", 90),
        ("1.5h", 5400),
        (".5s", 0.5),
        ("2.s", 2),
        ("250us", 250e-6),
        ("3\u00b5s", 3e-6),
        ("3\u03bcs", 3e-6),
        ("7ns", 7e-9),
        ("1d", 86400),
        ("0s", 0),
    ],
)
def test_durations(text, seconds):
    assert parse_duration_s(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "10", "s", "ten s", "10 sec", "-1s", "1s!", "1e3s", "1s" * 50]
)
def test_a_text_that_is_no_duration_is_refused_with_the_form_to_write(text):
    with pytest.raises(ValueError, match="is not a duration; write it like 500ms, 30s or 1m30s"):
        parse_duration_s(text)


@given(st.integers(0, 10_000), st.integers(0, 59), st.integers(0, 59), st.integers(0, 999))
def test_parts_add_up(hours, minutes, seconds, milliseconds):
    text = f"{hours}h{minutes}m{seconds}s{milliseconds}ms"
    whole = hours * 3600 + minutes * 60 + seconds + milliseconds / 1000
    assert parse_duration_s(text) == pytest.approx(whole)
