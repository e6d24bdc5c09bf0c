"""How inner transports are made: versions, limits, certificates, and mistakes in them."""

from __future__ import annotations

import ssl

import httpx
import httpx2
import pytest
import trustme

from trimtab import ConfigurationError, Instance
from trimtab.transports import making
from trimtab.transports.families import Family
from trimtab.transports.making import Maker
from trimtab.transports.tls import tls_context

HERE = Instance(host="h", port=1)
KINDS = pytest.mark.parametrize(
    ("module", "is_async"),
    [(module, is_async) for module in (httpx, httpx2) for is_async in (False, True)],
)


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


@pytest.fixture
def pem(tmp_path, authority):
    """A client certificate with its key, in one file; and the authority's own certificate."""
    mine, its = tmp_path / "mine.pem", tmp_path / "ca.pem"
    authority.issue_cert("me").private_key_and_cert_chain_pem.write_to_path(mine)
    authority.cert_pem.write_to_path(its)
    return str(mine), str(its)


@KINDS
def test_the_kind_is_of_the_family_and_all_share_one_context(module, is_async):
    maker, family = Maker(), Family(module)
    one, two = (maker.make(family, HERE, is_async=is_async) for _ in range(2))
    assert type(one) is (module.AsyncHTTPTransport if is_async else module.HTTPTransport)
    assert one is not two
    assert one._pool._ssl_context is two._pool._ssl_context


@KINDS
def test_idle_connections_are_kept_for_less_than_servers_keep_them(module, is_async):
    pool = Maker().make(Family(module), HERE, is_async=is_async)._pool
    assert (pool._max_connections, pool._max_keepalive_connections) == (100, 20)
    assert pool._keepalive_expiry < 5.0
    own = module.Limits(max_connections=7, keepalive_expiry=60.0)
    pool = Maker(limits=own).make(Family(module), HERE, is_async=is_async)._pool
    assert (pool._max_connections, pool._keepalive_expiry) == (7, 60.0)


@KINDS
def test_the_versions_and_the_own_address_are_passed_on(module, is_async):
    maker = Maker(http1=False, http2=True, local_address="127.0.0.9")
    pool = maker.make(Family(module), HERE, is_async=is_async)._pool
    assert (pool._http1, pool._http2, pool._local_address) == (False, True, "127.0.0.9")


def test_a_factory_of_ones_own_makes_them_all():
    made = []
    maker = Maker(own=lambda instance: made.append(instance) or "mine")
    assert maker.make(Family(httpx), HERE, is_async=True) == "mine"
    assert made == [HERE]


def test_no_version_at_all_is_refused():
    with pytest.raises(ConfigurationError, match="one of them must be spoken"):
        Maker(http1=False)


def test_http2_without_its_library_says_what_to_install(monkeypatch):
    monkeypatch.setattr(making, "find_spec", lambda name: None if name == "h2" else name)
    with pytest.raises(ConfigurationError, match=r"pip install 'trimtab\[http2\]'"):
        Maker(http2=True)
    Maker(http2=False)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"verify": "/nowhere/ca.pem"}, "verify: .*/nowhere/ca.pem"),
        ({"cert": "/nowhere/me.pem"}, "cert: .*/nowhere/me.pem"),
        ({"cert": ("/nowhere/me.pem", "/nowhere/key.pem", "secret")}, "me.pem and /nowhere/key"),
    ],
)
def test_a_file_that_cannot_be_read_is_told_at_once_and_no_password(options, said):
    with pytest.raises(ConfigurationError, match=said) as caught:
        Maker(**options)
    assert "secret" not in str(caught.value)


def test_a_file_that_holds_no_certificate_is_told_too(tmp_path):
    empty = tmp_path / "empty.pem"
    empty.write_text("")
    with pytest.raises(ConfigurationError, match=r"verify: .*empty\.pem"):
        Maker(verify=str(empty))
    with pytest.raises(ConfigurationError, match=r"cert: .*empty\.pem"):
        Maker(cert=str(empty))


def test_an_environment_that_names_no_file_is_told_at_first_use(monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere/bundle.pem")
    with pytest.raises(ConfigurationError, match="SSL_CERT_FILE"):
        Maker().make(Family(httpx), HERE, is_async=False)
    Maker(trust_env=False).make(Family(httpx), HERE, is_async=False)


def test_a_context_may_be_given_named_by_a_file_or_a_folder_or_switched_off(pem, tmp_path):
    mine, its = pem
    given = ssl.create_default_context()
    assert tls_context(given, mine, trust_env=False) is given
    assert tls_context(its, None, trust_env=False).cert_store_stats()["x509_ca"] == 1
    assert tls_context(str(tmp_path), None, trust_env=False).verify_mode is ssl.CERT_REQUIRED
    assert tls_context(False, (mine, mine), trust_env=False).verify_mode is ssl.CERT_NONE
    assert tls_context(True, None, trust_env=False).cert_store_stats()["x509_ca"] > 50
