"""What a client holds against members, in what order, since when, and when to look again."""

from math import inf
from random import Random

import pytest

from trimtab import ConfigurationError, HealthSettings, Instance, Pool, SlowStart, Status
from trimtab.events import InstanceChanged, ServiceChanged
from trimtab.health import EnvoyOutliers, GrpcOutliers, Monitor, Reason, reason_against
from trimtab.health.envoy import EnvoyDetector
from trimtab.health.grpc import GrpcDetector
from trimtab.member import Member

IDS = "abcdefghijklmnopqrst"


def instances(ids, **fields):
    return [Instance(host="10.0.0.1", port=80, id=id_, **fields) for id_ in ids]


def monitor_of(ids="abcd", **settings):
    monitor = Monitor(HealthSettings(**settings), Random(1))
    monitor.update(dict.fromkeys(ids), 0.0)
    return monitor


def members(ids, **fields):
    return [Member(instance, 0.0) for instance in instances(ids, **fields)]


def pool_of(ids="abcd", *, listener=None, concurrency=None, **settings):
    pool = Pool(
        strategy="round_robin",
        rng=Random(1),
        service="orders",
        health=HealthSettings(**settings),
        listener=listener,
        concurrency=concurrency,
    )
    pool.update(instances(ids), 0.0)
    return pool


def send(pool, id_, *statuses, now=0.0):
    """Send requests to one member, each answered so (None: not at all)."""
    others = [other for other in pool.members if other != id_]
    for status in statuses:
        pick = pool.pick(now, exclude=others)
        assert pick.instance.id == id_
        if status is not None:
            pick.answered(now, ok=status < 500, status=status)
        pick.done(now, "failure" if status is None else "success")


# The registry's reasons


@pytest.mark.parametrize(
    ("status", "weight", "reason"),
    [
        (Status.PASSING, 1.0, None),
        (Status.WARNING, 1.0, None),
        (Status.PASSING, 5e-324, None),
        (Status.CRITICAL, 1.0, Reason.CRITICAL),
        (Status.DRAINING, 1.0, Reason.DRAINING),
        (Status.PASSING, 0.0, Reason.WEIGHT_ZERO),
        (Status.WARNING, 0.0, Reason.WEIGHT_ZERO),
        (Status.CRITICAL, 0.0, Reason.CRITICAL),
    ],
)
def test_reasons_of_the_registry(status, weight, reason):
    assert reason_against(Instance(host="a", port=1, status=status, weight=weight)) is reason


def test_reasons_have_words():
    assert [str(reason) for reason in Reason] == [
        *("critical", "draining", "weight 0", "ejected", "probe failed", "asked to wait"),
        *("unreachable", "connecting", "saturated", "outside the subset"),
    ]


# Settings


def test_detectors_by_settings():
    assert isinstance(EnvoyOutliers().detector(Random(1)), EnvoyDetector)
    assert isinstance(GrpcOutliers().detector(Random(1)), GrpcDetector)
    assert HealthSettings().detector(Random(1)) is None


def test_variants_by_name():
    assert HealthSettings(outliers="envoy").outliers == EnvoyOutliers()
    assert HealthSettings(outliers="grpc_a50").outliers == GrpcOutliers()
    assert HealthSettings().outliers is None
    mine = EnvoyOutliers(interval_s=3.0)
    assert HealthSettings(outliers=mine).outliers is mine


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("outliers", "linkerd", "outliers is 'linkerd'; known are envoy, grpc_a50"),
        ("outliers", 5, r"outliers is 5; write 'envoy', 'grpc_a50', EnvoyOutliers\(...\) or Grpc"),
        ("panic_ratio", -0.1, "panic_ratio is -0.1; it must be from 0 to 1"),
        ("panic_ratio", 1.1, "panic_ratio is 1.1; it must be from 0 to 1"),
        ("panic_ratio", float("nan"), "panic_ratio is nan"),
        ("max_pause_s", -1.0, "max_pause_s is -1.0; it must be 0 or more"),
        ("caller_statuses", {200}, "caller_statuses has 200; each must be from 400 to 599"),
        ("caller_statuses", ["429"], "caller_statuses has '429'; each must be from 400 to 599"),
        ("max_pause_s", float("nan"), "max_pause_s is nan"),
        ("slow_start", 60, r"slow_start is 60; write SlowStart\(...\)"),
    ],
)
def test_wrong_settings_are_refused_by_name(name, value, said):
    with pytest.raises(ConfigurationError, match=f"^{said}"):
        HealthSettings(**{name: value})


