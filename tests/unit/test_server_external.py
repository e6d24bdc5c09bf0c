"""External nodes in the catalog."""

import json

import pytest

from trimtab.server import external, views
from trimtab.server.catalog import Catalog
from trimtab.server.decoding import Refusal, read


def register(catalog, **fields):
    body = json.dumps({"Node": "ext", "Address": "10.1.1.1", **fields}).encode()
    external.register(catalog, read(body, external.Registration), "dc1")


def deregister(catalog, **fields):
    body = json.dumps(fields).encode()
    external.deregister(catalog, read(body, external.Deregistration))


def test_a_node_with_an_instance_and_checks():
    catalog = Catalog()
    register(
        catalog,
        Service={"Service": "web", "Port": 3, "Tags": ["a"]},
        Check={"Node": "ext", "Name": "c", "Status": "passing", "ServiceID": "web"},
        Checks=[{"CheckID": "of the node", "Status": "warning"}],
    )
    (entry,) = views.health_entries(catalog, "web")
    assert entry.service.id == "web"
    assert [(c.check_id, c.service_name) for c in entry.checks] == [
        ("of the node", ""),
        ("c", "web"),
    ]
    register(catalog, SkipNodeUpdate=True, Address="", Checks=[{"Name": "d", "ServiceID": "web"}])
    assert catalog.nodes["ext"].address == "10.1.1.1"
    assert catalog.checks["ext", "d"].service_tags == ("a",)


def test_deregistering_removes_the_smallest_thing_named():
    catalog = Catalog()
    register(catalog, Service={"Service": "web"}, Check={"Name": "c", "ServiceID": "web"})
    deregister(catalog, Node="ext", ServiceID="web", CheckID="c")
    assert not catalog.checks
    assert catalog.services
    deregister(catalog, Node="ext", ServiceID="web")
    assert not catalog.services
    assert catalog.nodes
    deregister(catalog, Node="ext")
    deregister(catalog, Node="ext")
    assert not catalog.nodes


@pytest.mark.parametrize(
    ("fields", "status", "text"),
    [
        ({"Node": ""}, 500, "Must provide node"),
        ({"Address": ""}, 500, "Must provide address if SkipNodeUpdate is not set"),
        ({"Service": {"Service": ""}}, 400, "Missing service name"),
        ({"Check": {"Name": "c", "ServiceID": "x"}}, 500, 'ServiceID "x" does not exist on node'),
        ({"Bogus": 1}, 400, 'unknown field "Bogus"'),
    ],
)
def test_a_refused_registration_changes_nothing(fields, status, text):
    catalog = Catalog()
    with pytest.raises(Refusal, match=text) as caught:
        register(catalog, **fields)
    assert caught.value.status == status
    assert not catalog.nodes


def test_deregistering_needs_a_node():
    with pytest.raises(Refusal, match="Must provide node"):
        deregister(Catalog())
