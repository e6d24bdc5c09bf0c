"""Lists that never change."""

import pytest

from trimtab import ConfigurationError, Instance
from trimtab.errors import RegistryRequestError
from trimtab.registries import WatchableRegistry, connect
from trimtab.registries.static import StaticRegistry, from_url
from trimtab_sim.loop import run


def listed(registry, service="orders"):
    return run(registry.fetch(service)).instances


def test_a_url_lists_hosts_ports_weights_and_zones():
    registry = from_url(
        "static://10.0.0.1:80, db.example:81;weight=2.5;zone=east;priority=1,[::1]:82/"
    )
    assert listed(registry) == (
        Instance(host="10.0.0.1", port=80),
        Instance(host="db.example", port=81, weight=2.5, zone="east", priority=1),
        Instance(host="::1", port=82),
    )
    assert registry.url == "static://10.0.0.1:80,db.example:81,[::1]:82"
    assert not isinstance(registry, WatchableRegistry)
    assert run(registry.services()) == []


def test_a_scheme_makes_it():
    registry = connect("static://h1:80;weight=2;zone=a, [::1]:81/")
    assert listed(registry, "any") == (
        Instance(host="h1", port=80, weight=2, zone="a"),
        Instance(host="::1", port=81),
    )
    assert registry.url == "static://h1:80,[::1]:81"


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("static://", "lists no host:port"),
        ("static:///", "lists no host:port"),
        ("static://a", "'a' is not host:port"),
        ("static://a:1,", "'' is not host:port"),
        ("static://:80", "':80' is not host:port"),
        ("static://a:x", "'a:x'"),
        ("static://a:99999", "99999"),
        ("static://h1:80,h2:99999", "'h2:99999': Port out of range"),
        ("static://a:0", "port is 0"),
        ("static://[::1:80", "Invalid IPv6"),
        ("static://a:1/path", "is not host:port"),
        ("static://me@a:1", "is not host:port"),
        ("static://a:1;weight=x", "weight 'x' is not a number"),
        ("static://a:1;weight=nan", "weight is nan"),
        ("static://a:1;weight=-1", "weight is -1.0"),
        ("static://a:1;color=red", "unknown option 'color'; known are weight, zone, priority"),
        ("static://a:1;priority=-1", "priority '-1' is no whole number from 0, the best, to 127"),
    ],
)
def test_what_cannot_be_read_is_named(url, said):
    for make in (from_url, connect):
        with pytest.raises(ConfigurationError, match=said.replace("[", r"\[")):
            make(url)


def test_services_may_have_lists_of_their_own():
    a, b = (Instance(host=host, port=1) for host in "ab")
    registry = StaticRegistry([a], services={"orders": [b], "none": []})
    assert listed(registry) == (b,)
    assert listed(registry, "none") == ()
    assert listed(registry, "users") == (a,)
    assert run(registry.services()) == ["none", "orders"]
    run(registry.aclose())
    assert listed(registry) == (b,)
    assert registry.key != StaticRegistry([a]).key


def test_of_duplicates_the_last_counts():
    heavy = Instance(host="a", port=1, weight=2)
    assert listed(from_url("static://a:1,b:1,a:1;weight=2")) == (heavy, Instance(host="b", port=1))


def test_equal_lists_are_one_registry():
    assert from_url("static://a:1").key == from_url("static://a:1/").key
    assert from_url("static://a:1").key != from_url("static://a:1;weight=2").key
    assert from_url("static://a:1").key != from_url("static://a:1;zone=x").key


def test_names_of_services_compare_as_hosts_do():
    one = Instance(host="h", port=1)
    registry = StaticRegistry(services={"Billing_API": [one]})
    for name in ("billing_api", "BILLING_API", "billing_api."):
        assert run(registry.fetch(name)).instances == (one,)
    several = StaticRegistry(services={"Billing": [one], "billing": [one]})
    with pytest.raises(RegistryRequestError, match="'Billing', 'billing' differ by case only"):
        run(several.fetch("billing"))