@pytest.mark.parametrize("kind", [EnvoyOutliers, GrpcOutliers])
def test_wrong_settings_of_outliers_are_refused_by_name(kind):
    for name in ("interval_s", "base_ejection_s"):
        with pytest.raises(ConfigurationError, match=f"^{name} is 0; it must be above 0"):
            kind(**{name: 0})
        with pytest.raises(ConfigurationError, match=f"^{name} is -1; it must be 0 or more"):
            kind(**{name: -1})
        kind(**{name: 0.001})
    for name in ("max_ejected_ratio", "failure_ratio_threshold"):
        for value in (1.1, 10):
            with pytest.raises(ConfigurationError, match=f"^{name} is {value}; it must be from 0"):
                kind(**{name: value})
        kind(**{name: 1})
        kind(**{name: 0})
    for name in ("success_rate_stdev_factor", "failure_ratio_min_hosts", "max_ejection_s"):
        for value in (-1, float("nan")):
            with pytest.raises(ConfigurationError, match=f"^{name} is {value}; it must be 0 or"):
                kind(**{name: value})
        kind(**{name: 5})


def test_the_defaults_are_the_sources():
    envoy, grpc = EnvoyOutliers(), GrpcOutliers()
    for each in (envoy, grpc):
        assert (each.interval_s, each.base_ejection_s, each.max_ejection_s) == (10, 30, 300)
        assert (each.max_ejected_ratio, each.success_rate) == (0.1, True)
        assert each.success_rate_stdev_factor == 1.9
        assert (each.success_rate_min_hosts, each.success_rate_min_requests) == (5, 100)
        assert (each.failure_ratio_min_hosts, each.failure_ratio_min_requests) == (5, 50)
        assert each.failure_ratio_threshold == 0.85
        assert sorted(each.failing_statuses) == list(range(500, 600))
    assert (envoy.consecutive_failures, envoy.consecutive_gateway_failures) == (5, 0)
    assert (envoy.consecutive_local_failures, envoy.split_local) == (5, False)
    assert (envoy.failure_ratio, grpc.failure_ratio) == (False, True)
    assert (envoy.always_eject_one, envoy.max_ejection_jitter_s) == (False, 0)
    health = HealthSettings()
    assert (health.panic_ratio, health.panic_includes_critical) == (0.5, False)
    assert (health.slow_start, health.max_pause_s) == (None, 60)


# Ejection within a pool


def test_five_failures_eject_within_the_pool():
    pool = pool_of(IDS[:10], outliers="envoy")
    send(pool, "c", 500, 502, None, 503)
    assert pool.statistics(0.0).members["c"].reason is None
    send(pool, "c", 500)
    figures = pool.statistics(0.0)
    assert (figures.eligible, figures.members["c"].reason) == (9, "ejected")
    assert figures.members["c"].why == "failures in a row"
    assert {pool.pick(1.0).instance.id for _ in range(30)} == set(IDS[:10]) - {"c"}
    for now in (10.0, 20.0):
        assert pool.statistics(now).members["c"].reason == "ejected"
    figures = pool.statistics(30.0).members["c"]
    assert (figures.reason, figures.why) == (None, "")


