"""What people type on the command line, read into values."""

import pytest

from trimtab.cli.inputs import read_address, read_header, read_method, read_pairs, read_target
from trimtab.errors import ConfigurationError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("127.0.0.1:80", ("127.0.0.1", 80)),
        ("orders.internal:65535", ("orders.internal", 65535)),
        ("[::1]:8080", ("::1", 8080)),
    ],
)
def test_an_address_has_host_and_port(text, expected):
    assert read_address(text) == expected


@pytest.mark.parametrize(
    "text", ["", "8080", ":8080", "host:", "host:x", "::1:80", "[]:80", "h:0", "h:65536", "h:-1"]
)
def test_a_wrong_address_is_named_with_a_remedy(text):
    with pytest.raises(ConfigurationError, match=r"write HOST:PORT|must be from 1 to 65535"):
        read_address(text)


def test_pairs_become_a_mapping():
    assert read_pairs(["a=1", "b=", "c=x=y"]) == {"a": "1", "b": "", "c": "x=y"}


@pytest.mark.parametrize("texts", [["a"], ["=1"], [""], ["a=1", "a=2"]])
def test_wrong_pairs_are_refused(texts):
    with pytest.raises(ConfigurationError, match="--meta"):
        read_pairs(texts)


def test_a_header_has_name_and_value():
    assert read_header("Accept: text/plain") == ("Accept", "text/plain")
    assert read_header("X-Empty:") == ("X-Empty", "")


@pytest.mark.parametrize("text", ["Accept", "a b: 1", ": 1", "X: a\nb", "X: \u00fc"])
def test_a_wrong_header_is_refused(text):
    with pytest.raises(ConfigurationError, match="-H"):
        read_header(text)


def test_a_refused_header_keeps_its_value_to_itself():
    with pytest.raises(ConfigurationError) as caught:
        read_header("Authorization secret-7")
    assert "secret-7" not in str(caught.value)


def test_a_method_is_upper_case():
    assert read_method("post") == "POST"
    with pytest.raises(ConfigurationError, match="write a method"):
        read_method("GET /")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("orders", ("orders", "http://orders")),
        ("orders/items/7?a=1", ("orders", "http://orders/items/7?a=1")),
        ("orders?a=1", ("orders", "http://orders?a=1")),
        ("https://Orders/x", ("Orders", "https://Orders/x")),
    ],
)
def test_a_target_names_a_service_and_a_url(text, expected):
    assert read_target(text) == expected


@pytest.mark.parametrize("text", ["", "/x", "http://", "ftp://orders/", "orders:80/", "u@orders/"])
def test_a_target_without_a_service_is_refused(text):
    with pytest.raises(ConfigurationError, match=r"names no service|the scheme is"):
        read_target(text)
