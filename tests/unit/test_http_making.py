"""How inner transports are made: versions, limits, one TLS context, and wrong settings."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import httpx
import httpx2
import pytest

from trimtab import ConfigurationError, Instance
from trimtab.http import inner, making, tls
from trimtab.http.families import Family
from trimtab.http.inner import AsyncInnerTransport, InnerTransport
from trimtab.http.making import Maker
from trimtab.http.tls import tls_context

HERE = Instance(host="h", port=1)
KINDS = pytest.mark.parametrize(
    ("module", "is_async"),
    [(module, is_async) for module in (httpx, httpx2) for is_async in (False, True)],
)


class Pools:
    """Stands for httpcore's pools, and keeps what they are made of."""

    def __init__(self, monkeypatch, core):
        self.made = []
        for name in ("ConnectionPool", "AsyncConnectionPool"):
            monkeypatch.setattr(core, name, self._pool)
        # The pool of HTTP/2 on threads is a class over httpcore's.
        monkeypatch.setattr(inner, "one_at_a_time", lambda core: core.ConnectionPool)

    def _pool(self, **settings):
        self.made.append(settings)
        return self

    def handle_request(self, request):
        return SimpleNamespace(status=200, headers=[], stream=[], extensions={})

    async def handle_async_request(self, request):
        return self.handle_request(request)


@pytest.fixture
def settings(module, is_async, monkeypatch):
    """Gives what the pools are made of that serve some requests."""

    def settings(maker, *urls):
        family = Family(module)
        pools = Pools(monkeypatch, family.core)
        transport = maker.make(family, HERE, is_async=is_async)
        for url in urls or ("http://h:1/",):
            request = module.Request("GET", url)
            if is_async:
                asyncio.run(transport.handle_async_request(request))
            else:
                transport.handle_request(request)
        return pools.made

    return settings


@KINDS
def test_the_kind_is_that_of_the_client(module, is_async):
    maker, family = Maker(), Family(module)
    one, two = (maker.make(family, HERE, is_async=is_async) for _ in range(2))
    assert type(one) is (AsyncInnerTransport if is_async else InnerTransport)
    assert one is not two


@KINDS
def test_a_context_is_made_for_tls_only_and_all_share_it(module, is_async, settings, monkeypatch):
    contexts = []

    def make(*args, **options):
        contexts.append(tls_context(*args, **options))
        return contexts[-1]

    monkeypatch.setattr(tls, "tls_context", make)
    maker = Maker()
    (plain,) = settings(maker, "http://h:1/", "http://h:1/more")
    assert ("ssl_context" in plain, contexts) == (False, [])
    urls = ("https://h:1/", "http://h:1/", "https://h:1/more")
    made = settings(maker, *urls) + settings(maker, *urls)
    assert [each.get("ssl_context") for each in made] == [contexts[0], None] * 2
    assert len(contexts) == 1


@KINDS
def test_the_context_is_ready_before_the_first_request_to_an_instance_over_tls(
    module, is_async, monkeypatch
):
    made = []
    monkeypatch.setattr(tls, "tls_context", lambda *_, **__: made.append(1) or object())
    maker = Maker()
    maker.make(Family(module), HERE, is_async=is_async)
    assert made == []
    maker.make(Family(module), Instance(host="h", port=1, scheme="https"), is_async=is_async)
    assert made == [1]


@KINDS
def test_idle_connections_are_kept_for_less_than_servers_keep_them(module, is_async, settings):
    (pool,) = settings(Maker())
    assert (pool["max_connections"], pool["max_keepalive_connections"]) == (100, 20)
    assert pool["keepalive_expiry"] < 5.0
    own = module.Limits(max_connections=7, keepalive_expiry=60.0)
    (pool,) = settings(Maker(limits=own))
    assert (pool["max_connections"], pool["keepalive_expiry"]) == (7, 60.0)


@KINDS
def test_the_versions_and_the_own_address_are_passed_on(module, is_async, settings):
    (pool,) = settings(Maker(http1=False, http2=True, local_address="127.0.0.9"))
    assert (pool["http1"], pool["http2"], pool["local_address"]) == (False, True, "127.0.0.9")


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


@pytest.mark.parametrize("setting", ["verify", "cert"])
def test_a_file_that_cannot_be_read_is_reported_when_made(setting):
    with pytest.raises(ConfigurationError, match=f"{setting}: .*/nowhere/x.pem"):
        Maker(**{setting: "/nowhere/x.pem"})


def test_an_environment_that_names_no_file_is_reported_at_the_first_use_of_tls(monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere/bundle.pem")
    over_tls = Instance(host="h", port=1, scheme="https")
    Maker().make(Family(httpx), HERE, is_async=False)
    with pytest.raises(ConfigurationError, match="SSL_CERT_FILE"):
        Maker().make(Family(httpx), over_tls, is_async=False)
    Maker(trust_env=False).make(Family(httpx), over_tls, is_async=False)
