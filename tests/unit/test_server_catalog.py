"""The catalog: what is written, what is a change, what the views show."""

import pytest
from msgspec.structs import replace

from trimtab.server import views
from trimtab.server.catalog import Catalog
from trimtab.server.records import Check, Node, Service, consul_name


@pytest.fixture
def catalog():
    catalog = Catalog()
    catalog.put_node(Node(id="1", node="n", address="10.0.0.1"))
    catalog.put_check(Check(node="n", check_id="serfHealth", name="s", status="passing"))
    for ident, tags in (("b", ("x", "y")), ("a", ("x",))):
        catalog.put_service("n", Service(id=ident, service="web", tags=tags))
        catalog.put_check(check(ident))
    catalog.take_changes()
    return catalog


def check(ident, status="passing", **other):
    return Check(node="n", check_id=f"c{ident}", name="c", status=status, service_id=ident, **other)


def test_writing_the_same_again_is_no_change(catalog):
    last, generation = catalog.indexes.last, catalog.generation
    catalog.put_node(Node(id="1", node="n", address="10.0.0.1"))
    catalog.put_service("n", Service(id="a", service="web", tags=("x",)))
    catalog.put_check(check("a"))
    assert (catalog.indexes.last, catalog.generation) == (last, generation)
    assert catalog.take_changes().records == {}


def test_a_new_output_alone_takes_no_index_and_writes_nothing(catalog):
    last, generation = catalog.indexes.last, catalog.generation
    catalog.put_check(check("a", output="fine"))
    assert catalog.checks["n", "ca"].output == "fine"
    assert views.checks_of_service(catalog, "web")[0].output == "fine"
    assert catalog.indexes.last == last
    assert catalog.generation > generation
    assert catalog.take_changes().records == {}


def test_a_replaced_record_keeps_its_create_index(catalog):
    old = catalog.services["n", "a"]
    catalog.put_service("n", replace(old, port=81))
    new = catalog.services["n", "a"]
    assert new.create_index == old.create_index
    assert new.modify_index == catalog.indexes.last > old.modify_index


def test_an_instance_may_move_to_another_service_name(catalog):
    catalog.put_service("n", Service(id="a", service="api"))
    assert [e.service.id for e in views.health_entries(catalog, "web")] == ["b"]
    assert [e.service.id for e in views.health_entries(catalog, "api")] == ["a"]
    topics = catalog.take_changes().topics
    assert {"service:web", "service:api", "services"} <= set(topics)


def test_a_check_may_move_to_another_instance(catalog):
    catalog.put_check(replace(check("a"), service_id="b"))
    assert ("n", "a") not in catalog.checks_on
    assert set(catalog.checks_on["n", "b"]) == {"ca", "cb"}


def test_removing_an_instance_takes_its_checks_along(catalog):
    assert catalog.remove_service("n", "a")
    assert not catalog.remove_service("n", "a")
    assert ("n", "ca") not in catalog.checks
    records = catalog.take_changes().records
    assert records == {("checks", "n", "ca"): None, ("services", "n", "a"): None}


def test_removing_a_node_takes_everything_along(catalog):
    assert catalog.remove_node("n")
    assert not catalog.remove_node("n")
    assert not catalog.remove_check("n", "serfHealth")
    assert catalog.services == catalog.checks == catalog.nodes == catalog.by_name == {}
    assert set(catalog.take_changes().records.values()) == {None}


def test_passing_means_every_check_also_of_the_node(catalog):
    def passing():
        return [e.service.id for e in views.health_entries(catalog, "web", passing=True)]

    assert passing() == ["a", "b"]
    catalog.put_check(check("a", status="warning"))
    assert passing() == ["b"]
    catalog.put_check(Check(node="n", check_id="serfHealth", name="s", status="critical"))
    assert passing() == []
    assert len(views.health_entries(catalog, "web")) == 2


def test_tags_narrow_down_all_at_once(catalog):
    entries = views.health_entries(catalog, "web", tags=["x", "y"])
    assert [entry.service.id for entry in entries] == ["b"]
    assert [view.service_id for view in views.instances(catalog, "web", tags=["x"])] == ["a", "b"]
    assert views.service_tags(catalog) == {"web": ["x", "y"]}


def test_checks_by_state_and_node(catalog):
    catalog.put_check(check("a", status="critical"))
    assert [c.check_id for c in views.checks_in_state(catalog, "critical")] == ["ca"]
    assert len(views.checks_in_state(catalog, "any")) == 3
    assert len(views.checks_of_node(catalog, "n")) == 3
    assert views.checks_of_node(catalog, "elsewhere") == []
    assert views.services_on_node(catalog, "elsewhere") is None
    node, services = views.services_on_node(catalog, "n")
    assert node.node == "n"
    assert [service.id for service in services] == ["a", "b"]


def test_names_follow_consul():
    assert consul_name("enable_tag_override") == "EnableTagOverride"
    assert consul_name("service_id") == "ServiceID"
