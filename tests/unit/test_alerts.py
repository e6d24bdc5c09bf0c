"""The digest: which messages there are, and when; on a manual clock."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab import ConfigurationError, Instance, Status
from trimtab.alerts import AlertSettings, Digest
from trimtab.events import InstanceChanged, RegistryChanged, ServiceChanged

A, B = (Instance(host=f"10.0.0.{n}", port=80) for n in (1, 2))


def status(instance, after, *, reason="", service="orders"):
    instance = instance.with_(status=Status(after))
    return InstanceChanged(
        service=service, instance=instance, kind="status", after=after, reason=reason
    )


def change(kind, instance=A, **fields):
    return InstanceChanged(service="orders", instance=instance, kind=kind, **fields)


class Played:
    """A digest and its messages, by time."""

    def __init__(self, **settings):
        self.digest = Digest(AlertSettings(**settings))
        self.alerts = []

    def play(self, *events, until=1000.0):
        """Add each (at, event) at its time, and take what is due, as the alerter does."""
        for at, event in (*events, (until, None)):
            while (due := self.digest.next_at) <= at:
                self.alerts += [(due, alert) for alert in self.digest.take(due)]
            if event is not None:
                self.digest.add(event, at)
        return self

    @property
    def lines(self):
        return [(at, *alert.lines) for at, alert in self.alerts]


def test_a_fault_is_reported_after_the_quiet_window_and_its_recovery_after_the_interval():
    played = Played().play(
        (100.0, status(A, "critical", reason="HTTP 503")), (130.0, status(A, "passing"))
    )
    assert played.lines == [
        (105.0, "10.0.0.1:80: critical (HTTP 503)"),
        (165.0, "10.0.0.1:80: passing after 30 s critical"),
    ]
    (_, fault), (_, recovery) = played.alerts
    assert (fault.kind, recovery.kind) == ("fault", "recovery")
    assert fault.title == "orders: 10.0.0.1:80: critical (HTTP 503)"
    assert (fault.service, fault.events, fault.body) == ("orders", 1, fault.lines[0])


def test_what_happens_in_one_window_is_one_message_faults_first():
    played = Played().play(
        (100.0, status(A, "critical")),
        (170.0, status(A, "passing")),
        (171.0, status(B, "critical")),
        (174.9, change("ejected", A.with_(zone="b"), reason="5 failures in a row")),
    )
    assert played.lines[1] == (
        175.0,
        "10.0.0.2:80: critical",
        "10.0.0.1:80 in b: ejected (5 failures in a row)",
        "10.0.0.1:80: passing after 1.17 min critical",
    )
    alert = played.alerts[1][1]
    assert (alert.title, alert.kind, alert.events) == ("orders: 2 faults, 1 recovery", "fault", 3)


def test_a_fault_that_ends_before_the_next_message_is_one_line():
    played = Played().play(
        (100.0, status(A, "critical", reason="TTL expired")), (104.0, status(A, "passing"))
    )
    assert played.lines == [
        (105.0, "10.0.0.1:80: passing after 4 s critical (TTL expired)", "2 events in all")
    ]
    assert played.alerts[0][1].kind == "notice"


def test_an_instance_that_failed_again_in_between_is_reported_so():
    played = Played(flaps=10).play(
        (100.0, status(A, "critical")),
        (110.0, status(A, "passing")),
        (120.0, status(A, "critical", reason="HTTP 500")),
    )
    assert played.lines[1] == (165.0, "10.0.0.1:80: critical again (HTTP 500)", "2 events in all")
    assert played.alerts[1][1].title == "orders: 10.0.0.1:80: critical again (HTTP 500)"


def test_a_flapping_instance_is_summed_up():
    turns = [(100.0 + n, status(A, ("critical", "passing")[n % 2])) for n in range(200)]
    played = Played().play(*turns)
    assert [at for at, _ in played.alerts] == [105.0, 165.0, 225.0, 285.0, 345.0]
    assert played.lines[0][1:] == (
        "10.0.0.1:80: flapping, 5 changes, now critical",
        "5 events in all",
    )
    assert played.lines[1][1] == "10.0.0.1:80: flapping, 60 changes, now critical"
    assert sum(alert.events for _, alert in played.alerts) == 200


def test_services_do_not_wait_for_each_other():
    played = Played().play(
        (100.0, status(A, "critical")),
        (110.0, status(A, "critical", service="users")),
        (111.0, status(B, "critical")),
    )
    assert [(at, alert.service) for at, alert in played.alerts] == [
        (105.0, "orders"),
        (115.0, "users"),
        (165.0, "orders"),
    ]


def test_earlier_faults_that_last_are_counted():
    played = Played().play((100.0, status(A, "critical")), (300.0, status(B, "critical")))
    assert played.lines[1] == (
        305.0,
        "10.0.0.2:80: critical",
        "1 earlier fault not over yet",
    )
    played.play((2000.0, status(B, "passing")), until=3000.0)
    assert played.alerts[2][1].kind == "notice"  # No recovery: the other lasts.
    played.play((4000.0, status(A, "passing")), until=5000.0)
    assert played.alerts[3][1].kind == "recovery"


def test_long_lists_are_cut_and_counted():
    many = [Instance(host="10.0.0.1", port=n) for n in range(1, 31)]
    events = [(100.0, status(each, "critical")) for each in many]
    events += [(101.0, status(each, "passing")) for each in many[:4]]
    played = Played(max_lines=3).play(*events)
    assert played.lines == [
        (
            105.0,
            *(f"10.0.0.1:{n}: critical" for n in (5, 6, 7)),
            "and 27 more: 23 faults, 4 brief faults",
            "34 events in all",
        )
    ]
    assert played.alerts[0][1].title == "orders: 26 faults, 4 brief faults"


@pytest.mark.parametrize(
    ("event", "line"),
    [
        (change("ejected", reason="5 failures in a row"), "ejected (5 failures in a row)"),
        (change("probe_failed", reason="HTTP GET x: 503"), "failing its probes (HTTP GET x: 503)"),
        (change("added", A.with_(status=Status.CRITICAL)), "critical"),
        (status(A, "critical", reason="a\n b\tc"), "critical (a b c)"),
        (status(A, "critical", reason="x" * 999), f"critical ({'x' * 200}...)"),
    ],
)
def test_faults_of_an_instance(event, line):
    assert Played().play((1.0, event)).lines == [(6.0, f"10.0.0.1:80: {line}")]


@pytest.mark.parametrize(
    ("bad", "good", "lines"),
    [
        (
            ServiceChanged(service="orders", kind="unavailable", total=5),
            ServiceChanged(service="orders", kind="recovered", eligible=1, total=5),
            (
                "the service: without an eligible instance (0 of 5 eligible)",
                "the service: recovered after 10 s without an eligible instance",
            ),
        ),
        (
            ServiceChanged(
                service="orders", kind="panic_began", eligible=2, total=5, reason="50 %"
            ),
            ServiceChanged(service="orders", kind="panic_ended", eligible=5, total=5),
            (
                "the service: in panic, all instances used (2 of 5 eligible; 50 %)",
                "the service: out of panic after 10 s in panic, all instances used",
            ),
        ),
        (
            RegistryChanged(
                service="orders", registry="consul://r", kind="unavailable", reason="refused"
            ),
            RegistryChanged(service="orders", registry="consul://r", kind="available"),
            (
                "consul://r: unavailable (refused)",
                "consul://r: available after 10 s unavailable",
            ),
        ),
        (
            change("ejected", reason="errors"),
            change("returned"),
            (
                "10.0.0.1:80: ejected (errors)",
                "10.0.0.1:80: back in use after 10 s ejected",
            ),
        ),
        (
            change("probe_failed"),
            change("probe_passed"),
            (
                "10.0.0.1:80: failing its probes",
                "10.0.0.1:80: passing its probes after 10 s failing its probes",
            ),
        ),
        (
            change("probe_failed"),
            change("removed"),
            (
                "10.0.0.1:80: failing its probes",
                "10.0.0.1:80: removed after 10 s failing its probes",
            ),
        ),
        (
            status(A, "critical"),
            status(A, "draining"),
            (
                "10.0.0.1:80: critical",
                "10.0.0.1:80: draining after 10 s critical",
            ),
        ),
    ],
)
def test_faults_and_their_ends(bad, good, lines):
    played = Played().play((1.0, bad), (11.0, good))
    assert [each[1:] for each in played.lines] == [(line,) for line in lines]


@pytest.mark.parametrize(
    "event",
    [
        *(change(kind) for kind in ("added", "removed", "changed", "returned", "probe_passed")),
        *(status(A, each) for each in ("passing", "warning", "draining")),
        ServiceChanged(service="orders", kind="recovered"),
    ],
)
def test_events_that_are_no_fault_give_no_message(event):
    played = Played().play((1.0, event))
    assert played.alerts == []
    assert played.digest.next_at == float("inf")


def test_removals_are_faults_if_the_settings_say_so():
    named = Instance(id="orders-7", host="10.0.0.1", port=80)
    played = Played(removals=True).play(
        (1.0, change("removed", named)), (21.0, change("added", named))
    )
    assert [each[1:] for each in played.lines] == [
        ("orders-7 (10.0.0.1:80): removed",),
        ("orders-7 (10.0.0.1:80): listed after 20 s removed",),
    ]


def test_flushing_returns_messages_that_are_not_due():
    played = Played().play(
        (100.0, status(A, "critical")), (101.0, status(B, "critical")), until=102.0
    )
    (alert,) = played.digest.flush(102.0)
    assert alert.title == "orders: 2 faults"
    assert played.digest.flush(103.0) == []


def test_remembered_faults_are_bounded_and_services_forgotten():
    digest = Digest(AlertSettings(removals=True, quiet_s=0.0, min_interval_s=0.0, max_lines=1))
    for n in range(5000):
        digest.add(change("removed", Instance(host=f"h{n}", port=80)), 0.0)
    digest.take(0.0)
    assert len(digest._services["orders"]._conditions) == 4096
    digest = Digest(AlertSettings())
    digest.add(status(A, "critical"), 0.0)
    digest.take(5.0)
    digest.add(status(A, "passing"), 6.0)
    digest.take(65.0)
    digest.take(125.0)
    assert digest._services == {}


@given(
    st.lists(
        st.tuples(
            st.integers(0, 400),
            st.sampled_from([A, B]),
            st.sampled_from(["critical", "passing", "warning"]),
        ),
        max_size=60,
    )
)
def test_messages_are_rare_and_nothing_is_lost(steps):
    steps = sorted(steps, key=lambda step: step[0])
    played = Played().play(*((at, status(who, what)) for at, who, what in steps))
    times = [at for at, _ in played.alerts]
    assert all(b - a >= 60.0 for a, b in pairwise(times))
    turns, now, first_after = 0, {}, []
    for at, who, what in steps:
        is_fault = what == "critical"
        if now.get(who.id, False) != is_fault:
            turns += 1
            now[who.id] = is_fault
            first_after.append(at)
    assert sum(alert.events for _, alert in played.alerts) == turns
    # Each change is reported within the quiet window, or as soon as the interval allows.
    assert all(any(at < sent <= at + 65 for sent in times) for at in first_after)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("quiet_s", -1.0),
        ("min_interval_s", float("nan")),
        ("min_interval_s", float("inf")),
        ("max_lines", 0),
        ("flaps", 1),
    ],
)
def test_settings_out_of_range_are_named(name, value):
    with pytest.raises(ConfigurationError, match=f"{name} is"):
        AlertSettings(**{name: value})
