"""Dubbo's providers: everything stands in the node's name."""

from __future__ import annotations

from urllib.parse import quote_plus

import pytest

from trimtab.errors import InvalidInstanceError, RegistryAnswerError, RegistryRequestError
from trimtab.instance import Status
from trimtab.registries.zookeeper.layouts import DubboLayout, ServiceKey, read_provider

GREETER = "com.example.Greeter"
LAYOUT = DubboLayout("/dubbo")


def provider(address="10.0.0.1:20880", scheme="dubbo", **said):
    """A node's name, as `java.net.URLEncoder` makes it."""
    query = "&".join(f"{name}={value}" for name, value in {"interface": GREETER, **said}.items())
    return quote_plus(f"{scheme}://{address}/{GREETER}?{query}", safe="*")


def listed(service, *names):
    instances, skipped = LAYOUT.read("here", service, dict.fromkeys(names, b""))
    return [each.id for each in instances], skipped


def test_a_provider_is_read_from_its_name():
    found = read_provider(provider(application="shop one", weight="250", zone="east"))
    assert (found.id, found.host, found.port) == ("10.0.0.1:20880", "10.0.0.1", 20880)
    assert (found.weight, found.zone, found.scheme) == (250.0, "east", None)
    assert dict(found.metadata) == {
        "interface": GREETER,
        "application": "shop one",
        "zone": "east",
        "protocol": "dubbo",
    }


@pytest.mark.parametrize("weight", [None, "", "-3", "nan", "heavy"])
def test_a_provider_without_a_weight_has_dubbos(weight):
    said = {} if weight is None else {"weight": weight}
    assert read_provider(provider(**said)).weight == 100.0


@pytest.mark.parametrize(
    ("scheme", "wanted"), [("dubbo", None), ("tri", None), ("rest", "http"), ("https", "https")]
)
def test_the_protocol_says_the_scheme_where_it_is_http(scheme, wanted):
    found = read_provider(provider(scheme=scheme))
    assert (found.scheme, found.metadata["protocol"]) == (wanted, scheme)


def test_an_ipv6_provider():
    assert read_provider(provider("[::1]:20880")).address == "[::1]:20880"


@pytest.mark.parametrize("said", [{"disabled": "true"}, {"enabled": "false"}])
def test_a_provider_that_was_taken_off_drains(said):
    assert read_provider(provider(**said)).status is Status.DRAINING


def test_group_and_version_choose_among_providers():
    one = provider(version="1.0.0", group="blue")
    two = provider(version="2.0.0")
    assert listed(GREETER, one, two)[0] == ["10.0.0.1:20880 blue 1.0.0", "10.0.0.1:20880 2.0.0"]
    assert listed(f"{GREETER}:2.0.0", one, two)[0] == ["10.0.0.1:20880 2.0.0"]
    assert listed(f"blue/{GREETER}", one, two)[0] == ["10.0.0.1:20880 blue 1.0.0"]
    assert listed(f"blue/{GREETER}:1.0.0", one, two)[0] == ["10.0.0.1:20880 blue 1.0.0"]
    assert listed(f"green/{GREETER}", one, two) == ([], ())


def test_a_service_is_named_as_dubbo_does():
    assert ServiceKey.of("g/a.B:1") == ("a.B", "g", "1")
    assert ServiceKey.of("a.B") == ("a.B", "", "")
    assert LAYOUT.folder("here", "g/a.B:1") == "/dubbo/a.B/providers"
    assert LAYOUT.folder("here", "a.B$C") == "/dubbo/a.B%24C/providers"


def test_a_service_without_an_interface_is_refused():
    with pytest.raises(RegistryRequestError):
        LAYOUT.folder("here", ":1.0")


def test_what_lies_beside_the_interfaces_is_no_service():
    children = ["metadata", "config", "mapping", "a.B%24C", "a.A"]
    assert LAYOUT.services(children) == ["a.A", "a.B$C"]


@pytest.mark.parametrize("name", ["", "banana", "dubbo%3A%2F%2F", "dubbo%3A%2F%2Fh%3A99999", "%ff"])
def test_a_node_that_is_no_provider_is_named(name):
    with pytest.raises(RegistryAnswerError, match="node"):
        read_provider(name)


def test_a_host_that_cannot_be_is_refused():
    with pytest.raises(InvalidInstanceError):
        read_provider(quote_plus("dubbo://a b:1/x"))


def test_one_bad_node_is_skipped_and_the_others_are_not():
    ids, skipped = listed(GREETER, provider(), "banana")
    assert ids == ["10.0.0.1:20880"]
    assert "'banana'" in skipped[0]