def test_a_pick_sees_ejections_and_returns_without_being_told():
    pool = pool_of(IDS[:10], outliers="envoy")
    send(pool, "c", *[500] * 5)
    assert {pool.pick(9.0).instance.id for _ in range(30)} == set(IDS[:10]) - {"c"}
    assert {pool.pick(19.0).instance.id for _ in range(30)} == set(IDS[:10]) - {"c"}
    assert {pool.pick(29.0).instance.id for _ in range(30)} == set(IDS[:10]) - {"c"}
    # Sweeps came at 19 and 29, and the one of 30 shows at the pick of 39.
    assert {pool.pick(38.9).instance.id for _ in range(30)} == set(IDS[:10]) - {"c"}
    assert "c" in {pool.pick(39.0).instance.id for _ in range(30)}


def test_a_body_that_breaks_counts_beside_its_head():
    pool = pool_of(IDS[:10], outliers=EnvoyOutliers(consecutive_failures=2))
    for _ in range(5):
        pick = pool.pick(0.0, exclude=IDS[1:10])
        pick.answered(0.0, ok=True)
        pick.done(0.0, "failure")  # each good head ends the row
    assert pool.statistics(0.0).members["a"].reason is None


def test_a_cancelled_request_says_nothing():
    pool = pool_of(IDS[:10], outliers=EnvoyOutliers(consecutive_failures=2))
    for outcome in ("failure", "cancelled", "failure"):
        pool.pick(0.0, exclude=IDS[1:10]).done(0.0, outcome)
    assert pool.statistics(0.0).members["a"].reason == "ejected"


def test_ejection_forgets_nothing_else():
    """Survivors of a list keep their statistics and their ejection (Stork issue #233)."""
    pool = pool_of(IDS[:10], outliers="envoy")
    send(pool, "c", 200, 200, *[500] * 5, now=1.0)
    held = pool.pick(1.0, exclude=[id_ for id_ in IDS[:10] if id_ != "d"])
    before = pool.statistics(2.0)
    assert before.members["c"].reason == "ejected"
    again = [each.with_(zone="b", weight=2.0) for each in instances(IDS[:10])]
    pool.update(again, 2.0)
    after = pool.statistics(2.0)
    for id_ in IDS[:10]:
        for name in ("reason", "why", "in_flight", "picks", "successes", "failures", "latency_s"):
            assert getattr(after.members[id_], name) == getattr(before.members[id_], name), name
    assert after.members["d"].in_flight == 1
    held.done(2.0, "success")
    pool.update(instances("ab"), 3.0)
    pool.update(instances(IDS[:10]), 4.0)
    assert pool.statistics(4.0).members["c"].reason is None  # it left, and came back as another


def test_ejection_is_no_panic_as_long_as_half_are_left():
    pool = pool_of("abcd", outliers=EnvoyOutliers(max_ejected_ratio=1.0))
    send(pool, "a", *[500] * 5)
    send(pool, "b", *[500] * 5)
    assert [member.id for member in pool.eligible] == ["a", "b", "c", "d"][1:]
    pool.review(0.0)
    assert [member.id for member in pool.eligible] == ["c", "d"]
    send(pool, "c", *[500] * 5)
    pool.review(0.0)
    assert pool.is_panicking
    assert len(pool.eligible) == 4


def test_the_monitor_watches_outcomes_only_with_a_detector():
    assert monitor_of(outliers="envoy").watches
    assert not monitor_of().watches
    monitor = monitor_of()
    monitor.note("a", None, 0.0)
    assert monitor.review_at == inf


# Pauses (`Retry-After`)


def test_who_asks_for_it_is_left_in_peace():
    pool = pool_of()
    pool.pause("b", 3.0, 10.0)
    assert {pool.pick(10.0).instance.id for _ in range(20)} == {"a", "c", "d"}
    assert {pool.pick(12.999).instance.id for _ in range(20)} == {"a", "c", "d"}
    assert {pool.pick(13.0).instance.id for _ in range(20)} == {"a", "b", "c", "d"}


@pytest.mark.parametrize(
    ("asked_s", "most_s", "until"),
    [(3.0, 60.0, 3.0), (0.25, 60.0, 0.25), (1e9, 60.0, 60.0), (61.0, 60.0, 60.0), (5.0, 2.0, 2.0)],
)
def test_pauses_are_bounded(asked_s, most_s, until):
    monitor = monitor_of(max_pause_s=most_s)
    monitor.pause("a", asked_s, 0.0)
    assert monitor.paused_until("a") == until


