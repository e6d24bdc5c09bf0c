"""ZooKeeper without a ZooKeeper: URLs, names, what the settings may be."""

from __future__ import annotations

import importlib
import ssl

import pytest

from trimtab.errors import ConfigurationError, RegistryRequestError
from trimtab.registries import Registrar, WatchableRegistry, connect, zookeeper
from trimtab.registries.zookeeper import ZooKeeperSettings
from trimtab.registries.zookeeper.layouts import node_name, parent_of


@pytest.mark.parametrize(
    ("url", "can_watch", "can_write", "shown"),
    [
        ("zk://h", True, True, "zk://h:2181/services"),
        ("zk://h1:1,h2:2,h3", True, True, "zk://h1:1,h2:2,h3:2181/services"),
        ("zk://h/", True, True, "zk://h:2181/services"),
        ("zk://h/a/b%20c/?poll", False, True, "zk://h:2181/a/b c"),
        ("zk://h?dubbo", True, False, "zk://h:2181/dubbo"),
        ("zk://h/other?dubbo=1&poll=1", False, False, "zk://h:2181/other"),
        ("zk://[::1]:5,[::2]/x", True, True, "zk://[::1]:5,[::2]:2181/x"),
        ("zk://u:p%40ss@h?acl=creator", True, True, "zk://h:2181/services"),
    ],
)
def test_a_url_names_the_members_the_base_and_the_layout(url, can_watch, can_write, shown):
    registry = connect(url)
    assert isinstance(registry, WatchableRegistry) is can_watch
    assert isinstance(registry, Registrar) is can_write
    assert ZooKeeperSettings.from_url(url).dubbo == ("dubbo" in url)
    assert registry.url == shown
    assert "p@ss" not in f"{registry.key} {registry!r} {ZooKeeperSettings.from_url(url)!r}"


@pytest.mark.parametrize(
    ("url", "complaint"),
    [
        ("zk://", "is no host:port"),
        ("zk://h:0", "is no host:port"),
        ("zk://h:99999", "is no host:port"),
        ("zk://h1,,h2", "is no host:port"),
        ("zk://[::1", "is no host:port"),
        ("zk://h/a//b", "no path in ZooKeeper"),
        ("zk://h/../b", "no path in ZooKeeper"),
        ("zk://h/a%01b", "no path in ZooKeeper"),
        ("zk://h#x", "write zk://"),
        ("zk://h?banana=1", "unknown option 'banana'"),
        ("zk://h?session=0.1", "session_s is 0.1"),
        ("zk://h?timeout=0", "timeout_s is 0.0"),
        ("zk://h?recheck=0", "recheck_s is 0.0"),
        ("zk://h?session=banana", "is no duration"),
        ("zk://h?acl=banana", "acl is 'banana'"),
        ("zk://h?acl=creator", "acl=creator needs a user"),
        ("zk://h?sasl", "sasl needs a user"),
        ("zk://h?dubbo&acl=open", "Dubbo's format is only read"),
        ("zk://h?tls=0&verify=0", "tls is off, and verify= is given"),
        ("zk://h?ca=/nowhere.pem", "ca: no CA certificates can be read from /nowhere.pem"),
        ("zk://u:s3cr3t@h?key=/nowhere.pem", "key= needs cert="),
    ],
)
def test_a_wrong_url_is_refused_with_its_reason_and_without_secrets(url, complaint):
    with pytest.raises(ConfigurationError, match=complaint) as caught:
        connect(url)
    assert "s3cr3t" not in str(caught.value)


def test_tls_is_on_when_asked_for_or_implied_and_verifies():
    for options in ("tls", "verify=1"):
        context = ZooKeeperSettings.from_url(f"zk://h?{options}").context()
        assert context.verify_mode is ssl.CERT_REQUIRED
        assert context.check_hostname
    for options in ("", "tls=0"):
        assert ZooKeeperSettings.from_url(f"zk://h?{options}").context() is None
    trusting = ZooKeeperSettings.from_url("zk://h?verify=0").context()
    assert trusting.verify_mode is ssl.CERT_NONE


def test_keys_tell_registries_apart_by_whatever_matters():
    urls = [
        *("zk://h", "zk://h/other", "zk://h2", "zk://u:a@h", "zk://u:b@h", "zk://u:a@h?sasl"),
        *("zk://h?poll", "zk://h?session=3s", "zk://h?timeout=3s", "zk://h?recheck=3s"),
        *("zk://u:a@h?acl=creator", "zk://h?tls", "zk://h?verify=0", "zk://h/services?dubbo"),
    ]
    assert len({connect(url).key for url in urls}) == len(urls)
    for url in urls:
        assert connect(url).key == connect(url).key


def test_what_can_be_watched_and_written():
    for url, can_watch, can_write in (
        ("zk://h", True, True),
        ("zk://h?poll", False, True),
        ("zk://h?dubbo", True, False),
        ("zk://h?dubbo&poll", False, False),
    ):
        registry = connect(url)
        assert isinstance(registry, WatchableRegistry) is can_watch, url
        assert isinstance(registry, Registrar) is can_write, url


@pytest.mark.anyio
@pytest.mark.parametrize("service", ["", ".", "..", "a/b", "a\x00b", "\ud800", "\ufff0"])
async def test_a_service_that_can_be_no_node_is_refused(service):
    with pytest.raises(RegistryRequestError, match="can be no service in ZooKeeper"):
        await connect("zk://h").fetch(service)


@pytest.mark.parametrize(
    ("id_", "name"),
    [
        ("10.0.0.1:80", "10.0.0.1:80"),
        ("[::1]:80", "[::1]:80"),
        ("ü 1", "ü 1"),
        ("a/b", "a%2Fb"),
        ("..", "%2E%2E"),
        ("a\nb", "a%0Ab"),
    ],
)
def test_an_id_names_its_node_as_it_is_where_it_can(id_, name):
    assert node_name(id_) == name


def test_the_node_above():
    assert parent_of("/a/b") == "/a"
    assert parent_of("/a") == "/"


def test_without_kazoo_the_remedy_is_named(monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("importlib.util.find_spec", lambda name: None)
        with pytest.raises(ConfigurationError, match=r"pip install 'trimtab\[zookeeper\]'"):
            importlib.reload(zookeeper)
    importlib.reload(zookeeper)


def test_without_pure_sasl_the_remedy_is_named(monkeypatch):
    monkeypatch.setattr("trimtab.registries.zookeeper.settings.find_spec", lambda name: None)
    with pytest.raises(ConfigurationError, match="pip install pure-sasl"):
        connect("zk://u:p@h?sasl")
