"""The differences between two lists, and the events that are emitted for them."""

import asyncio

from trimtab import Directory, DiscoverySettings
from trimtab.discovery.changes import changes, emit_events
from trimtab.events import InstanceChanged, RegistryChanged, ServiceChanged
from trimtab.instance import Instance, Status
from trimtab.testing import FakeRegistry
from trimtab_sim.loop import run

A = Instance(host="10.0.0.1", port=80, id="a")
B = Instance(host="10.0.0.2", port=80, id="b", zone="west", priority=1, weight=2.5)


def test_equal_lists_have_no_changes():
    assert changes([A, B], [B, A]) == []


def test_what_came_and_went_is_listed_with_removals_first():
    found = changes([A], [B])
    assert [(change.kind, change.instance) for change in found] == [("removed", A), ("added", B)]
    assert [str(change) for change in found] == [
        "- a  10.0.0.1:80",
        "+ b  10.0.0.2:80 passing weight=2.5 zone=west priority=1",
    ]


def test_a_change_says_from_what_to_what():
    worse = A.with_(status=Status.CRITICAL, weight=3, metadata={"v": "2"})
    (change,) = changes([A], [worse])
    assert change.kind == "changed"
    assert change.before == A
    assert str(change) == (
        "~ a  weight: 1 -> 3, metadata: {} -> {'v': '2'}, status: passing -> critical"
    )


# Events

ONE, OTHER = (Instance(host=f"10.0.0.{n}", port=80, id=name) for n, name in enumerate("ab", 1))
ILL = ONE.with_(status=Status.CRITICAL)
AT_ONCE = DiscoverySettings(grace_s=0.0)


def emitted(*steps, listener=None):
    """Run these steps, a minute each, in virtual time; return the events of each step."""

    async def main():
        registry, events = FakeRegistry(), []
        async with Directory(registry, settings=AT_ONCE) as directory:
            emitting = asyncio.create_task(
                emit_events(directory, "orders", listener or events.append)
            )
            per_step = []
            for step in steps:
                step(registry)
                await asyncio.sleep(60)
                per_step.append(list(events))
                events.clear()
            emitting.cancel()
            await asyncio.wait([emitting])
        assert len(asyncio.all_tasks()) == 1
        return per_step

    return run(main())


def lists(*instances):
    return lambda registry: registry.set("orders", instances)


def short(event):
    if isinstance(event, InstanceChanged):
        return event.instance.id, event.kind, event.before, event.after
    if isinstance(event, ServiceChanged):
        return event.kind, event.eligible, event.total
    return event.kind, event.registry


def test_each_change_of_the_list_is_an_event():
    steps = emitted(
        lists(ONE, OTHER),
        lists(ILL, OTHER),
        lists(ILL, OTHER.with_(weight=3.0)),
        lists(ILL),
        lists(ONE),
        lists(),
    )
    assert [[short(event) for event in events] for events in steps] == [
        [("a", "added", "", "passing"), ("b", "added", "", "passing")],
        [("a", "status", "passing", "critical")],
        [("b", "changed", "passing", "passing")],
        [("b", "removed", "passing", ""), ("unavailable", 0, 1)],
        [("a", "status", "critical", "passing"), ("recovered", 1, 1)],
        [("a", "removed", "passing", ""), ("unavailable", 0, 0)],
    ]
    assert {event.service for events in steps for event in events} == {"orders"}
    assert [event.at // 60 for events in steps for event in events] == [
        *(0, 0, 1, 2, 3, 3, 4, 4, 5, 5)
    ]


def test_the_registry_s_failures_and_its_return_are_events():
    steps = emitted(lists(ONE), FakeRegistry.fail, FakeRegistry.heal)
    assert [short(event) for event in steps[1]] == [("unavailable", "fake://test")]
    assert [short(event) for event in steps[2]] == [("available", "fake://test")]
    assert isinstance(steps[1][0], RegistryChanged)
    assert "the test says so" in steps[1][0].reason


def test_a_service_without_instances_from_the_first_list_is_unavailable():
    (events,) = emitted(lists())
    assert [short(event) for event in events] == [("unavailable", 0, 0)]


def test_a_listener_that_fails_is_logged_and_called_again(caplog):
    calls = []

    def listener(event):
        calls.append(event)
        raise RuntimeError("a bug")

    emitted(lists(ONE), lists(ILL), listener=listener)
    assert len(calls) == 3
    assert "service 'orders': a listener to events raised an error" in caplog.text
