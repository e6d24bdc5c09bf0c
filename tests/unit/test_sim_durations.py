import math

import pytest

from trimtab_sim.durations import (
    decode,
    encode,
    parse_duration,
    parse_factor,
    parse_rate,
    parse_share,
    schema_of,
)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("60s", 60),
        ("10ms", 0.01),
        ("1m30s", 90),
        ("1m 30s", 90),
        ("1.5h", 5400),
        ("250us", 250e-6),
        ("3µs", 3e-6),
        ("7ns", 7e-9),
        ("1d", 86400),
        (2, 2),
        (0.25, 0.25),
        (0, 0),
    ],
)
def test_durations(text, seconds):
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "10", "ten s", "10 sec", "s", "-1s", "1s!", None, True, [1]])
def test_a_wrong_duration_is_reported_with_a_remedy(text):
    with pytest.raises(ValueError, match=r'is not a duration; write seconds .* "250ms"'):
        parse_duration(text)


@pytest.mark.parametrize("number", [-1, math.inf, math.nan])
def test_a_duration_is_finite_and_not_negative(number):
    with pytest.raises(ValueError, match="finite and not negative"):
        parse_duration(number)


@pytest.mark.parametrize(
    ("text", "share"), [("5%", 0.05), ("100 %", 1), ("99.9%", 0.999), (0.25, 0.25), (1, 1)]
)
def test_shares(text, share):
    assert parse_share(text) == share


@pytest.mark.parametrize("text", ["5", "101%", 1.5, -0.1, None, False])
def test_a_wrong_share_is_reported_with_a_remedy(text):
    with pytest.raises(ValueError, match="from 0 to 1"):
        parse_share(text)


def test_other_types_are_not_ours():
    with pytest.raises(NotImplementedError):
        decode(complex, 1)
    with pytest.raises(NotImplementedError):
        schema_of(complex)
    with pytest.raises(NotImplementedError):
        encode(object())


@pytest.mark.parametrize(
    ("text", "per_s"), [("100/s", 100), ("6/m", 0.1), ("0.5 / ms", 500), (3, 3), (0.2, 0.2)]
)
def test_rates(text, per_s):
    assert parse_rate(text) == pytest.approx(per_s)


@pytest.mark.parametrize("text", ["100", "/s", "0/s", 0, -1, math.inf, None])
def test_a_wrong_rate_is_reported_with_a_remedy(text):
    with pytest.raises(ValueError, match='"100/s" or "6/m"'):
        parse_rate(text)


def test_factors():
    assert parse_factor(20) == 20.0
    for wrong in (0, -1, "2", math.nan):
        with pytest.raises(ValueError, match="above 0, like 20"):
            parse_factor(wrong)
