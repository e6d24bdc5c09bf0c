"""What one request asks for itself, and where its key and its cost come from."""

import httpx
import pytest

from trimtab import ConfigurationError, RetryPolicy
from trimtab.transports.options import Options, RequestOptions, cost_reader, key_reader

USUAL = Options(deadline_s=5.0)
TWICE = RetryPolicy(max_attempts=2)


def of(own, key_of=None, headers=None, cost_of=None):
    request = httpx.Request(
        "GET", "http://orders/", headers=headers, extensions={"trimtab": own} if own else None
    )
    return USUAL.of(request, key_of, cost_of)


def test_a_request_that_asks_for_nothing_gets_the_usual():
    assert of(None) == USUAL
    assert of({}) == USUAL


@pytest.mark.parametrize(
    ("own", "wanted"),
    [
        ({"key": "7"}, Options(key="7", deadline_s=5.0)),
        ({"cost": 12}, Options(cost=12, deadline_s=5.0)),
        ({"cost": None}, USUAL),
        ({"deadline_s": 0.5}, Options(deadline_s=0.5)),
        ({"deadline_s": None}, Options()),
        ({"retry": TWICE}, Options(deadline_s=5.0, retry=TWICE)),
        ({"retry": True}, USUAL),
        ({"hedge": False}, Options(deadline_s=5.0, may_hedge=False)),
        ({"hedge": True}, USUAL),
    ],
)
def test_each_option(own, wanted):
    assert of(own) == wanted


@pytest.mark.parametrize("retry", [False, None])
def test_without_retries_there_is_one_attempt(retry):
    assert of({"retry": retry}).retry.max_attempts == 1


@pytest.mark.parametrize(
    ("own", "said"),
    [
        ({"retires": 3}, r"'retires'; known are cost, deadline_s, hedge, key, retry"),
        ({"retry": 3}, r"retry=3; write RetryPolicy\(...\) or False"),
        ({"key": 7}, r"the key of a request is 7; it must be a string"),
        ({"cost": 0}, r"the cost of a request is 0; it must be a finite number above 0"),
        ({"deadline_s": 0}, r"deadline_s is 0; it must be above 0"),
        ({"deadline_s": "1"}, r"deadline_s is '1'; it must be a number"),
    ],
)
def test_wrong_options_are_refused_by_name(own, said):
    with pytest.raises(ConfigurationError, match=said):
        of(own)


def test_the_known_options_are_those_of_the_type():
    assert set(RequestOptions.__annotations__) == {
        "key",
        "cost",
        "deadline_s",
        "retry",
        "hedge",
    }


def test_the_key_comes_from_a_header_or_a_function_unless_the_request_has_its_own():
    by_header = key_reader("X-Customer")
    assert of(None, by_header, {"x-customer": "7"}).key == "7"
    assert of(None, by_header).key is None
    assert of({"key": "8"}, by_header, {"x-customer": "7"}).key == "8"
    assert of(None, key_reader(lambda request: request.url.host)).key == "orders"
    assert key_reader(None) is None


@pytest.mark.parametrize("wrong", ["", 7, b"X-Customer"])
def test_a_key_comes_from_nowhere_else(wrong):
    with pytest.raises(ConfigurationError, match="key_from is"):
        key_reader(wrong)


def test_a_key_that_is_no_string_is_refused_wherever_it_comes_from():
    with pytest.raises(ConfigurationError, match="must be a string"):
        of(None, lambda request: 7)


def test_the_cost_comes_from_a_header_or_a_function_unless_the_request_has_its_own():
    by_header = cost_reader("X-Tokens")
    assert of(None, None, {"x-tokens": "12"}, by_header).cost == 12
    assert of(None, None, None, by_header).cost == 1
    assert of({"cost": 3}, None, {"x-tokens": "12"}, by_header).cost == 3
    assert of(None, None, None, cost_reader(lambda request: len(request.url.host))).cost == 6
    assert of(None, None, None, cost_reader(lambda request: None)).cost == 1
    assert cost_reader(None) is None


@pytest.mark.parametrize("text", ["many", "", "nan", "inf", "-1", "0"])
def test_a_header_that_is_no_cost_is_refused_with_its_text(text):
    with pytest.raises(ConfigurationError, match=r"the cost of a request is .*above 0"):
        of(None, None, {"x-tokens": text}, cost_reader("X-Tokens"))


def test_a_cost_comes_from_nowhere_else():
    with pytest.raises(ConfigurationError, match="cost_from is 12; give the name of a header"):
        cost_reader(12)
