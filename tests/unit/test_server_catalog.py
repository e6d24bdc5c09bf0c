"""The catalog: writes, changes, views, and the rules of its index."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from trimtab.server import views
from trimtab.server.catalog import CHECKS, NODES, SERVICES, Catalog, service_topic
from trimtab.server.records import Check, Node, Service, consul_name
from trimtab.server.views import checks_of_service, health_entries, service_tags


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


def test_removing_an_instance_removes_its_checks(catalog):
    assert catalog.remove_service("n", "a")
    assert not catalog.remove_service("n", "a")
    assert ("n", "ca") not in catalog.checks
    records = catalog.take_changes().records
    assert records == {("checks", "n", "ca"): None, ("services", "n", "a"): None}


def test_removing_a_node_removes_everything_on_it(catalog):
    assert catalog.remove_node("n")
    assert not catalog.remove_node("n")
    assert not catalog.remove_check("n", "serfHealth")
    assert catalog.services == catalog.checks == catalog.nodes == catalog.by_name == {}
    assert set(catalog.take_changes().records.values()) == {None}


def test_passing_needs_every_check_and_those_of_the_node(catalog):
    def passing():
        return [e.service.id for e in views.health_entries(catalog, "web", passing=True)]

    assert passing() == ["a", "b"]
    catalog.put_check(check("a", status="warning"))
    assert passing() == ["b"]
    catalog.put_check(Check(node="n", check_id="serfHealth", name="s", status="critical"))
    assert passing() == []
    assert len(views.health_entries(catalog, "web")) == 2


def test_an_instance_needs_all_tags_of_the_query(catalog):
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


NAMES = ("web", "api", "db")
NODES_ = ("n1", "n2")
name, node = st.sampled_from(NAMES), st.sampled_from(NODES_)
ident, status = st.sampled_from("ab"), st.sampled_from(["passing", "warning", "critical"])
steps = st.lists(
    st.one_of(
        st.tuples(st.just("service"), node, ident, name, st.integers(1, 2)),
        st.tuples(st.just("check"), node, ident, ident, status),
        st.tuples(st.just("node check"), node, ident, status),
        st.tuples(st.just("output"), node, ident, ident, status),
        st.tuples(st.just("remove service"), node, ident),
        st.tuples(st.just("remove check"), node, ident),
        st.tuples(st.just("remove node"), node),
        st.tuples(st.just("node"), node, st.integers(1, 2)),
    ),
    max_size=40,
)


def apply(catalog, step):
    match step:
        case ("service", node, ident, name, port):
            catalog.put_node(Node(id=node, node=node, address="10.0.0.1"))
            catalog.put_service(node, Service(id=ident, service=name, port=port))
        case ("check" | "output", node, check, service, status):
            if (node, service) in catalog.services:
                output = status if step[0] == "output" else ""
                catalog.put_check(
                    Check(
                        node=node,
                        check_id=f"s{check}",
                        name="c",
                        status=status,
                        service_id=service,
                        output=output,
                    )
                )
        case ("node check", node, check, status):
            if node in catalog.nodes:
                catalog.put_check(Check(node=node, check_id=f"n{check}", name="c", status=status))
        case ("remove service", node, ident):
            catalog.remove_service(node, ident)
        case ("remove check", node, ident):
            catalog.remove_check(node, f"s{ident}")
            catalog.remove_check(node, f"n{ident}")
        case ("remove node", node):
            catalog.remove_node(node)
        case ("node", node, number):
            catalog.put_node(Node(id=node, node=node, address=f"10.0.0.{number}"))


def index_of(catalog, name):
    return catalog.indexes.of_service(name, known=name in catalog.by_name)


def shown(catalog, name):
    """What a client would see, without outputs: they may change without an index."""
    return [
        (entry.node, entry.service, [(c.check_id, c.status, c.modify_index) for c in entry.checks])
        for entry in health_entries(catalog, name)
    ]


@given(steps)
@settings(max_examples=200)
def test_an_index_grows_with_every_change_and_never_goes_backwards(taken):
    catalog = Catalog()
    for step in taken:
        before = {name: (index_of(catalog, name), shown(catalog, name)) for name in NAMES}
        tables = {table: catalog.indexes.of(table) for table in (NODES, SERVICES, CHECKS)}
        tags = service_tags(catalog)
        apply(catalog, step)
        topics = catalog.take_changes().topics
        for name, (index, entries) in before.items():
            assert index_of(catalog, name) >= index
            if shown(catalog, name) != entries:
                assert index_of(catalog, name) > index, "a change was missed"
                assert service_topic(name) in topics, "no query would be woken"
            elif name in catalog.by_name and index_of(catalog, name) > index:
                # A known service moves without a visible change only with its own topic.
                assert service_topic(name) in topics
        for table, index in tables.items():
            assert catalog.indexes.of(table) >= index
        if service_tags(catalog) != tags:
            assert catalog.indexes.of(SERVICES) > tables[SERVICES]


@given(steps)
def test_derived_views_agree_with_the_records(taken):
    catalog = Catalog()
    for step in taken:
        apply(catalog, step)
    for group_name, group in catalog.by_name.items():
        assert group
        assert all(catalog.services[key] is each for key, each in group.items())
        assert all(each.service == group_name for each in group.values())
    assert sum(map(len, catalog.by_name.values())) == len(catalog.services)
    assert sum(map(len, catalog.checks_on.values())) == len(catalog.checks)
    assert all(catalog.checks_on.values())
    of_services = [check for name in catalog.by_name for check in checks_of_service(catalog, name)]
    assert {c.check_id for c in of_services if c.service_id} <= {i for _, i in catalog.checks}


@given(steps, st.sampled_from(NAMES))
def test_changes_elsewhere_do_not_change_the_index_of_a_service(taken, quiet):
    """Steps about other services on other nodes leave a service's index alone."""
    catalog = Catalog()
    catalog.put_node(Node(id="own", node="own", address="10.0.0.9"))
    catalog.put_service("own", Service(id="own", service=quiet))
    index = index_of(catalog, quiet)
    catalog.take_changes()
    for step in taken:
        if not (step[0] == "service" and step[3] == quiet):
            apply(catalog, step)
    assert index_of(catalog, quiet) == index
    assert service_topic(quiet) not in catalog.take_changes().topics
    assert index_of(catalog, "an unknown service") == catalog.indexes.last


def test_a_restored_catalog_starts_every_service_at_the_last_index():
    catalog = Catalog(last_index=40)
    catalog.restore(
        [Node(id="n", node="n", address="h", create_index=2, modify_index=2)],
        [("n", Service(id="a", service="web", create_index=3, modify_index=3))],
        [Check(node="n", check_id="c", name="c", service_id="a", modify_index=4)],
    )
    assert index_of(catalog, "web") == 40
    assert catalog.take_changes().records == {}
    catalog.put_service("n", Service(id="b", service="other"))
    assert index_of(catalog, "other") == 41
    assert index_of(catalog, "web") == 40
