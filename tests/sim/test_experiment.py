import json
from itertools import pairwise

import msgspec
import numpy as np
import pytest
from distributed import LocalCluster
from matplotlib.figure import Figure

from trimtab.strategies.drawing import RandomChoice
from trimtab_sim import Result, Scenario, Sweep, compare, run, sweep
from trimtab_sim.errors import ScenarioError, SimulationError
from trimtab_sim.executors import Task, _chunks, perform
from trimtab_sim.figures import ViolationFigures
from trimtab_sim.streams import child_seed
from trimtab_sim.tables import Table

TEXT = """
    [scenario]
    name = "Small"
    duration = 20
    warmup = 2
    strategies = ["random", "least_latency"]
    [service]
    servers = 4
    [[clients]]
    count = 2
    arrivals = { kind = "poisson", rate = 20 }
    [[timeline]]
    at = 8
    action = "crash"
    duration = 6
    """
SMALL = Scenario.from_toml(TEXT)
STEADY = Scenario.from_toml(
    "[scenario]\nduration=5\n[service]\nservers=2\n[[clients]]\narrivals={kind='poisson',rate=50}"
)


@pytest.fixture(scope="module")
def small():
    return run(SMALL, reps=3, source="small.toml")


@pytest.fixture(scope="module")
def swept():
    return sweep(SMALL, {"service.servers": [3, 5], "clients[0].count": [1]}, reps=2)


# -- the same bytes from every executor ------------------------------------------------------


def test_serial_pool_and_dask_give_the_same_bytes(small):
    reported = []
    pooled = run(
        SMALL, reps=3, source="small.toml", jobs=2, progress=lambda *done: reported.append(done)
    )
    assert reported[-1] == (6, 6)
    options = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None}
    with LocalCluster(processes=True, **options) as cluster:
        clustered = run(SMALL, reps=3, source="small.toml", dask=cluster.scheduler_address)
    assert small.to_bytes() == pooled.to_bytes() == clustered.to_bytes()
    assert small.digest == pooled.digest == clustered.digest


def test_a_dask_cluster_that_is_not_there_is_named():
    with pytest.raises(ScenarioError, match="no Dask scheduler answers at 'nonsense://x'"):
        run(STEADY, reps=1, dask="nonsense://x")


def test_seeds_do_not_depend_on_how_work_is_cut(small):
    fewer = run(SMALL, reps=2)
    for strategy in small.strategies:
        assert fewer.runs[strategy] == small.runs[strategy][:2]
    last = run(SMALL, replications=[2])
    assert last.replications == [2]
    assert last.runs["random"] == small.runs["random"][2:]
    assert small.runs["random"][2].seed == child_seed(1, 2)


def test_chunks_hold_all_tasks_in_order():
    tasks = [Task(scenario=STEADY, strategy="random", seed=n, depth="core") for n in range(37)]
    chunks = list(_chunks(tasks, 2))
    assert chunks[0][0] == 0
    assert chunks[-1][1] == 37
    assert all(end == start for (_, end), (start, _) in pairwise(chunks))
    # A run of an hour is a chunk of its own.
    long = Task(
        scenario=STEADY.replace("scenario.duration", "1h"), strategy="random", seed=1, depth="core"
    )
    assert list(_chunks([long] * 40, 2)) == [(n, n + 1) for n in range(40)]
    closed = STEADY.replace("clients[0].arrivals", {"kind": "closed", "concurrency": 2})
    task = Task(scenario=closed, strategy="random", seed=1, depth="core")
    assert list(_chunks([task] * 40, 1)) == [(n, n + 1) for n in range(40)]


def test_progress_is_reported_after_each_run():
    reported = []
    tasks = [Task(scenario=STEADY, strategy="random", seed=n, depth="core") for n in range(2)]
    perform(tasks, progress=lambda done, total: reported.append((done, total)))
    assert reported == [(0, 2), (1, 2), (2, 2)]


# -- replications ----------------------------------------------------------------------------


def test_strategies_meet_the_same_requests(small):
    for one, other in zip(small.runs["random"], small.runs["least_latency"], strict=True):
        assert one.seed == other.seed
        assert one.checks.begun == other.checks.begun
        assert [e.at for e in one.events] == [e.at for e in other.events]
        assert one.digest != other.digest


def test_a_factory_is_a_strategy_too():
    class Mine(RandomChoice):
        pass

    result = run(STEADY, reps=1, strategies=[Mine, "random"])
    assert result.strategies == ["Mine", "random"]
    assert result.runs["Mine"][0].digest == result.runs["random"][0].digest


