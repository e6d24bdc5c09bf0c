from __future__ import annotations

import asyncio

import pytest

from trimtab.errors import ConfigurationError
from trimtab.instance import Instance
from trimtab.registries import WatchableRegistry, connect, connecting
from trimtab.registries.static import StaticRegistry
from trimtab.testing import FakeRegistry


def test_a_url_lists_addresses_with_weight_and_zone():
    registry = connect("static://h1:80;weight=2;zone=a, [::1]:81/")
    listing = asyncio.run(registry.fetch("any"))
    assert listing.instances == (
        Instance(host="h1", port=80, weight=2, zone="a"),
        Instance(host="::1", port=81),
    )
    assert registry.url == "static://h1:80,[::1]:81"
    assert not isinstance(registry, WatchableRegistry)
    assert asyncio.run(registry.services()) == []


def test_a_service_of_its_own_beats_the_list_for_all():
    one, two = Instance(host="h", port=1), Instance(host="h", port=2)
    registry = StaticRegistry([one], services={"orders": [two]})
    assert asyncio.run(registry.fetch("orders")).instances == (two,)
    assert asyncio.run(registry.fetch("billing")).instances == (one,)
    assert asyncio.run(registry.services()) == ["orders"]
    assert registry.key != StaticRegistry([one]).key


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("static://", "lists no host:port"),
        ("static://h1", "'h1' is not host:port"),
        ("static://h1:80,h2:99999", "'h2:99999': Port out of range"),
        ("static://h1:80;weight=much", "weight 'much' is not a number"),
        ("static://h1:80;wieght=2", "unknown option 'wieght'; known are weight, zone"),
        ("static://h1:80;weight=-1", "weight is -1.0"),
    ],
)
def test_a_wrong_entry_is_named(url, message):
    with pytest.raises(ConfigurationError, match=message):
        connect(url)


def test_a_third_party_adds_a_scheme_by_an_entry_point(monkeypatch):
    class Entry:
        def load(self):
            return FakeRegistry

    def entry_points(*, group, name):
        assert group == "trimtab.registries"
        return [Entry()] if name == "polaris" else []

    monkeypatch.setattr(connecting, "entry_points", entry_points)
    assert connect("polaris://h:1").url == "fake://polaris://h:1"