@pytest.mark.parametrize(
    ("id_", "asked_s", "most_s"),
    [("a", 0.0, 60.0), ("a", -1.0, 60.0), ("a", 5.0, 0.0), ("x", 5.0, 60.0)],
)
def test_pauses_that_are_none(id_, asked_s, most_s):
    monitor = monitor_of(max_pause_s=most_s)
    monitor.pause(id_, asked_s, 0.0)
    assert monitor.paused_until(id_) == -inf
    assert monitor.review_at == inf
    empty = Monitor(HealthSettings(), Random(1))
    empty.pause("a", 5.0, 0.0)
    assert empty.paused_until("a") == -inf


def test_a_longer_pause_counts_and_a_shorter_one_does_not():
    monitor = monitor_of()
    monitor.pause("a", 5.0, 0.0)
    monitor.pause("a", 2.0, 1.0)
    assert monitor.paused_until("a") == 5.0
    monitor.pause("a", 4.0, 1.0)
    assert monitor.paused_until("a") == 5.0
    monitor.pause("a", 5.0, 1.0)
    assert monitor.paused_until("a") == 6.0


def test_a_pause_outlives_an_update_and_not_a_departure():
    monitor = monitor_of("ab")
    monitor.pause("a", 5.0, 0.0)
    monitor.pause("b", 5.0, 0.0)
    monitor.update(dict.fromkeys("bc"), 1.0)
    assert (monitor.paused_until("a"), monitor.paused_until("b")) == (-inf, 5.0)
    assert monitor.review_at == 5.0


# Probes


def test_a_failed_probe_keeps_traffic_away_until_one_passes():
    pool = pool_of()
    pool.probed("a", 0.0, is_well=False, why="HTTP 503 of http:/health")
    figures = pool.statistics(0.0).members["a"]
    assert (figures.reason, figures.why) == ("probe failed", "HTTP 503 of http:/health")
    assert [each.id for each in pool.suspects(0.0)] == ["a"]
    pool.update(instances("abc"), 1.0)
    assert pool.statistics(1.0).members["a"].reason == "probe failed"
    pool.probed("a", 2.0, is_well=True)
    assert pool.statistics(2.0).members["a"].reason is None
    pool.probed("a", 2.0, is_well=True)
    assert pool.suspects(2.0) == []


def test_a_passed_probe_ends_an_ejection():
    pool = pool_of(IDS[:10], outliers="envoy")
    send(pool, "c", *[500] * 5)
    assert [each.id for each in pool.suspects(1.0)] == ["c"]
    pool.probed("c", 1.0, is_well=True)
    assert pool.statistics(1.0).members["c"].reason is None
    # Nine seconds are no healthy interval: the next ejection is a longer one.
    pool.review(10.0)
    send(pool, "c", *[500] * 5, now=10.0)
    assert pool.statistics(40.0).members["c"].reason == "ejected"
    for now in (50.0, 60.0):
        assert pool.statistics(now).members["c"].reason == "ejected"
    assert pool.statistics(70.0).members["c"].reason is None


def test_probes_of_unknown_members_are_ignored():
    pool = pool_of()
    pool.probed("x", 0.0, is_well=False)
    assert pool.suspects(0.0) == []
    monitor = Monitor(HealthSettings(), Random(1))
    monitor.probed("a", 0.0, is_well=False)
    assert monitor.review_at == inf


def test_a_departed_members_probe_is_forgotten():
    pool = pool_of()
    pool.probed("a", 0.0, is_well=False)
    pool.update(instances("bcd"), 1.0)
    pool.update(instances("abcd"), 2.0)
    assert pool.suspects(2.0) == []


def test_who_is_asked_to_wait_for_is_no_suspect():
    pool = pool_of()
    pool.pause("a", 5.0, 0.0)
    assert pool.statistics(0.0).members["a"].reason == "asked to wait"
    assert pool.suspects(0.0) == []


