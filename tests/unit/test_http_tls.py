"""The TLS context of clients: what it trusts, what it shows, when it is made, and wrong files."""

from __future__ import annotations

import ssl
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import trustme

from trimtab import ConfigurationError
from trimtab.http import tls
from trimtab.http.tls import SharedContext, tls_context


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


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"verify": "/nowhere/ca.pem"}, "verify: .*/nowhere/ca.pem"),
        ({"cert": "/nowhere/me.pem"}, "cert: .*/nowhere/me.pem"),
        ({"cert": ("/nowhere/me.pem", "/nowhere/key.pem", "secret")}, "me.pem and /nowhere/key"),
    ],
)
def test_a_file_that_cannot_be_read_is_reported_at_once_without_its_password(options, said):
    with pytest.raises(ConfigurationError, match=said) as caught:
        SharedContext(**options)
    assert "secret" not in str(caught.value)


def test_a_file_that_holds_no_certificate_is_reported_too(tmp_path):
    empty = tmp_path / "empty.pem"
    empty.write_text("")
    with pytest.raises(ConfigurationError, match=r"verify: .*empty\.pem"):
        SharedContext(verify=str(empty))
    with pytest.raises(ConfigurationError, match=r"cert: .*empty\.pem"):
        SharedContext(cert=str(empty))


def test_an_environment_that_names_no_file_is_reported_at_the_first_use(monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere/bundle.pem")
    shared = SharedContext()
    with pytest.raises(ConfigurationError, match="SSL_CERT_FILE"):
        shared.context()
    SharedContext(trust_env=False).context()


def test_the_context_is_made_once_however_many_threads_ask(monkeypatch):
    made, barrier = [], threading.Barrier(8)

    def make(*args, **options):
        made.append(tls_context(*args, **options))
        return made[-1]

    def ask(_):
        barrier.wait()
        return shared.context()

    monkeypatch.setattr(tls, "tls_context", make)
    shared = SharedContext()
    assert made == [], "before it is needed"
    with ThreadPoolExecutor(8) as threads:
        assert set(threads.map(ask, range(8))) == set(made)
    assert len(made) == 1


def test_a_context_may_be_given_named_by_a_file_or_a_folder_or_switched_off(pem, tmp_path):
    mine, its = pem
    given = ssl.create_default_context()
    assert tls_context(given, mine, trust_env=False) is given
    assert tls_context(its, None, trust_env=False).cert_store_stats()["x509_ca"] == 1
    assert tls_context(str(tmp_path), None, trust_env=False).verify_mode is ssl.CERT_REQUIRED
    assert tls_context(False, (mine, mine), trust_env=False).verify_mode is ssl.CERT_NONE
    assert tls_context(True, None, trust_env=False).cert_store_stats()["x509_ca"] > 50
