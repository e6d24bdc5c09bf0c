"""Consul URLs: several agents, TLS, prepared queries, and what does not go together."""

from __future__ import annotations

import ssl

import httpx
import pytest
import trustme

from consul_kit import Agent
from trimtab.errors import ConfigurationError
from trimtab.registries import Registrar, Registry, WatchableRegistry, connect
from trimtab.registries.consul import ConsulSettings


@pytest.mark.parametrize(
    ("url", "shown", "bases"),
    [
        ("consul://h", "consul://h:8500", ["http://h:8500"]),
        (
            "consul://a,b:1,[::1]:2,a:8500/prefix/",
            "consul://a:8500,b:1,[::1]:2,a:8500/prefix",
            ["http://a:8500/prefix", "http://b:1/prefix", "http://[::1]:2/prefix"],
        ),
        (
            "consul+https://a,b",
            "consul+https://a:8501,b:8501",
            ["https://a:8501", "https://b:8501"],
        ),
    ],
)
def test_agents(url, shown, bases):
    settings = ConsulSettings.from_url(url)
    assert settings.url == shown
    assert list(settings.bases) == bases
    for base in settings.bases:
        assert settings.name_of(base) == base.replace("http", "consul", 1).replace(
            "consuls", "consul+https"
        )


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("consul://", "no host:port"),
        ("consul://h:0", "'h:0' is no host:port"),
        ("consul://h,", "'' is no host:port"),
        ("consul://h:x", "'h:x' is no host:port"),
        ("consul://[::1", r"'\[::1' is no host:port"),
        ("consul://u:p4ss@h", "use [?]token="),
        ("consul://h?banana", "unknown option 'banana'"),
        ("consul://h?stale&consistent", "exclude each other"),
        ("consul://h?wait=banana", "no duration"),
        ("consul://h?watches=many", "watches='many' is no number"),
        ("consul://h?poll&wait=5s", "wait cannot be combined with poll"),
        ("consul://h?prepared&tag=a", "tag cannot be combined with prepared"),
        ("consul://h?prepared&passing", "passing cannot be combined with prepared"),
        ("consul://h?ca=/x", "ca= is for TLS; write consul[+]https://"),
        ("consul+https://h?ca=/not/there", "ca: no CA certificates can be read from /not/there"),
        ("consul+https://h?key=/x", "key= needs cert="),
        ("consul+https://h?cert=/x&key=/y", "cert: no certificate with its key .* /x and /y"),
    ],
)
def test_wrong_urls(url, message):
    with pytest.raises(ConfigurationError, match=message) as caught:
        connect(url)
    assert "p4ss" not in str(caught.value)


def test_another_scheme_is_refused():
    with pytest.raises(ConfigurationError, match="write consul://host:port"):
        ConsulSettings.from_url("http://h")


def test_how_lists_are_followed():
    watched, polled, prepared = (
        connect(f"consul://h{options}") for options in ("", "?poll", "?prepared&dc=east&near=n1")
    )
    assert isinstance(watched, WatchableRegistry)
    assert not isinstance(polled, WatchableRegistry)
    assert isinstance(polled, Registrar)
    assert isinstance(prepared, Registry)
    assert not isinstance(prepared, Registrar)
    assert len({watched.key, polled.key, prepared.key}) == 3


def test_the_number_of_watches():
    assert ConsulSettings.from_url("consul://h?watches=9").max_watches == 9
    assert connect("consul://h?watches=9").key != connect("consul://h").key


def test_certificates_are_part_of_the_key(tmp_path):
    authority = trustme.CA()
    ca, cert = tmp_path / "ca.pem", tmp_path / "cert.pem"
    authority.cert_pem.write_to_path(ca)
    authority.issue_cert("client").private_key_and_cert_chain_pem.write_to_path(cert)
    plain, one, same, other, unchecked = (
        connect(f"consul+https://h{options}")
        for options in ("", f"?ca={ca}", f"?ca={ca}", f"?ca={ca}&cert={cert}", "?verify=0")
    )
    assert one.key == same.key
    assert len({plain.key, one.key, other.key, unchecked.key}) == 4
    context = ConsulSettings.from_url(f"consul+https://h?ca={ca}&cert={cert}").context()
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert (
        ConsulSettings.from_url("consul+https://h?verify=0").context().verify_mode == ssl.CERT_NONE
    )


@pytest.mark.anyio
async def test_a_path_is_a_prefix_of_every_question():
    agent = Agent(httpx.Response(200, json={}))
    assert await agent.registry(url="consul://h/prefix/").services() == []
    assert str(agent.asked[0].url) == "http://h:8500/prefix/v1/catalog/services"