# One reason of several


def test_the_registrys_word_comes_first_then_ejection_then_probes_then_pauses():
    pool = pool_of(IDS[:10], outliers="envoy")

    def reason():
        return pool.statistics(0.0).members["c"].reason

    pool.pause("c", 5.0, 0.0)
    assert reason() == "asked to wait"
    pool.probed("c", 0.0, is_well=False, why="refused")
    assert reason() == "probe failed"
    pool.probed("c", 0.0, is_well=True)
    pool.update(instances(IDS[:10]), 0.0)
    pool.review(5.0)
    send(pool, "c", *[500] * 5, now=5.0)
    pool.probed("c", 5.0, is_well=False, why="refused")
    figures = pool.statistics(5.0).members["c"]
    assert (figures.reason, figures.why) == ("ejected", "refused")
    others = instances(set(IDS[:10]) - {"c"})
    pool.update([*others, *instances("c", status="draining")], 5.0)
    assert pool.statistics(5.0).members["c"].reason == "draining"


def test_own_reasons_are_told_in_panic_too():
    monitor = monitor_of("ab")
    monitor.probed("a", 0.0, is_well=False)
    monitor.probed("b", 0.0, is_well=False)
    assert monitor.judge(members("ab"), 0.0) == {}
    assert monitor.is_panicking
    assert monitor.own_reasons("ab") == {"a": "probe failed", "b": "probe failed"}


# When to look again


def test_nothing_to_wait_for_is_never_looked_at():
    monitor = monitor_of()
    assert monitor.review_at == inf
    monitor.judge(members("abcd"), 0.0)
    assert monitor.review_at == inf
    assert not monitor.review(1e9)


def test_a_review_is_due_at_the_first_of_what_will_happen():
    monitor = monitor_of(outliers="envoy")
    monitor.judge(members("abcd"), 0.0)
    assert monitor.review_at == 10.0
    monitor.pause("a", 7.0, 1.0)
    assert monitor.review_at == -inf
    assert monitor.review(1.0)
    assert monitor.review_at == 8.0
    monitor.pause("b", 3.0, 1.0)
    assert monitor.review(1.0)
    assert monitor.review_at == 4.0
    assert monitor.review(4.0)
    assert monitor.review_at == 8.0
    assert not monitor.review(7.0)
    assert monitor.review(8.0)
    assert not monitor.review(10.0)  # a sweep that changed nothing
    assert monitor.review_at == 20.0


def test_what_was_noted_shows_at_a_sweep_that_changes_nothing():
    monitor = monitor_of(outliers="envoy")
    monitor.pause("a", 7.0, 10.0)
    assert monitor.review(10.0)


def test_a_fresh_pool_knows_nothing_against_anybody():
    assert Pool().is_panicking is False
    pool = pool_of()
    pool.probed("a", 0.0, is_well=False)
    assert pool.statistics(0.0).members["a"].why == ""


def test_slow_starts_are_looked_at_in_steps():
    monitor = monitor_of("a", slow_start=SlowStart(window_s=6.0))
    monitor.judge(members("a"), 0.0)
    assert monitor.review_at == inf
    monitor.update(dict.fromkeys("ab"), 50.0)
    monitor.judge(members("ab"), 50.0)
    assert monitor.review_at == pytest.approx(50.1)
    assert not monitor.review(50.05)
    assert monitor.review(50.2)
    monitor.judge(members("ab"), 50.2)
    assert monitor.review_at == pytest.approx(50.3)
    assert monitor.weight_factor("a", 50.0) == 1.0
    assert monitor.weight_factor("b", 53.0) == 0.5
    assert monitor.weight_factor("b", 56.0) == 1.0
    monitor.judge(members("ab"), 56.0)
    assert monitor.review_at == inf


# What is told


def told(events):
    return [
        (each.kind, each.instance.id, each.before, each.after, each.reason, each.at)
        if isinstance(each, InstanceChanged)
        else (each.kind, each.eligible, each.total, each.at)
        for each in events
    ]


