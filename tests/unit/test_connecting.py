"""From a URL to a registry."""

import pytest

from trimtab import ConfigurationError, connect
from trimtab.registries import connecting
from trimtab.registries.static import StaticRegistry
from trimtab.testing import FakeRegistry


def test_a_scheme_names_the_registry(tmp_path):
    assert isinstance(connect("static://a:1"), StaticRegistry)
    for url in ("http://h/{service}", "https://h/{service}", "consul://h:1", "consul+https://h:1"):
        assert connect(url).url


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("orders", "has no scheme; write it like 'consul://orders"),
        ("", "has no scheme"),
        ("127.0.0.1:8500", "has no scheme"),
        ("euraka://h:1", "no registry has the scheme 'euraka'; known are static://"),
    ],
)
def test_what_cannot_be_read_is_named(url, said):
    with pytest.raises(ConfigurationError, match=said):
        connect(url)


@pytest.mark.parametrize("url", ["euraka://me:hunter2@h:1", "etdc://me:hunter2@h:1"])
def test_secrets_stay_out_of_messages(url):
    with pytest.raises(ConfigurationError) as caught:
        connect(url)
    assert "hunter2" not in str(caught.value)


def test_third_parties_come_by_entry_point(monkeypatch):
    class Entry:
        @staticmethod
        def load():
            return lambda url: ("theirs", url)

    def entry_points(*, group, name):
        return [Entry] if (group, name) == ("trimtab.registries", "polaris") else []

    monkeypatch.setattr(connecting, "entry_points", entry_points)
    assert connect("polaris://h:1") == ("theirs", "polaris://h:1")
    monkeypatch.setattr(Entry, "load", lambda: FakeRegistry)
    assert connect("polaris://h:1").url == "fake://polaris://h:1"