def test_precision_adds_replications():
    loose = run(STEADY, precision=0.9)
    assert loose.replications == list(range(5))
    tight = run(STEADY, precision=0.03)
    assert len(tight.replications) > 5
    assert tight.interval("least_latency", "mean").relative_half_width < 0.04
    assert tight.runs["least_latency"][:5] == loose.runs["least_latency"]
    # Of failures that never happen no share can be taken; more runs would not help.
    assert len(run(STEADY, precision=0.01, precision_of="failed").replications) == 5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"reps": 0}, "reps is 0"),
        ({"precision": 2.0}, "precision is 2.0"),
        ({"precision_of": "speed"}, "unknown figure 'speed'"),
        ({"strategies": ["random", "random"]}, "listed twice"),
        ({"overrides": {"service.nonsense.x": 1}}, "service"),
    ],
)
def test_wrong_arguments_are_named(arguments, message):
    with pytest.raises(ScenarioError, match=message):
        run(STEADY, **arguments)


def test_a_file_can_be_named_instead(tmp_path):
    path = tmp_path / "it.toml"
    path.write_text(STEADY.to_toml(), encoding="utf-8")
    result = run(path, reps=1)
    assert result.source == str(path)
    assert result.scenario.digest == STEADY.digest


def test_a_comparison_takes_two():
    assert compare(STEADY, strategies=["random", "round_robin"], reps=1).strategies == [
        "random",
        "round_robin",
    ]
    with pytest.raises(ScenarioError, match="two strategies"):
        compare(STEADY, strategies=["random"])


# -- results ---------------------------------------------------------------------------------


def test_results_give_arrays_and_intervals(small):
    values = small.values("random", "success_ratio")
    assert values.shape == (3,)
    interval = small.interval("random", "success_ratio")
    assert interval.estimate == pytest.approx(values.mean())
    assert interval.contains(values.mean())
    assert small.interval("random", "p99").count == 3
    difference = small.difference("random", "least_latency", "mean")
    apart = small.values("random", "mean") - small.values("least_latency", "mean")
    assert difference.estimate == pytest.approx(apart.mean())


def test_results_pool_latencies_and_shares(small):
    assert small.latency("random").count == sum(r.successes for r in small.runs["random"])
    shares = small.shares("random")
    assert shares.shape == (4, 241)
    sums = shares.sum(axis=0)
    assert np.allclose(sums[sums > 0], 1.0)
    assert len(small.times_to_converge("random")) > 0
    assert small.warmup("random").discard >= 0


def test_a_result_survives_its_bytes(small):
    again = Result.from_bytes(small.to_bytes())
    assert again == small
    assert again.digest == small.digest
    whole = json.loads(small.to_json())
    assert whole["digest"] == small.digest
    assert whole["intervals"]["random"]["mean"]["count"] == 3
    assert {row["metric"] for row in whole["differences"]} >= {"mean", "p99"}


def test_tables_read_well(small):
    text = str(small.table())
    assert text.splitlines()[0] == "Small"
    assert "95 % intervals over 3 replications" in text
    assert "±" in text
    assert "random - least_latency" in str(small.differences_table())
    html = small._repr_html_()
    assert html.count("<table>") == 2
    assert "<td>random</td>" in html
    assert "one replication" in str(run(STEADY, reps=1).table())


def test_tables_escape_what_they_show():
    table = Table("<b>", ("a", "b"), [("[red]x", "&")], ["<note>"])
    html = table._repr_html_()
    assert "&lt;b&gt;" in html
    assert "&lt;note&gt;" in html
    assert [str(cell) for cell in table.rich().columns[0].cells] == ["[red]x"]


def test_tables_are_turned_where_only_that_fits():
    wide = Table("t", ("strategy", "a" * 30, "b" * 30), [("random", "1", "2")])
    assert wide.width == 8 + 2 + 30 + 2 + 30
    assert wide.fitted(80) is wide
    turned = wide.fitted(60)
    assert turned.headings == ("strategy", "random")
    assert list(turned.rows) == [("a" * 30, "1"), ("b" * 30, "2")]
    assert wide.fitted(20) is wide


def test_pictures_are_drawn(small, swept, tmp_path):
    pictures = [
        small.plot_latency(),
        small.plot_shares("least_latency", 1),
        small.plot_convergence(),
        swept.plot("mean"),
    ]
    for number, picture in enumerate(pictures):
        assert isinstance(picture, Figure)
        picture.savefig(tmp_path / f"{number}.svg")
        assert (tmp_path / f"{number}.svg").stat().st_size > 1000


def test_pictures_of_nothing_are_empty_not_errors(tmp_path):
    late = STEADY.replace("clients[0].start", 1)
    nothing = run(late.replace("timeline", [{"action": "registry_outage", "at": 0}]), reps=2)
    assert nothing.interval("least_latency", "mean") is None
    assert nothing.difference("least_latency", "least_latency", "mean") is None
    assert "-" in str(nothing.table(("mean", "success_ratio")))
    for picture in (nothing.plot_latency(), nothing.plot_shares(), nothing.plot_convergence()):
        picture.savefig(tmp_path / "nothing.svg")


