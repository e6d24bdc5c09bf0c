"""The two families: what an error means, and errors that are also the family's own."""

from __future__ import annotations

import ssl

import httpx
import httpx2
import pytest

from trimtab import DiscoveryTimeoutError, NoEligibleInstanceError, NoInstancesError
from trimtab.http.families import family_of

FAMILIES = pytest.mark.parametrize("module", [httpx, httpx2], ids=["httpx", "httpx2"])


def of(module):
    return family_of(module.Request("GET", "http://orders/"))


@FAMILIES
def test_a_request_tells_its_family(module):
    assert of(module).module is module
    assert of(module) is of(module)
    assert of(module).name == module.__name__


@FAMILIES
@pytest.mark.parametrize(
    ("name", "failure"),
    [
        ("ConnectTimeout", "connect_timeout"),
        ("ConnectError", "refused"),
        ("ReadTimeout", "timeout"),
        ("WriteTimeout", "timeout"),
        ("PoolTimeout", "timeout"),
        ("ReadError", "no_response"),
        ("WriteError", "no_response"),
        ("CloseError", "no_response"),
        ("RemoteProtocolError", "no_response"),
        ("LocalProtocolError", "caller"),
        ("UnsupportedProtocol", "caller"),
        ("ProxyError", "refused"),
    ],
)
def test_every_transport_error_means_one_thing(module, name, failure):
    assert of(module).failure(getattr(module, name)("x")) == failure


CORE_ERRORS = [
    "TimeoutException",
    "ConnectTimeout",
    "ReadTimeout",
    "WriteTimeout",
    "PoolTimeout",
    "NetworkError",
    "ConnectError",
    "ReadError",
    "WriteError",
    "ProtocolError",
    "LocalProtocolError",
    "RemoteProtocolError",
    "ProxyError",
    "UnsupportedProtocol",
]


@FAMILIES
@pytest.mark.parametrize("name", CORE_ERRORS)
def test_every_error_from_beneath_becomes_the_familys_of_the_same_name(module, name):
    family = of(module)
    kind = getattr(family.core, name)
    for raised in (kind("as told"), type("Special", (kind,), {})("as told")):
        assert isinstance(raised, family.core_errors)
        translated = family.translated(raised)
        assert (type(translated), str(translated)) == (getattr(module, name), "as told")


@FAMILIES
def test_no_error_from_beneath_is_forgotten(module):
    core = of(module).core
    errors = {
        name
        for name in core.__all__
        if isinstance(kind := getattr(core, name), type) and issubclass(kind, Exception)
    }
    assert errors == {*CORE_ERRORS, "ConnectionNotAvailable"}, "which the pool keeps to itself"


@FAMILIES
def test_a_special_case_of_an_error_means_the_same(module):
    special = type("Special", (module.ConnectError,), {})("x")
    assert of(module).failure(special) == "refused"


def test_a_tls_alert_after_the_handshake_is_a_broken_connection():
    assert of(httpx).failure(ssl.SSLError(1, "certificate required")) == "no_response"


def test_one_familys_errors_mean_nothing_to_the_other():
    assert of(httpx).failure(httpx2.ConnectError("x")) == "unknown"
    assert of(httpx2).failure(KeyboardInterrupt()) == "caller"


@FAMILIES
@pytest.mark.parametrize(
    "error",
    [
        NoInstancesError("none is registered", service="orders"),
        NoEligibleInstanceError("none may be picked", service="orders", reasons={"critical": 2}),
        DiscoveryTimeoutError("no list in time", service="orders"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_of_ours_is_also_a_connect_error_and_keeps_its_attributes(module, error):
    request = module.Request("GET", "http://orders/")
    both = of(module).as_connect_error(error, request)
    assert isinstance(both, module.ConnectError)
    assert isinstance(both, type(error))
    assert type(both).__name__ == type(error).__name__
    assert (str(both), both.request) == (str(error), request)
    assert {name: getattr(both, name) for name in vars(error)} == vars(error)
    assert type(of(module).as_connect_error(error, request)) is type(both)


@FAMILIES
def test_the_words_are_those_of_the_first_cause_that_has_any(module):
    family = of(module)
    assert family.words(module.ConnectError("as told")) == "as told"
    assert family.words(module.ReadError("")) == "ReadError"
    silent = module.ConnectError("")
    silent.__cause__ = ValueError("")
    silent.__cause__.__context__ = ssl.SSLError(1, "not trusted")
    assert "not trusted" in family.words(silent)
    assert family.is_tls_error(silent)
    assert not family.is_tls_error(module.ConnectError("refused"))


@FAMILIES
def test_only_transport_errors_are_put_in_other_words(module):
    request = module.Request("GET", "http://orders/")
    explained = of(module).explained(module.ReadTimeout("x"), "in words", request)
    assert (type(explained), str(explained)) == (module.ReadTimeout, "in words")
    alert = of(module).explained(ssl.SSLError(1, "alert"), "in words", request)
    assert (type(alert), str(alert)) == (module.ReadError, "in words")
    mistake = ValueError("a mistake")
    assert of(module).explained(mistake, "in words", request) is mistake


@FAMILIES
@pytest.mark.parametrize("kind", ["Connect", "Read", "Write", "Pool"])
@pytest.mark.parametrize("said", ["", "timed out", "Cancelled via cancel scope 7f885c4a6200"])
def test_a_time_out_is_called_by_its_name_whatever_the_library_beneath_says(module, kind, said):
    words = of(module).words(getattr(module, f"{kind}Timeout")(said))
    assert f"{kind.lower()} time-out" in words
    assert "cancel scope" not in words
    assert of(module).words(module.TimeoutException("of a custom transport")) == (
        "of a custom transport"
    )
