"""The report: one file with everything in it, the same bytes for the same result."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from xml.etree import ElementTree as ET

import pytest

from trimtab.strategies import STRATEGIES
from trimtab_sim import Result, Scenario, run, sweep
from trimtab_sim.report import render, write
from trimtab_sim.report.cells import differences_grid, metrics_grid
from trimtab_sim.report.drawing import Scale, number, ticks
from trimtab_sim.report.outcomes import draw_outcomes
from trimtab_sim.report.shares import draw_shares
from trimtab_sim.report.times import draw_convergence, draw_latency

_TOML = """
[scenario]
name = "Small & <sharp>"
description = "One dies, one comes."
duration = "30s"
warmup = "2s"
strategies = ["least_latency", "round_robin"]
[service]
servers = 4
time = {law = "constant", mean = "5ms"}
[registry]
ttl = "4s"
heartbeat = "1s"
[discovery]
poll_interval_s = 1.0
[[clients]]
count = 2
arrivals = {kind = "poisson", rate = 40}
timeout = "200ms"
[[timeline]]
at = "6s"
action = "black_hole"
targets = {index = [1]}
duration = "12s"
[[timeline]]
at = "10s"
action = "add"
count = 2
every = "2s"
[[timeline]]
at = "22s"
action = "remove"
drain = "3s"
[expect]
success_ratio = 0.99
views_within_bound = true
"""
_CALM = """
[scenario]
duration = "2s"
[service]
servers = 2
[[clients]]
arrivals = {kind = "constant", rate = 20}
"""
_LOST = """
[scenario]
duration = "3s"
[service]
servers = 1
[[clients]]
arrivals = {kind = "constant", rate = 10}
timeout = "100ms"
[[timeline]]
at = 0
action = "hang"
targets = "all"
[expect]
p99 = "1s"
"""


@pytest.fixture(scope="module")
def result():
    return run(Scenario.from_toml(_TOML), reps=3, seed=5, source="small.toml")


@pytest.fixture(scope="module")
def page(result):
    return render(result)


def _pictures(html):
    return re.findall(r"<svg .*?</svg>", html, re.DOTALL)


class _Tags(HTMLParser):
    """Checks that what is opened is closed, in order."""

    _EMPTY = frozenset({"meta", "br", "line", "rect"})

    def __init__(self):
        super().__init__()
        self.open = []
        self.seen = []

    def handle_starttag(self, tag, attributes):
        self.seen.append((tag, dict(attributes)))
        if tag not in self._EMPTY:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.seen.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_it_is_one_well_formed_file_that_fetches_and_runs_nothing(page):
    tags = _Tags()
    tags.feed(page)
    assert not tags.open
    names = {tag for tag, _ in tags.seen}
    assert not names & {"script", "link", "img", "iframe", "object", "image"}
    urls = set(re.findall(r"\w+://[^\s\"'<]*", page))
    assert urls == {"http://www.w3.org/2000/svg"}
    assert "url(" not in page
    assert "@import" not in page


def test_every_picture_is_well_formed_and_stays_within_its_frame(page):
    pictures = _pictures(page)
    assert len(pictures) == 4
    for picture in pictures:
        root = ET.fromstring(picture)
        width, height = map(float, root.get("viewBox").split()[2:])
        assert root.find("{*}title").text
        for element in root.iter():
            for name, most in (("x", width), ("x2", width), ("y", height), ("y2", height)):
                assert 0 <= float(element.get(name, 0)) <= most


def test_it_has_the_expectations_the_results_and_the_replay_commands(page, result):
    assert "Small &amp; &lt;sharp&gt;" in page
    assert "<sharp>" not in page
    failure = next(one for one in result.judgements() if not one.holds)
    assert failure.strategy == "round_robin"
    line = "trimtab-sim run small.toml --strategy round_robin --seed 1 --replication 0"
    assert line.replace("--seed 1", "--seed 5") in page
    for text in ("✓", "✗", result.digest, result.scenario_digest, "simpy 4.1", "heartbeat = 1.0"):
        assert text in page
    for runs in result.runs.values():
        assert all(found.digest in page and str(found.seed) in page for found in runs)


def test_the_same_result_gives_the_same_bytes(page, result, tmp_path):
    again = Result.from_bytes(result.to_bytes())
    first = write(result, tmp_path / "a" / "b")
    second = write(again, tmp_path)
    assert first.name == second.name == "index.html"
    assert first.read_bytes() == second.read_bytes() == page.encode()
    assert str(tmp_path) not in page


def test_a_date_is_available_only_when_given(page, result):
    assert "2031-05-06" in render(result, date="2031-05-06")
    assert not re.search(r"20[2-9]\d-\d\d-\d\d", page)


def test_one_calm_replication_of_one_strategy_needs_no_more_than_there_is():
    html = render(run(Scenario.from_toml(_CALM), reps=1))
    assert len(_pictures(html)) == 3, "no change, so no picture of convergence"
    assert "One replication, so the uncertainty is unknown." in html
    assert "Compared with least_latency" not in html
    assert "<h2>Expectations</h2>" not in html
    assert "none" in html


def test_a_service_that_answers_nothing_is_reported_too():
    html = render(run(Scenario.from_toml(_LOST), reps=2))
    assert "100.00 %" in html
    assert "nothing to measure" in html


def test_changes_that_no_client_follows_are_counted():
    deaf = _TOML.replace("[discovery]\npoll_interval_s = 1.0", "")
    deaf += '\n[[timeline]]\nat = "5s"\naction = "partition"\nfrom = "clients"\nto = "registry"\n'
    picture = draw_convergence(run(Scenario.from_toml(deaf), reps=1))
    assert re.search(r"0 of \d followed", picture)


def test_figures_that_some_replications_lack_have_no_interval():
    rare = _CALM + '\n[[churn]]\nevery = "2s"\nat_most = 1\ndo = {action = "crash"}\n'
    result = run(Scenario.from_toml(rare), reps=6)
    row = next(row for row in metrics_grid(result).rows if row[0].text == "traffic off dead")
    assert row[1].text != "-"
    assert not row[1].error
    other = differences_grid(
        run(Scenario.from_toml(rare), reps=6, strategies=["random", "least_request"])
    )
    assert next(row for row in other.rows if row[0].text == "traffic off dead")[1].text == "-"


def test_changed_settings_are_shown():
    result = run(Scenario.from_toml(_CALM), reps=1, overrides={"service.servers": 3})
    assert "service.servers = 3" in render(result)


def test_churn_brings_more_events_than_can_be_labelled():
    churn = '\n[[churn]]\nevery = "50ms"\ndo = {action = "slow", factor = 2, duration = "20ms"}\n'
    result = run(Scenario.from_toml(_CALM + churn), reps=1)
    assert len(result.runs["least_latency"][0].events) > 30
    picture = draw_outcomes(result)
    assert picture.count('class="label"') == 24


def test_shares_distinguish_dead_draining_and_new_instances(result):
    classes = re.findall(r'class="([^"]*)"', draw_shares(result))
    assert {"late", "leaving", "h0", "h4"} <= set(classes)
    only = re.findall(r'class="([^"]*)"', draw_shares(result, replication=1))
    assert "h4" in only


def test_the_repr_of_a_result_is_its_table(result):
    swept = sweep(Scenario.from_toml(_CALM), {"service.servers": [1, 2]}, reps=1)
    for shown in (result, result.table(), swept):
        assert "strategy" in repr(shown)
        assert len(repr(shown)) < 2000


def test_a_picture_that_stands_alone_brings_its_colours(result):
    for draw in (draw_outcomes, draw_shares, draw_latency, draw_convergence):
        assert "<style>:root{}</style>" in draw(result, css=":root{}")


def test_the_picture_of_thousands_of_servers_is_limited():
    many = Scenario.from_toml(_CALM).replace("service.servers", 300)
    assert "120 of 300" in draw_shares(run(many, reps=1))


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(0, 60, [0, 10, 20, 30, 40, 50, 60]), (0, 0.5, [0, 0.1, 0.2, 0.3, 0.4, 0.5])],
)
def test_ticks_are_round(low, high, expected):
    assert ticks(low, high, 6) == pytest.approx(expected)


def test_a_scale_keeps_within_its_ends():
    scale = Scale(low=1, high=100, start=0, end=10, is_log=True)
    assert scale(10) == pytest.approx(5)
    assert scale(0.001) == 0
    assert scale(1e9) == 10


@pytest.mark.parametrize(("value", "written"), [(1.0, "1"), (-0.001, "0"), (2.345, "2.35")])
def test_numbers_are_short(value, written):
    assert number(value) in {written, "2.34"}


@pytest.mark.parametrize("draw", [draw_latency, draw_outcomes, draw_shares])
def test_the_names_of_all_strategies_have_room(draw):
    names = sorted(STRATEGIES)
    root = ET.fromstring(draw(run(Scenario.from_toml(_CALM), reps=1, strategies=names)))
    width = float(root.get("viewBox").split()[2])
    words = root.findall(".//{*}text[@class='name']")
    assert sorted("".join(one.text for one in words)) == sorted("".join(names))
    for one in words:
        x, length = float(one.get("x")), 7.0 * len(one.text)
        left, right = (x - length, x) if one.get("text-anchor") == "end" else (x, x + length)
        assert left >= 0, one.text
        assert right <= width, one.text
