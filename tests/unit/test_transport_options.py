"""What one request asks for itself, and where its key comes from."""

import httpx
import pytest

from trimtab import ConfigurationError, RetryPolicy
from trimtab.transports.options import Options, RequestOptions, key_reader

USUAL = Options(deadline_s=5.0)
TWICE = RetryPolicy(max_attempts=2)


def of(own, key_of=None, headers=None):
    request = httpx.Request(
        "GET", "http://orders/", headers=headers, extensions={"trimtab": own} if own else None
    )
    return USUAL.of(request, key_of)


def test_a_request_that_asks_for_nothing_gets_the_usual():
    assert of(None) == USUAL
    assert of({}) == USUAL


@pytest.mark.parametrize(
    ("own", "wanted"),
    [
        ({"key": "7"}, Options(key="7", deadline_s=5.0)),
        ({"deadline_s": 0.5}, Options(deadline_s=0.5)),
        ({"deadline_s": None}, Options()),
        ({"retry": TWICE}, Options(deadline_s=5.0, retry=TWICE)),
        ({"retry": True}, USUAL),
        ({"hedge": False}, Options(deadline_s=5.0, hedged=False)),
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
        ({"retires": 3}, r"'retires'; known are deadline_s, hedge, key, retry"),
        ({"retry": 3}, r"retry=3; write RetryPolicy\(...\) or False"),
        ({"key": 7}, r"the key of a request is 7; it must be a string"),
        ({"deadline_s": 0}, r"deadline_s is 0; it must be above 0"),
        ({"deadline_s": "1"}, r"deadline_s is '1'; it must be a number"),
    ],
)
def test_wrong_options_are_refused_by_name(own, said):
    with pytest.raises(ConfigurationError, match=said):
        of(own)


def test_the_known_options_are_those_of_the_type():
    assert set(RequestOptions.__annotations__) == {"key", "deadline_s", "retry", "hedge"}


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
