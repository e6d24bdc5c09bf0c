"""The two layouts in ZooKeeper: Curator's, whatever its payload, and Dubbo's."""

from __future__ import annotations

import json
from urllib.parse import quote_plus

import pytest

from trimtab.errors import InvalidInstanceError, RegistryAnswerError, RegistryRequestError
from trimtab.instance import Instance, Status
from trimtab.registries.zookeeper.layouts import (
    CuratorLayout,
    DubboLayout,
    ServiceKey,
    read_node,
    read_provider,
    write_node,
)

PLAIN = Instance(id="a", host="10.0.0.1", port=80)
RICH = PLAIN.with_(
    weight=0.5,
    zone="east",
    priority=1,
    scheme="http",
    metadata={"k": "v"},
    status=Status.WARNING,
)
FOREIGN = {"name": "orders", "id": "x", "address": "10.0.0.9", "port": 90}


def written(instance):
    return json.loads(write_node("orders", instance, registered_at_ms=17))


def read(**fields):
    return read_node("n", json.dumps(FOREIGN | fields).encode())


def test_a_plain_instance_is_written_with_curators_fields_alone_nulls_and_all():
    assert written(PLAIN) == {
        "name": "orders",
        "id": "a",
        "address": "10.0.0.1",
        "port": 80,
        "sslPort": None,
        "payload": None,
        "registrationTimeUTC": 17,
        "serviceType": "DYNAMIC",
        "uriSpec": None,
    }


def test_our_fields_are_beside_curators_and_never_in_the_payload():
    node = written(RICH)
    assert node["payload"] is None
    assert node["trimtab"] == {
        "weight": 0.5,
        "zone": "east",
        "priority": 1,
        "scheme": "http",
        "status": "warning",
        "metadata": {"k": "v"},
    }


def test_tls_is_said_in_curators_way():
    node = written(PLAIN.with_(scheme="https", port=443))
    assert (node["port"], node["sslPort"]) == (None, 443)
    assert "trimtab" not in node


@pytest.mark.parametrize("status", [Status.CRITICAL, Status.DRAINING])
def test_instances_without_traffic_are_disabled_for_other_readers(status):
    assert written(PLAIN.with_(status=status))["enabled"] is False


@pytest.mark.parametrize(
    "instance",
    [
        PLAIN,
        RICH,
        RICH.with_(scheme="https", host="::1", weight=0),
        *(PLAIN.with_(status=status) for status in Status),
    ],
)
def test_every_field_survives(instance):
    node = write_node("orders", instance, registered_at_ms=1)
    back = read_node("any", node)
    assert back == instance
    assert dict(back.metadata) == dict(instance.metadata)


@pytest.mark.parametrize(
    ("payload", "metadata"),
    [
        (None, {}),
        ("text", {"payload": "text"}),
        ([1, "a"], {"payload": '[1, "a"]'}),
        (7, {"payload": "7"}),
        ({"@class": "a.B", "x": 1, "y": "z"}, {"x": "1", "y": "z"}),
        ({"@class": "a.B", "metadata": {"k": "v", "n": None}}, {"k": "v", "n": "null"}),
        ({"metadata": "text"}, {"metadata": "text"}),
    ],
)
def test_the_metadata_of_any_payload_is_kept(payload, metadata):
    assert dict(read(payload=payload).metadata) == metadata


def test_springs_and_dubbos_metadata_say_more():
    found = read(
        payload={
            "@class": "org.springframework.cloud.zookeeper.discovery.ZookeeperInstance",
            "metadata": {
                "zone": "west",
                "weight": "3",
                "priority": "2",
                "instance_status": "OUT_OF_SERVICE",
            },
        }
    )
    assert (found.priority, read(payload={"priority": "first"}).priority) == (2, 0)
    assert (found.zone, found.weight, found.status) == ("west", 3.0, Status.DRAINING)


@pytest.mark.parametrize("weight", ["-1", "nan", "inf", "heavy", ""])
def test_a_foreign_weight_that_is_no_number_is_ignored(weight):
    assert read(payload={"weight": weight}).weight == 1.0


def test_a_field_that_is_missing_is_no_harm():
    found = read_node("the-name", b'{"address": "h", "port": 1, "unknown": [{}]}')
    assert found == Instance(id="the-name", host="h", port=1)


def test_the_plain_port_goes_first():
    found = read(sslPort=443)
    assert (found.port, found.scheme) == (90, None)
    found = read(port=None, sslPort=443)
    assert (found.port, found.scheme) == (443, "https")


def test_an_instance_that_somebody_disabled_is_not_called():
    assert read(enabled=False).status is Status.DRAINING
    assert read(enabled=False, trimtab={"weight": 2}).status is Status.DRAINING
    assert read(enabled=False, trimtab={"status": "critical"}).status is Status.CRITICAL
    assert read(enabled=None).status is Status.PASSING


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (b"", "truncated"),
        (b'{"address": "10.0.0.1", "po', "truncated"),
        (b"10.0.0.1", "cannot be read"),
        (b"[]", "Expected `object`"),
        (b'{"address": 1}', "Expected `str | null`"),
        (b'{"address": "h", "port": "80"}', "Expected `int | null`"),
        (b'{"address": "h"}', "neither port nor sslPort"),
        (b'{"port": 80}', "no address"),
        (b'{"address": "h", "port": 1, "trimtab": []}', "trimtab"),
        (b'{"address": "h", "port": 1, "trimtab": {"status": "fine"}}', "'fine' is none of"),
        (b'{"address": "h", "port": 1e400}', "out of range"),
        (b"\xff\xfe", "cannot be read"),
        (b"[" * 100_000, "cannot be read"),
        (b'{"address": "h", "port": 1, "payload": {"a": "\xff"}}', "cannot be read"),
    ],
)
def test_a_node_that_cannot_be_read_is_named(data, complaint):
    with pytest.raises(RegistryAnswerError, match=complaint) as caught:
        read_node("the-name", data)
    assert "'the-name'" in str(caught.value)