# -- expectations ----------------------------------------------------------------------------


def expecting(**clauses):
    return run(SMALL.replace("expect", clauses), reps=2, source="my file.toml", seed=7)


def test_expectations_that_hold():
    result = expecting(
        success_ratio=0.5,
        p50="1s",
        p90="1s",
        p99="2s",
        p999="5s",
        retries_per_request=3,
        fairness=4,
        views_within_bound=True,
        views_converged_within="60s",
        traffic_off_dead_within="60s",
    )
    judgements = result.judgements()
    assert len(judgements) == 20
    assert result.holds
    assert all(one.holds and not one.replay for one in judgements)


def test_an_expectation_that_fails_has_a_replay_command():
    result = expecting(p50="1us", success_ratio=0.1)
    assert not result.holds
    failing, holding = result.judgements()[1], result.judgements()[0]
    assert holding.clause == "success_ratio"
    assert failing.clause == "p50"
    assert failing.failed == [0, 1]
    assert failing.replay == (
        "trimtab-sim run 'my file.toml' --strategy random --seed 7 --replication 0"
    )
    assert failing.wanted == "<= 0.001 ms"
    assert "fails in 2 of 2" in str(result.judgements_table())
    assert "Expectations" in result._repr_html_()


def test_views_beyond_their_bound_are_named():
    result = expecting(views_within_bound=True)
    runs = result.runs["random"]
    change = runs[1].convergence.changes[0]
    violation = msgspec.convert(
        {
            "client": 1,
            "change": 0,
            "instance": change.instance,
            "kind": change.kind,
            "at": change.at,
            "bound_s": 1.0,
            "took_s": 2.0,
            "text": "client 1 was late",
        },
        ViolationFigures,
    )
    late = msgspec.structs.replace(runs[1].convergence, violations=[violation], violation_count=1)
    runs[1] = msgspec.structs.replace(runs[1], convergence=late)
    judgement = result.judgements()[0]
    assert judgement.failed == [1]
    assert judgement.details == ["client 1 was late"]
    assert judgement.worst == "1 too late"
    assert judgement.replay.endswith("--replication 1")


def test_an_expectation_without_a_measurement_does_not_hold():
    late = SMALL.replace("clients[0].start", 1)
    dead = late.replace("timeline", [{"action": "registry_outage", "at": 0}])
    result = run(dead.replace("expect", {"p99": "1s"}), reps=1)
    judgement = result.judgements()[0]
    assert not judgement.holds
    assert judgement.worst == "nothing to measure"


# -- sweeps ----------------------------------------------------------------------------------


def test_a_sweep_runs_every_point_on_the_same_draws(swept):
    assert swept.settings("service.servers") == [3, 5]
    assert swept.settings("clients[0].count") == [1, 1]
    assert swept.values("random", "mean").shape == (2, 2)
    seeds = [[one.seed for one in result.runs["random"]] for result in swept.results]
    assert seeds[0] == seeds[1]
    direct = run(SMALL, reps=2, overrides={"service.servers": 5, "clients[0].count": 1})
    assert direct.runs == swept.results[1].runs
    assert "--set service.servers=3" in swept.results[0].replay("random", 0)
    assert "Small (service.servers = 3, clients[0].count = 1)" in str(swept.results[0].table())


def test_a_sweep_names_the_best_point(swept):
    text = swept.best("mean")
    assert text.startswith("best mean: ")
    assert "service.servers = " in text
    assert swept.best("success_ratio").startswith("best success: ")
    assert swept.holds
    assert len(swept.table().rows) == 4
    assert "<table>" in swept._repr_html_()
    whole = json.loads(swept.to_json())
    assert len(whole["points"]) == 2
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(swept), type=Sweep).digest == swept.digest


def test_a_sweep_without_values_names_the_missing_figure():
    found = sweep(STEADY, {"service.servers": [1]}, reps=1)
    assert found.best("traffic_off_dead") == "no point has a value of traffic off dead"


def test_a_sweep_over_words_is_drawn_too(tmp_path):
    found = sweep(STEADY, {"clients[0].method": ["GET", "POST"]}, reps=1)
    found.plot().savefig(tmp_path / "words.svg")


@pytest.mark.parametrize(
    ("grid", "message"),
    [({}, "at least one path"), ({"service.servers": []}, "at least one"), ({"a.b": [1]}, "a")],
)
def test_wrong_grids_are_named(grid, message):
    with pytest.raises(ScenarioError, match=message):
        sweep(STEADY, grid)


def test_a_run_that_does_not_add_up_fails_the_experiment(monkeypatch):
    monkeypatch.setattr(
        "trimtab_sim.figures.Checks.complaints", lambda _self: ["two and two are five"]
    )
    with pytest.raises(SimulationError, match="two and two are five"):
        run(STEADY, reps=1)
