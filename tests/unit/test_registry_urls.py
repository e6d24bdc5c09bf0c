from __future__ import annotations

import re

import pytest

from trimtab.errors import ConfigurationError
from trimtab.registries import connect
from trimtab.registries.urls import credentials, digest, duration_s, flag, hosts_of, read_options

URL = "consul://h:1"


def test_options_are_read_and_may_repeat():
    options = read_options(URL, "a=1&b=x&b=y&c", known="abc", repeatable="b")
    assert options == {"a": ["1"], "b": ["x", "y"], "c": [""]}


@pytest.mark.parametrize(
    ("query", "message"),
    [("wiat=3", "unknown option 'wiat'; known are poll, wait"), ("wait=1&wait=2", "given twice")],
)
def test_options_unknown_or_doubled_are_refused(query, message):
    with pytest.raises(ConfigurationError, match=message):
        read_options(URL, query, known=("wait", "poll"))


@pytest.mark.parametrize("value", ["", "1", "true", "YES", "on"])
def test_a_flag_is_on(value):
    assert flag(URL, {"poll": [value]}, "poll")


@pytest.mark.parametrize("value", ["0", "false", "No", "off"])
def test_a_flag_is_off(value):
    assert not flag(URL, {"poll": [value]}, "poll")


def test_a_flag_not_given_is_off_and_a_strange_one_is_refused():
    assert not flag(URL, {}, "poll")
    with pytest.raises(ConfigurationError, match="poll='banana' must be true or false"):
        flag(URL, {"poll": ["banana"]}, "poll")


@pytest.mark.parametrize(
    ("text", "seconds"), [("30", 30), ("30s", 30), ("1.5m", 90), ("500ms", 0.5), ("1m30s", 90)]
)
def test_durations(text, seconds):
    assert duration_s(URL, {"wait": [text]}, "wait", 1) == seconds


def test_a_duration_has_a_default_and_a_form():
    assert duration_s(URL, {}, "wait", 7) == 7
    with pytest.raises(ConfigurationError, match="wait='-3s' is no duration; write it like 30s"):
        duration_s(URL, {"wait": ["-3s"]}, "wait", 1)


def test_a_digest_tells_secrets_apart_and_hides_them():
    assert digest("a", None) == digest("a", None) != digest("b", None)
    assert "s3cr3t" not in digest("s3cr3t")


@pytest.mark.parametrize(
    ("url", "message"),
    [
        (
            "127.0.0.1:8500",
            "has no scheme; write it like 'consul://127.0.0.1:8500'",
        ),
        ("consule://h:1?token=s3cr3t", "no registry has the scheme 'consule'; known are static"),
        ("consul://h:1/?wiat=3&token=s3cr3t", "unknown option 'wiat'"),
        ("consul://h:1/?wait=90s", "wait_s is 90.0; it must be more than 0 and at most 60"),
        ("consul://h:99999", "'h:99999' is no host:port"),
        ("consul:///x", "is no host:port"),
        ("consul://me:s3cr3t@h:1", "use .token="),
        ("consul://h:1?stale&consistent", "exclude each other"),
        ("http:///x", "write http"),
        ("http://h:bad/x", "write http"),
        ("http://h/x#hots=ip", "unknown option 'hots'"),
        ("file://etc/x.json", "write an absolute path"),
        ("file:///etc/x.ini", "must end in .json, .toml, .yaml or .yml"),
        ("file:///etc/x.json?pol", "unknown option 'pol'"),
    ],
)
def test_a_wrong_url_says_what_is_wrong_and_no_secret(url, message):
    with pytest.raises(ConfigurationError, match=message) as caught:
        connect(url)
    assert "s3cr3t" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "hosts", "user"),
    [
        ("etcd://a:1,b,[::1]:3/p", [("a", 1), ("b", 9), ("::1", 3)], None),
        ("etcd://me:s%2Fcret@h?x=1", [("h", 9)], ("me", "s/cret")),
    ],
)
def test_several_hosts_and_credentials(url, hosts, user):
    assert hosts_of(url, default_port=9) == hosts
    assert credentials(url) == user


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("etcd://[::1", "'[::1' is no host:port"),
        ("etcd://a:1,,b:2", "'' is no host:port"),
        ("etcd://me:hun/ter2@h:1/p", "in a user or password as %2F"),
    ],
)
def test_what_is_no_host_is_named_and_no_secret(url, said):
    with pytest.raises(ConfigurationError, match=re.escape(said)) as caught:
        hosts_of(url, default_port=9)
    assert "hun" not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["CONSUL://h:1", "Static://h:1", "HTTP://h/{service}", "ZK://h:1/s"]
)
def test_a_scheme_is_the_same_in_capitals(url):
    assert type(connect(url)) is type(connect(url.lower()))
