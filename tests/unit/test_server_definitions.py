"""Definitions of services and checks: read from JSON, refused as Consul refuses them."""

import json

import pytest

from trimtab.server.decoding import Refusal, read
from trimtab.server.definitions import ServiceDefinition
from trimtab.server.records import Weights


def service(**fields):
    return read(json.dumps({"Name": "x", **fields}).encode(), ServiceDefinition).checked()


def test_reads_all_the_usual_fields():
    definition = service(
        ID="x1",
        Tags=["a", "b"],
        Address="10.0.0.1",
        TaggedAddresses={"lan": {"Address": "10.0.0.2", "Port": 8}},
        Port=80,
        Meta={"zone": "z"},
        Weights={"Passing": 3, "Warning": 2},
        EnableTagOverride=True,
        Kind="",
        Proxy=None,
        Check={"CheckID": "c", "TTL": "10s", "DeregisterCriticalServiceAfter": "1m"},
        Checks=[
            {
                "HTTP": "http://h/",
                "Method": "POST",
                "Header": {"a": ["b"]},
                "Body": "hi",
                "TLSSkipVerify": True,
                "Interval": "1s",
                "Timeout": "500ms",
                "Notes": "n",
                "Status": "passing",
            },
            {"ScriptArgs": ["true"], "interval": 1_000_000_000},
        ],
    )
    first, second, third = definition.all_checks()
    assert (first.check_id, first.ttl_s, first.type) == ("c", 10.0, "ttl")
    assert first.deregister_critical_service_after_s == 60.0
    assert (second.type, second.interval_s, second.timeout_s) == ("http", 1.0, 0.5)
    assert (second.header, second.body, second.tls_skip_verify) == ({"a": ["b"]}, "hi", True)
    assert (third.type, third.args, third.interval_s) == ("script", ["true"], 1.0)
    assert definition.weights_given() == Weights(3, 2)
    assert definition.tagged_addresses["lan"].port == 8


def test_names_come_in_any_case_and_in_snake_case():
    body = b'{"name": "x", "enable_tag_override": true, "check": {"ttl": "1s", "check_id": "c"}}'
    definition = read(body, ServiceDefinition)
    assert definition.enable_tag_override
    assert definition.check.check_id == "c"


def test_null_means_not_given():
    definition = service(Tags=None, Meta=None, Check=None, Checks=None, Weights=None)
    assert definition == ServiceDefinition(name="x")
    assert definition.weights_given() == Weights(1, 1)


def test_an_empty_check_is_no_check():
    assert service(Check={}).all_checks() == []


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"Bogus": 1}, 'Request decode failed: json: unknown field "Bogus"'),
        ({"Check": {"Bogus": 1}}, 'Request decode failed: json: unknown field "Bogus"'),
        ({"Checks": [{"TTL": "1s"}, {"Bogus": 1}]}, 'json: unknown field "Bogus"'),
        ({"Checks": [3]}, "Expected `object`, got `number`"),
        ({"Check": "x"}, "Expected `object`, got `string`"),
        ({"Port": "abc"}, "Request decode failed: Expected `int`, got `str` - at `$.port`"),
        ({"Meta": {"a": 1}}, "Request decode failed"),
        ({"Check": {"TTL": "banana"}}, 'time: invalid duration "banana"'),
        ({"Name": ""}, "Missing service name"),
        ({"Address": "0.0.0.0"}, "Invalid service address"),
        ({"Address": "::"}, "Invalid service address"),
        ({"Port": 65536}, "Invalid service port: 65536"),
        ({"Port": 10**100}, "Invalid service port: 1000"),
        ({"Port": -1}, "Invalid service port: -1"),
        ({"Weights": {"Passing": 0}}, "Invalid Weights: Passing must be greater than 0"),
        ({"Weights": {"Warning": 3}}, "Invalid Weights: Passing must be greater than 0"),
        (
            {"Weights": {"Passing": 1, "Warning": -1}},
            "Invalid Weights: Warning must be greater or equal than 0",
        ),
        (
            {"Weights": {"Passing": 70000}},
            "Invalid Weights: DNS Weight must be between 0 and 65535",
        ),
        ({"Weights": {"Passing": 1, "Bogus": 1}}, 'unknown field "bogus"'),
        ({"Meta": {"a b": "c"}}, "('a b', 'c'): Key contains invalid characters"),
        ({"Meta": {"a": "c" * 513}}, "Value is too long (limit: 512 characters)"),
        ({"Meta": {str(i): "" for i in range(65)}}, "more than 64 pairs"),
        ({"Kind": "connect-proxy"}, "Kind is not supported by this registry"),
        ({"Check": {"GRPC": "h:1", "Interval": "1s"}}, "GRPC is not supported"),
        ({"Check": {"TTL": "1s", "Interval": "1s"}}, "Interval and TTL cannot both be specified"),
        ({"Check": {"HTTP": "http://x"}}, "Interval must be > 0 for Script, HTTP, or TCP checks"),
        ({"Check": {"TCP": "h:1", "TTL": "1s"}}, "Interval must be > 0"),
        ({"Check": {"Interval": "1s"}}, "Invalid check: TTL must be > 0 for TTL checks"),
        ({"Check": {"Name": "n"}}, "Invalid check: TTL must be > 0 for TTL checks"),
        (
            {"Check": {"TTL": "1s", "Status": "banana"}},
            "Status for checks must 'passing', 'warning', 'critical'",
        ),
    ],
)
def test_refuses_with_400_and_says_why(fields, text):
    with pytest.raises(Refusal) as caught:
        service(**fields)
    assert caught.value.status == 400
    assert text in caught.value.text