def test_ejection_and_return_are_told():
    events = []
    pool = pool_of(IDS[:10], outliers="envoy", listener=events.append)
    assert events == []
    send(pool, "c", *[500] * 5, now=1.0)
    pool.review(1.5)
    pool.review(2.0)
    assert told(events) == [("ejected", "c", "eligible", "ejected", "failures in a row", 1.5)]
    assert events[0].service == "orders"
    events.clear()
    pool.review(31.0)
    assert told(events) == [("returned", "c", "ejected", "eligible", "", 31.0)]


def test_probes_are_told_and_pauses_are_not():
    events = []
    pool = pool_of(listener=events.append)
    pool.pause("a", 5.0, 0.0)
    pool.review(0.0)
    assert events == []
    pool.probed("b", 1.0, is_well=False, why="refused")
    pool.probed("b", 2.0, is_well=True)
    assert told(events) == [
        ("probe_failed", "b", "eligible", "probe failed", "refused", 1.0),
        ("probe_passed", "b", "probe failed", "eligible", "", 2.0),
    ]


def test_one_reason_may_follow_another():
    events = []
    pool = pool_of(IDS[:10], outliers="envoy", listener=events.append)
    pool.probed("c", 0.0, is_well=False, why="refused")
    pool.update(instances(IDS[:10]), 0.0)
    events.clear()
    pool.probed("c", 0.0, is_well=True)
    send(pool, "c", *[500] * 5)
    pool.probed("c", 1.0, is_well=False, why="refused")
    kinds = [each[0] for each in told(events)]
    assert kinds == ["probe_passed", "ejected"]
    events.clear()
    pool.review(30.0)
    assert told(events) == [
        ("returned", "c", "ejected", "eligible", "", 30.0),
        ("probe_failed", "c", "eligible", "probe failed", "refused", 30.0),
    ]


def test_the_departure_of_one_ejected_is_not_its_return():
    events = []
    pool = pool_of(listener=events.append)
    pool.probed("a", 0.0, is_well=False)
    events.clear()
    pool.update(instances("bcd"), 1.0)
    assert events == []


def test_events_report_the_begin_and_the_end_of_unavailability_and_panic():
    events = []
    pool = pool_of("ab", listener=events.append)
    pool.update(instances("ab", status="critical"), 1.0)
    pool.update(instances("abc", status="critical"), 2.0)
    pool.update(instances("ab"), 3.0)
    assert told(events) == [("unavailable", 0, 2, 1.0), ("recovered", 2, 2, 3.0)]
    assert all(isinstance(each, ServiceChanged) and each.service == "orders" for each in events)
    events.clear()
    pool.probed("a", 4.0, is_well=False)
    pool.probed("b", 5.0, is_well=False)
    pool.probed("b", 6.0, is_well=True)
    kinds = [each for each in told(events) if each[0].startswith("panic")]
    assert kinds == [("panic_began", 2, 2, 5.0), ("panic_ended", 1, 2, 6.0)]


def test_a_service_with_one_instance_becomes_unavailable():
    events = []
    pool = pool_of("a", listener=events.append)
    pool.update(instances("a", status="critical"), 1.0)
    assert told(events) == [("unavailable", 0, 1, 1.0)]


def test_an_empty_list_makes_no_event():
    events = []
    pool = pool_of("ab", listener=events.append)
    pool.update([], 1.0)
    assert events == []


# Out of reach


def test_what_cannot_be_connected_to_is_not_picked_until_it_can():
    pool = pool_of("abc")
    pool.connected("a", 1.0, is_open=False, why="refused")
    assert {pool.pick(1.0).instance.id for _ in range(9)} == {"b", "c"}
    figures = pool.statistics(1.0).members["a"]
    assert (figures.reason, figures.why) == ("unreachable", "refused")
    assert [one.id for one in pool.suspects(1.0)] == ["a"]
    pool.connected("a", 2.0, is_open=True)
    assert {pool.pick(2.0).instance.id for _ in range(9)} == {"a", "b", "c"}
    assert pool.statistics(2.0).members["a"].reason is None


