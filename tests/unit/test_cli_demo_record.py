"""Figures of the demo, drawn from records made by hand."""

import math

import pytest

from trimtab.cli.demo.record import Call, Event, Record, phases, settled_s, share_curve, shares


def record_of(*spans, now_s):
    """Make a record with 100 attempts a second; each span names the instances, which take turns."""
    record = Record(now_s=now_s)
    for from_s, until_s, ids in spans:
        for step in range(round((until_s - from_s) * 100)):
            record.attempt(from_s + step / 100, ids[step % len(ids)])
    return record


def event_of(record, kind, id_="x", at_s=2.0, fair_ratio=0.5):
    event = Event(kind=kind, instance_id=id_, at_s=at_s, fair_ratio=fair_ratio)
    record.events.append(event)
    return event


def test_shares_are_of_the_attempts_within_the_time():
    record = record_of((0, 1, "aab"), (1, 2, "b"), now_s=2)
    assert shares(record, 1, 2) == {"b": 1.0}
    assert shares(record, 0, 2) == {"a": pytest.approx(0.335), "b": pytest.approx(0.665)}
    assert shares(record, 5, 6) == {}


def test_the_curve_leaves_out_times_without_traffic():
    record = record_of((1, 2, "a"), now_s=2)
    curve = list(share_curve(record, window_s=0.5))
    assert curve[0][0] == pytest.approx(1.1)
    assert all(share == {"a": 1.0} for _, share in curve)


def test_a_killed_instance_counts_until_its_last_attempt():
    record = record_of((0, 2, "xy"), (2, 2.1, "xy"), (2.1, 5, "y"), now_s=5)
    assert settled_s(record, event_of(record, "killed")) == pytest.approx(0.08)


def test_a_killed_instance_without_any_further_attempt_took_no_time():
    record = record_of((0, 2, "xy"), (2, 5, "y"), now_s=5)
    assert settled_s(record, event_of(record, "killed")) == 0
    assert settled_s(Record(now_s=5), event_of(record, "killed")) == 0


def test_a_killed_instance_tried_within_the_last_second_has_not_settled():
    record = record_of((0, 5, "xy"), now_s=5)
    assert settled_s(record, event_of(record, "killed")) is None


def test_a_slowed_instance_has_settled_once_its_share_stays_small():
    record = record_of((0, 3, "xy"), (3, 9, "xyyyyyyyyy"), now_s=9)
    # Of the last second, x has half before 3 s and a tenth after: a quarter at 3.625 s.
    assert settled_s(record, event_of(record, "slowed")) == pytest.approx(1.7, abs=0.11)


def test_a_slowed_instance_whose_share_grows_again_has_not_settled():
    record = record_of((0, 3, "xy"), (3, 6, "y"), (6, 9, "xy"), now_s=9)
    assert settled_s(record, event_of(record, "slowed")) is None


def test_a_new_instance_has_its_share_when_it_first_reaches_four_fifths_of_it():
    record = record_of((0, 3, "y"), (3, 9, "xy"), now_s=9)
    # Over a trailing second, x has 0.4 of the traffic from 3.8 s on.
    assert settled_s(record, event_of(record, "added")) == pytest.approx(1.8, abs=0.11)


def test_a_new_instance_without_traffic_has_no_share():
    record = record_of((0, 9, "y"), now_s=9)
    assert settled_s(record, event_of(record, "added")) is None


def test_phases_are_divided_at_the_events():
    record = record_of((0, 6, "xy"), now_s=6)
    event_of(record, "killed", at_s=2.0)
    event_of(record, "added", at_s=4.0)
    assert phases(record) == [("before", 0.0, 2.0), ("killed", 2.0, 4.0), ("added", 4.0, 6)]


def test_a_record_counts_failures_and_retries():
    record = Record()
    for at_s, attempts, error in ((1.0, 1, ""), (2.0, 2, ""), (3.0, 3, "broken")):
        record.calls.append(
            Call(ended_at_s=at_s, instance_id="a", latency_s=0.1, attempts=attempts, error=error)
        )
    assert (record.failures, record.retried) == (1, 2)
    assert [call.ended_at_s for call in record.calls_since(2.0)] == [2.0, 3.0]
    assert record.attempts(until_s=math.inf).total() == 0
