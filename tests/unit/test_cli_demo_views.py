"""Board, lines, summary and picture of the demo, over a run made by hand."""

import io
import json
from xml.etree import ElementTree as ET

import pytest
from rich.console import Console

from trimtab.cli.demo.record import Call, Event, Record
from trimtab.cli.demo.results import draw, summary, summary_json
from trimtab.cli.demo.run import Plan, Run
from trimtab.cli.demo.viewers import Board, Lines, Quiet, picture, took


@pytest.fixture
def run():
    """Ten seconds: b is killed at 2, a slowed at 4, d added at 7."""
    record = Record(now_s=10.0)
    for step in range(1000):
        at_s = step / 100
        names = "abc" if at_s < 2 else "ac" if at_s < 4 else "c" if at_s < 7 else "cd"
        id_ = names[step % len(names)]
        record.attempt(at_s, id_)
        record.calls.append(
            Call(ended_at_s=at_s + 0.01, instance_id=id_, latency_s=0.01, attempts=1)
        )
    for kind, id_, at_s in (("killed", "b", 2.0), ("slowed", "a", 4.0), ("added", "d", 7.0)):
        record.events.append(Event(kind=kind, instance_id=id_, at_s=at_s, fair_ratio=0.5))
    plan = Plan(rate_per_s=100, duration_s=10, strategy="random", seed=1)
    return Run(plan=plan, ids=["a", "b", "c", "d"], record=record)


def fail(run, error="no <route>"):
    run.record.calls.append(
        Call(ended_at_s=9.999, instance_id="", latency_s=1.0, attempts=2, error=error)
    )


def rendered(something):
    console = Console(width=150, file=io.StringIO())
    console.print(something)
    return console.file.getvalue()


def test_the_board_shows_every_instance_with_its_event(run):
    text = rendered(picture(run))
    assert "1,000 calls   0 failed" in text
    rows = {line.split()[0]: line for line in text.splitlines() if line}
    assert "◐ slow" in rows["a"]
    assert "✖ killed" in rows["b"]
    assert "● up" in rows["c"]
    assert "● new" in rows["d"]
    assert "50%" in rows["d"]
    assert "0 ms until the last attempt on it" in text


def test_the_board_shows_coming_events(run):
    del run.record.events[1:]
    text = rendered(picture(run))
    assert "4.5 s  the busiest instance is slowed" in text
    assert "7.0 s  an instance is added" in text


def test_the_board_marks_slow_answers_and_failures(run):
    fail(run)
    run.record.calls[-2] = Call(
        ended_at_s=9.99, instance_id="d", latency_s=3.0, attempts=1, error=""
    )
    assert "1 failed" in rendered(picture(run))


def test_the_board_draws_in_place(run):
    console = Console(width=150, file=io.StringIO(), force_terminal=True)
    with Board(console) as board:
        board.opening(run)
        board.event(run, run.record.events[0])
        board.update(run)
    assert "Starting a registry and 4 backends" in console.file.getvalue()
    assert "trimtab demo" in console.file.getvalue()


def test_lines_show_events_and_shares(run, capsys):
    with Lines() as lines:
        lines.opening(run)
        lines.event(run, run.record.events[0])
        lines.update(run)
    assert capsys.readouterr().out.splitlines() == [
        "Starting a registry and 4 backends ...",
        "  2.0 s  b killed",
        " 10.0 s   1,000 calls  0 failed  0 retried  a:  0%  b:  0%  c: 50%  d: 50%",
    ]


def test_the_quiet_viewer_prints_nothing(run, capsys):
    with Quiet() as viewer:
        viewer.opening(run)
        viewer.update(run)
    assert not capsys.readouterr().out


def test_the_summary_has_shares_per_phase_and_times_per_event(run):
    text = rendered(summary(run))
    assert "ALL HEALTHY" in text
    assert "ONE ADDED" in text
    assert "4.0 s  a slowed 20-fold" in text
    assert "1,000 calls in 10.0 s (100 per second), 0 failed" in text


def test_the_summary_names_errors(run):
    fail(run)
    assert "no <route>" in rendered(summary(run))
    assert "1 failed" in rendered(summary(run))


def test_the_summary_shows_what_has_not_settled(run):
    run.record.events.append(Event(kind="added", instance_id="e", at_s=9.8, fair_ratio=0.5))
    assert "not yet" in rendered(summary(run))


def test_the_summary_as_json(run):
    data = json.loads(json.dumps(summary_json(run), allow_nan=False))
    assert (data["requests"], data["failures"], data["errors"]) == (1000, 0, [])
    assert data["shares"]["added"] == {"c": 0.5, "d": 0.5}
    assert [event["event"] for event in data["events"]] == ["killed", "slowed", "added"]
    assert data["events"][0]["settled_s"] == 0


@pytest.mark.parametrize("failed", [False, True])
def test_the_picture_is_a_whole_svg_that_needs_nothing_else(run, failed):
    if failed:
        fail(run)
        run.record.events.append(Event(kind="added", instance_id="e", at_s=9.8, fair_ratio=0.5))
    text = draw(run)
    root = ET.fromstring(text)
    assert root.tag.endswith("svg")
    assert len([each for each in root if each.tag.endswith("polygon")]) == 4
    words = " ".join(root.itertext())
    assert "b killed" in words
    assert ("1 failed" if failed else "0 failed") in words
    assert ("not settled by the end" in words) is failed
    assert "http" not in text.replace("http://www.w3.org/2000/svg", "")


def test_times_are_shown_as_exactly_as_they_are_known():
    assert [took(each) for each in (None, 0.0, 0.004, 0.1, 1.26)] == [
        "not yet",
        "0 ms",
        "4 ms",
        "0.1 s",
        "1.3 s",
    ]