def test_one_that_is_back_in_reach_is_believed_and_one_that_never_left_is_not():
    pool = pool_of("ab")
    send(pool, "a", None)
    pool.connected("a", 1.0, is_open=True)
    assert pool.members["a"].failed_in_row == 1
    pool.connected("a", 1.0, is_open=False)
    pool.connected("a", 2.0, is_open=True)
    assert pool.members["a"].failed_in_row == 0


def test_when_none_is_in_reach_all_are_used():
    pool = pool_of("abc")
    for id_ in "abc":
        pool.connected(id_, 1.0, is_open=False)
    assert {pool.pick(1.0).instance.id for _ in range(9)} == {"a", "b", "c"}
    pool.connected("b", 2.0, is_open=True)
    assert {pool.pick(2.0).instance.id for _ in range(9)} == {"b"}


def test_what_is_being_connected_to_is_not_picked_until_that_is_over():
    events = []
    pool = pool_of("abc", listener=events.append)
    pool.connecting(["b", "c", "stranger"], 1.0)
    assert [member.id for member in pool.eligible] == ["a"]
    assert pool.statistics(1.0).members["b"].reason == "connecting"
    pool.connected("b", 2.0, is_open=True)
    assert [member.id for member in pool.eligible] == ["a", "b"]
    assert events == []
    pool.connected("c", 2.0, is_open=False, why="refused")
    assert pool.statistics(2.0).members["c"].reason == "unreachable"
    assert [event.kind for event in events] == ["unreachable"]
    pool.connected("c", 3.0, is_open=True)
    assert [member.id for member in pool.eligible] == ["a", "b", "c"]


def test_when_all_are_being_connected_to_all_are_used():
    pool = pool_of("ab")
    pool.connecting("ab", 1.0)
    assert {pool.pick(1.0).instance.id for _ in range(9)} == {"a", "b"}


def test_what_left_while_it_was_connected_to_is_forgotten():
    pool = pool_of("ab")
    pool.connecting("b", 1.0)
    pool.update([pool.members["a"].instance], 1.5)
    pool.connected("b", 2.0, is_open=True)
    assert [member.id for member in pool.eligible] == ["a"]


def test_those_out_of_reach_are_no_part_of_panic():
    pool = pool_of("abcde", panic_ratio=0.5)
    for id_ in "abcd":
        pool.connected(id_, 1.0, is_open=False)
    assert not pool.is_panicking
    assert [member.id for member in pool.eligible] == ["e"]
    pool.probed("e", 2.0, is_well=False)
    # All that can be reached, rather than none.
    assert pool.is_panicking
    assert [member.id for member in pool.eligible] == ["e"]


def test_without_panic_an_ejected_one_is_no_reason_to_use_one_out_of_reach():
    pool = pool_of("ab", panic_ratio=0.0)
    pool.connected("a", 1.0, is_open=False)
    pool.probed("b", 1.0, is_well=False)
    assert pool.eligible == ()


def test_who_leaves_or_moves_is_out_of_reach_no_longer():
    pool = pool_of("abc")
    for id_ in "abx":
        pool.connected(id_, 1.0, is_open=False)
    (a, b, c) = instances("abc")
    pool.update([b.with_(port=81), c], 2.0)
    pool.update([a, b.with_(port=81), c], 3.0)
    assert [member.id for member in pool.eligible] == ["a", "b", "c"]


def test_events_say_who_is_out_of_reach_and_who_is_back():
    events = []
    pool = pool_of("ab", listener=events.append)
    events.clear()
    pool.connected("a", 1.0, is_open=False, why="refused")
    pool.connected("a", 2.0, is_open=False, why="refused")
    pool.connected("a", 3.0, is_open=True)
    assert [(event.kind, event.at) for event in events] == [
        ("unreachable", 1.0),
        ("reachable", 3.0),
    ]
