"""The agent (registration and the life of checks) and its deadlines, on a manual clock."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from trimtab.server.agent import Agent, Deadlines
from trimtab.server.catalog import Catalog
from trimtab.server.decoding import Refusal
from trimtab.server.definitions import CheckDefinition, ServiceDefinition
from trimtab.server.records import Node, ServiceAddress

TTL = CheckDefinition(ttl_s=10.0)
SCRIPT = CheckDefinition(args=["true"], interval_s=1.0, name="s")


def made(**options):
    catalog = Catalog()
    catalog.put_node(Node(id="1", node="n", address="10.0.0.1"))
    agent = Agent(catalog, "n", **options)
    return catalog, agent


@pytest.fixture
def both():
    return made()


def web(*checks, **fields):
    return ServiceDefinition(**{"id": "w", "name": "web", "checks": list(checks), **fields})


def status(catalog, check_id="service:w"):
    return catalog.checks["n", check_id].status


def test_the_id_defaults_to_the_name(both):
    catalog, agent = both
    agent.register_service(ServiceDefinition(name="web"), 0.0)
    assert catalog.services["n", "web"].service == "web"


def test_checks_are_named_by_their_place(both):
    catalog, agent = both
    agent.register_service(web(TTL), 0.0)
    assert set(agent.definitions) == {"service:w"}
    assert catalog.checks["n", "service:w"].name == "Service 'web' check"
    agent.register_service(web(TTL, CheckDefinition(ttl_s=1.0, check_id="own", name="mine")), 0.0)
    assert set(agent.definitions) == {"service:w", "service:w:1", "own"}
    assert catalog.checks["n", "own"].name == "mine"


def test_replacing_checks_drops_those_not_named(both):
    catalog, agent = both
    agent.register_service(web(TTL), 0.0)
    agent.maintain("w", enable=True)
    own = CheckDefinition(ttl_s=1.0, check_id="own")
    agent.register_service(web(own), 0.0, replace_existing_checks=True)
    assert set(catalog.checks_on["n", "w"]) == {"own"}
    assert set(agent.definitions) == {"own"}


@pytest.mark.parametrize(
    ("address", "tagged"),
    [
        ("10.0.0.9", {"lan_ipv4", "wan_ipv4"}),
        ("::1", {"lan_ipv6", "wan_ipv6"}),
        ("web.internal", None),
        ("", None),
    ],
)
def test_an_ip_address_is_tagged_by_its_family(both, address, tagged):
    catalog, agent = both
    agent.register_service(web(address=address, port=80), 0.0)
    given = catalog.services["n", "w"].tagged_addresses
    if tagged is None:
        assert not given
    else:
        assert given == dict.fromkeys(sorted(tagged), ServiceAddress(address, 80))


def test_a_ttl_check_starts_critical_passes_and_expires(both):
    catalog, agent = both
    agent.register_service(web(TTL), 0.0)
    assert status(catalog) == "critical"
    agent.heartbeat("service:w", "passing", "hi", now=5.0)
    assert (status(catalog), catalog.checks["n", "service:w"].output) == ("passing", "hi")
    agent.expire(14.9)
    assert status(catalog) == "passing"
    assert agent.next_at() <= 15.0
    agent.expire(15.0)
    assert status(catalog) == "critical"
    assert catalog.checks["n", "service:w"].output == "TTL expired"
    agent.heartbeat("service:w", "warning", "", now=20.0)
    assert status(catalog) == "warning"


def test_a_heartbeat_that_changes_nothing_takes_no_index(both):
    catalog, agent = both
    agent.register_service(web(TTL), 0.0)
    agent.heartbeat("service:w", "passing", "", now=1.0)
    catalog.take_changes()
    last = catalog.indexes.last
    agent.heartbeat("service:w", "passing", "another note", now=2.0)
    assert catalog.indexes.last == last
    assert catalog.take_changes().records == {}


def test_registering_again_keeps_the_status_and_starts_the_time_anew(both):
    catalog, agent = both
    agent.register_service(web(CheckDefinition(ttl_s=10.0, status="passing")), 0.0)
    catalog.take_changes()
    agent.register_service(web(CheckDefinition(ttl_s=10.0, status="passing")), 8.0)
    assert catalog.take_changes().records == {}
    agent.expire(17.9)
    assert status(catalog) == "passing"
    agent.register_service(web(CheckDefinition(ttl_s=10.0, status="critical")), 17.9)
    assert status(catalog) == "passing"


def test_a_ttl_check_may_become_an_active_one(both):
    catalog, agent = both
    agent.register_service(web(CheckDefinition(ttl_s=10.0, status="passing")), 0.0)
    agent.register_service(web(CheckDefinition(tcp="h:1", interval_s=1.0)), 0.0)
    agent.expire(100.0)
    assert status(catalog) == "passing"
    with pytest.raises(Refusal, match="does not have associated TTL"):
        agent.heartbeat("service:w", "passing", "", now=1.0)


@pytest.mark.parametrize("check_id", ["nope", ""])
def test_a_heartbeat_for_an_unknown_check_is_500(both, check_id):
    with pytest.raises(Refusal) as caught:
        both[1].heartbeat(check_id, "passing", "", now=0.0)
    assert caught.value.status == 500
    assert caught.value.text == f'CheckID "{check_id}" does not have associated TTL'


def test_an_instance_critical_for_too_long_is_removed(both):
    catalog, agent = both
    check = CheckDefinition(ttl_s=1.0, status="passing", deregister_critical_service_after_s=5.0)
    agent.register_service(web(check, check), 0.0)
    assert agent.expire(1.0) == []
    agent.heartbeat("service:w:1", "passing", "", now=3.0)
    agent.heartbeat("service:w:2", "passing", "", now=3.0)
    assert agent.expire(6.5) == []  # both turned critical anew at 4, and count from when it showed
    assert status(catalog, "service:w:1") == "critical"
    assert agent.expire(11.4) == []
    assert agent.expire(11.5) == ["w"]
    assert not catalog.services
    assert agent.definitions == {}


def test_a_probe_sets_the_status_and_a_late_result_is_ignored(both):
    catalog, agent = both
    agent.register_service(web(CheckDefinition(tcp="h:1", interval_s=1.0)), 0.0)
    agent.probed("service:w", "passing", "x" * 9999, now=1.0)
    assert status(catalog) == "passing"
    assert len(catalog.checks["n", "service:w"].output) == 4096
    agent.deregister_service("w")
    agent.probed("service:w", "critical", "", now=2.0)
    assert not catalog.services


def test_deregistering_what_does_not_exist_is_no_error(both):
    _, agent = both
    agent.deregister_service("nope")
    agent.deregister_check("nope")
    with pytest.raises(Refusal, match="ServiceID missing"):
        agent.deregister_service("")


def test_checks_are_registered_on_their_own(both):
    catalog, agent = both
    agent.register_service(web(), 0.0)
    agent.register_check(CheckDefinition(name="more", ttl_s=1.0, service_id="w"), 0.0)
    agent.register_check(CheckDefinition(name="of the node", ttl_s=1.0), 0.0)
    assert catalog.checks["n", "more"].service_name == "web"
    assert catalog.checks["n", "of the node"].service_id == ""
    agent.deregister_check("more")
    assert set(agent.definitions) == {"of the node"}
    for definition, code, text in (
        (CheckDefinition(ttl_s=1.0), 400, "Missing check name"),
        (CheckDefinition(name="c"), 400, "TTL must be > 0"),
        (CheckDefinition(name="c", ttl_s=1.0, service_id="x"), 500, 'ServiceID "x" does not'),
    ):
        with pytest.raises(Refusal, match=text) as caught:
            agent.register_check(definition, 0.0)
        assert caught.value.status == code


def test_a_node_check_never_removes_anything(both):
    catalog, agent = both
    definition = CheckDefinition(
        name="of the node", ttl_s=1.0, deregister_critical_service_after_s=1.0
    )
    agent.register_check(definition, 0.0)
    assert agent.expire(50.0) == agent.expire(100.0) == []
    assert catalog.nodes


def test_scripts_are_refused_unless_enabled():
    _, agent = made()
    for register in (
        lambda: agent.register_service(web(SCRIPT), 0.0),
        lambda: agent.register_check(SCRIPT, 0.0),
    ):
        with pytest.raises(Refusal, match="Scripts are disabled on this agent") as caught:
            register()
        assert caught.value.status == 500
    catalog, agent = made(enable_script_checks=True)
    agent.register_service(web(SCRIPT), 0.0)
    assert catalog.checks["n", "service:w"].type == "script"


def test_maintenance_is_a_critical_check(both):
    catalog, agent = both
    agent.register_service(web(tags=("a",)), 0.0)
    agent.maintain("w", enable=True, reason="why")
    check = catalog.checks["n", "_service_maintenance:w"]
    assert (check.status, check.notes, check.service_tags) == ("critical", "why", ("a",))
    agent.maintain("w", enable=False)
    agent.maintain("w", enable=False)
    assert not catalog.checks
    agent.maintain("w", enable=True)
    assert "default message" in catalog.checks["n", "_service_maintenance:w"].notes
    with pytest.raises(Refusal, match='No service registered with ID "x"') as caught:
        agent.maintain("x", enable=True)
    assert caught.value.status == 404


def test_after_a_restart_every_ttl_has_its_full_time(both):
    catalog, agent = both
    agent.register_service(web(CheckDefinition(ttl_s=10.0, status="passing")), 0.0)
    again = Agent(catalog, "n")
    again.restore(agent.definitions.values(), 1000.0)
    assert again.next_at() == 1010.0
    again.expire(1009.9)
    assert status(catalog) == "passing"


def test_after_a_restart_without_scripts_their_checks_are_critical():
    catalog, agent = made(enable_script_checks=True)
    agent.register_service(web(SCRIPT), 0.0)
    agent.probed("service:w", "passing", "", now=0.0)
    Agent(catalog, "n").restore(agent.definitions.values(), 0.0)
    assert status(catalog) == "critical"
    assert "Scripts are disabled" in catalog.checks["n", "service:w"].output


def test_without_deadlines_there_is_no_next_time(both):
    assert both[1].next_at() is None


DEADLINES = st.sampled_from("abcd")
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("set"), DEADLINES, st.integers(0, 50)),
        st.tuples(st.just("clear"), DEADLINES, st.just(0)),
        st.tuples(st.just("pass"), st.just(""), st.integers(0, 20)),
    ),
    max_size=60,
)


@example([("set", "a", 0), ("set", "a", 1), ("set", "b", 0), ("pass", "", 1)])
@given(STEPS)
def test_expires_exactly_what_is_due(steps):
    deadlines, model, now = Deadlines(), {}, 0
    for what, name, number in steps:
        if what == "set":
            deadlines.set(name, now + number)
            model[name] = now + number
        elif what == "clear":
            deadlines.clear(name)
            model.pop(name, None)
        else:
            now += number
            due = {each for each, at in model.items() if at <= now}
            expired = deadlines.pop_expired(now)
            assert sorted(expired) == sorted(due)
            assert [model[each] for each in expired] == sorted(model[each] for each in due)
            for each in due:
                del model[each]
        assert all((each in deadlines) == (each in model) for each in "abcd")
        if model:
            assert deadlines.next_at() <= min(model.values())


def test_heartbeats_do_not_grow_the_heap():
    deadlines = Deadlines()
    for now in range(1000):
        deadlines.set("a", now + 10.0)
    assert len(deadlines._heap) == 1


def test_a_deadline_that_came_nearer_is_reached_once():
    deadlines = Deadlines()
    deadlines.set("a", 50.0)
    deadlines.set("a", 10.0)
    assert deadlines.pop_expired(20.0) == ["a"]
    assert deadlines.pop_expired(60.0) == []


def test_without_deadlines_next_at_is_none():
    assert Deadlines().next_at() is None