@pytest.mark.parametrize(
    "fields", [{"port": 0}, {"port": 70000}, {"address": "a b"}, {"trimtab": {"scheme": "ftp"}}]
)
def test_an_instance_that_cannot_be_is_refused(fields):
    with pytest.raises(InvalidInstanceError):
        read(**fields)


def test_one_bad_node_is_skipped_and_the_others_are_not():
    good = json.dumps(FOREIGN).encode()
    instances, skipped = CuratorLayout("/services").read("here", "orders", {"a": good, "b": b"{"})
    assert [each.id for each in instances] == ["x"]
    assert len(skipped) == 1
    assert "'b'" in skipped[0]


@pytest.mark.parametrize("depth", [10, 900, 985, 990, 995, 1000, 5000])
def test_a_payload_of_any_depth_is_read(depth):
    payload = b'{"a": ' + b"[" * depth + b"]" * depth + b"}"
    nodes = {"good": json.dumps(FOREIGN).encode()}
    nodes["deep"] = b'{"address": "h", "port": 1, "payload": ' + payload + b"}"
    instances, skipped = CuratorLayout("/services").read("here", "orders", nodes)
    assert len(instances) + len(skipped) == 2
    assert "x" in {each.id for each in instances}


def test_two_nodes_of_one_id_count_once():
    good = json.dumps(FOREIGN).encode()
    instances, skipped = CuratorLayout("/services").read("here", "orders", {"a": good, "b": good})
    assert len(instances) == 1
    assert "a second instance 'x'" in skipped[0]


GREETER = "com.example.Greeter"
LAYOUT = DubboLayout("/dubbo")


def provider(address="10.0.0.1:20880", scheme="tri", **said):
    """A node's name, as `java.net.URLEncoder` makes it."""
    query = "&".join(f"{name}={value}" for name, value in {"interface": GREETER, **said}.items())
    return quote_plus(f"{scheme}://{address}/{GREETER}?{query}", safe="*")


def listed(service, *names):
    instances, skipped = LAYOUT.read("here", service, dict.fromkeys(names, b""))
    return [each.id for each in instances], skipped


def test_a_provider_is_read_from_its_name():
    found = read_provider(provider(application="shop one", weight="250", zone="east", priority="1"))
    assert found.priority == 1
    assert (found.id, found.host, found.port) == ("10.0.0.1:20880", "10.0.0.1", 20880)
    assert (found.weight, found.zone, found.scheme) == (250.0, "east", None)
    assert dict(found.metadata) == {
        "interface": GREETER,
        "application": "shop one",
        "zone": "east",
        "priority": "1",
        "protocol": "tri",
    }


@pytest.mark.parametrize("weight", [None, "", "-3", "nan", "heavy"])
def test_a_provider_without_a_weight_has_dubbos(weight):
    said = {} if weight is None else {"weight": weight}
    assert read_provider(provider(**said)).weight == 100.0


@pytest.mark.parametrize(
    ("scheme", "wanted"),
    [("webservice", None), ("tri", None), ("rest", "http"), ("https", "https")],
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


def test_nodes_beside_the_interfaces_are_no_services():
    children = ["metadata", "config", "mapping", "a.B%24C", "a.A"]
    assert LAYOUT.services(children) == ["a.A", "a.B$C"]


@pytest.mark.parametrize("name", ["", "banana", "dubbo%3A%2F%2F", "dubbo%3A%2F%2Fh%3A99999", "%ff"])
def test_a_node_that_is_no_provider_is_named(name):
    with pytest.raises(RegistryAnswerError, match="node"):
        read_provider(name)


def test_a_host_that_cannot_be_is_refused():
    with pytest.raises(InvalidInstanceError):
        read_provider(quote_plus("dubbo://a b:1/x"))


def test_one_bad_provider_is_skipped_and_the_others_are_not():
    ids, skipped = listed(GREETER, provider(), "banana")
    assert ids == ["10.0.0.1:20880"]
    assert "'banana'" in skipped[0]


@pytest.mark.parametrize(
    "scheme", ["dubbo", "thrift", "rmi", "grpc", "redis", "memcached", "DUBBO"]
)
def test_a_provider_that_does_not_speak_http_is_skipped_and_named(scheme):
    ids, skipped = listed(GREETER, provider("10.0.0.2:20880", scheme), provider())
    assert ids == ["10.0.0.1:20880"]
    assert "10.0.0.2:20880" in skipped[0]
    assert f"speaks '{scheme.lower()}' and not HTTP" in skipped[0]


def test_where_no_provider_speaks_http_the_error_says_so():
    with pytest.raises(RegistryAnswerError, match="speaks 'dubbo' and not HTTP"):
        listed(GREETER, provider(scheme="dubbo"))


def test_an_application_that_tells_a_binary_protocol_is_skipped_and_named():
    def node(protocol, port=20880):
        endpoints = json.dumps([{"port": port, "protocol": protocol}])
        payload = {"metadata": {"dubbo.endpoints": endpoints}}
        return json.dumps({"address": "h", "port": 20880, "payload": payload}).encode()

    nodes = {"a": node("dubbo"), "b": node("tri"), "c": node("dubbo", port=1)}
    instances, skipped = CuratorLayout("/services").read("here", "orders", nodes)
    assert [each.id for each in instances] == ["b", "c"]
    assert "'a'" in skipped[0]
    assert "'dubbo'" in skipped[0]
