"""One verdict everywhere, what Ctrl-C leaves, and what is told before the work."""

import json
import os
import signal
import subprocess
import sys
from contextlib import contextmanager, suppress
from multiprocessing import active_children

import pytest

from trimtab_sim import executors, experiment
from trimtab_sim.cli import main
from trimtab_sim.executors import Interrupted
from trimtab_sim.processes import process_pool
from trimtab_sim.scenario import Scenario

TEXT = """
[scenario]
name = "Tiny"
duration = 5
[service]
servers = 3
[[clients]]
arrivals = { kind = "poisson", rate = 20 }
[expect]
success_ratio = 0.5
"""


@pytest.fixture
def tiny(tmp_path):
    path = tmp_path / "tiny.toml"
    path.write_text(TEXT, encoding="utf-8")
    return str(path)


def judged(monkeypatch, failing):
    """Make the expectations of these strategies fail, and of no other."""

    def holds(strategy):
        return strategy not in failing

    from trimtab_sim import expectations, result  # noqa: PLC0415

    true = expectations.judge

    def judge(expect, runs, **more):
        found = true(expect, runs, **more)
        if holds(runs[0].strategy):
            return found
        return [_failed(one, more["replay"]) for one in found]

    monkeypatch.setattr(result, "judge", judge)


def _failed(judgement, replay):
    from msgspec.structs import replace  # noqa: PLC0415

    return replace(judgement, failed=[0], replay=replay(0))


@pytest.mark.parametrize(
    ("failing", "code"),
    [((), 0), (("random",), 1), (("round_robin",), 0), (("random", "round_robin"), 1)],
)
@pytest.mark.parametrize(
    "words", [["run"], ["compare"], ["sweep", "--set", "service.servers=2,3"]], ids=lambda x: x[0]
)
def test_the_verdict_is_one(tiny, words, failing, code, monkeypatch, capsys):
    judged(monkeypatch, failing)
    command = [words[0], tiny, *words[1:], "--reps", "1"]
    command += ["--strategy", "random", "--strategy", "round_robin"]
    assert main(command) == code
    output = capsys.readouterr().out
    assert ("verdict: holds" in output) is (code == 0)
    assert ("verdict: fails" in output) is (code == 1)
    starts = [line.partition(":")[0] for line in output.splitlines()]
    assert ("FAILS" in starts) is (code == 1)
    assert ("for comparison, fails" in starts) is ("round_robin" in failing)
    assert main([*command, "--json"]) == code
    assert json.loads(capsys.readouterr().out)["holds"] is (code == 0)


def test_a_wrong_figure_is_told_before_the_work(tiny, monkeypatch, capsys):
    monkeypatch.setattr(experiment, "perform", lambda *_, **__: pytest.fail("it has worked"))
    words = ["--set", "service.servers=2,3", "--metric", "p98"]
    assert main(["sweep", tiny, *words]) == 2
    assert "p98" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--trace", "--report"])
def test_a_place_that_cannot_be_written_is_told_before_the_work(
    tiny, tmp_path, option, monkeypatch, capsys
):
    monkeypatch.setattr(experiment, "perform", lambda *_, **__: pytest.fail("it has worked"))
    assert main(["run", tiny, option, str(tmp_path / "no" / "where")]) == 1
    assert "where" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        ["run", "--reps", "1.5"],
        ["run", "--seed", "1.5"],
        ["run", "--jobs", "0.5"],
        ["run", "--replication", "1.5"],
        ["determinism", "--seed", "2.5"],
    ],
)
def test_a_number_that_is_not_whole_is_refused(tiny, words, capsys):
    assert main([words[0], tiny, *words[1:]]) == 2
    assert words[-1] in capsys.readouterr().err


def interrupted_after(monkeypatch, count):
    """Have Ctrl-C come after so many runs."""
    true, done = executors.work, []

    def work(tasks):
        if len(done) == count:
            raise KeyboardInterrupt
        done.append(tasks)
        return true(tasks)

    monkeypatch.setattr(executors, "work", work)


@pytest.mark.parametrize(("count", "whole"), [(0, 0), (1, 0), (2, 1), (3, 1), (4, 2), (5, 2)])
def test_whole_replications_are_left_by_ctrl_c(tiny, count, whole, monkeypatch, capsys):
    command = ["run", tiny, "--reps", "3", "--strategy", "random", "--strategy", "round_robin"]
    interrupted_after(monkeypatch, count)
    assert main([*command, "--json"]) == 130
    output = capsys.readouterr()
    assert "interrupted" in output.err
    if not whole:
        assert output.out == ""
        return
    left = json.loads(output.out)["result"]
    assert left["replications"] == list(range(whole))
    monkeypatch.undo()
    direct = experiment.run(Scenario.load(tiny), reps=whole, strategies=["random", "round_robin"])
    assert left["runs"] == json.loads(direct.to_json())["result"]["runs"]


def test_the_pilot_is_left_when_its_sequel_is_interrupted(tiny, monkeypatch):
    interrupted_after(monkeypatch, 5)
    with pytest.raises(Interrupted) as stopped:
        experiment.run(Scenario.load(tiny), strategies=["random"], precision=0.001)
    assert stopped.value.done.replications == [0, 1, 2, 3, 4]


def test_finished_points_are_left_by_ctrl_c(tiny, monkeypatch, capsys):
    interrupted_after(monkeypatch, 5)
    words = ["--set", "service.servers=2,3,4", "--reps", "2", "--strategy", "random"]
    assert main(["sweep", tiny, *words, "--json"]) == 130
    points = json.loads(capsys.readouterr().out)["points"]
    assert [point["result"]["overrides"]["service.servers"] for point in points] == [2, 3]


def test_finished_experiments_are_left_by_ctrl_c(monkeypatch, capsys):
    from trimtab_sim import verify  # noqa: PLC0415

    true = verify._judge

    def judge(experiment, *more, **settings):
        if experiment.name == "round-robin":
            raise KeyboardInterrupt
        return true(experiment, *more, **settings)

    monkeypatch.setattr(verify, "_judge", judge)
    assert main(["verify", "--quick", "--only", "mm1-0.5", "--only", "round-robin"]) == 130
    assert "M/M/1" in capsys.readouterr().out


LONG = {
    "run": ["run", "slow_instance", "--reps", "500"],
    "sweep": ["sweep", "slow_instance", "--set", "service.servers=10,11,12", "--reps", "200"],
    "verify": ["verify"],
}


@contextmanager
def at_work(words, wait_until):
    command = [sys.executable, "-m", "trimtab_sim.cli", *words, "--jobs", "2"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        # Itself, the resource tracker and two workers.
        wait_until(lambda: len(members(process.pid)) >= 4)
        try:
            yield process
        finally:
            wait_until(lambda: not members(process.pid))


@pytest.mark.parametrize("words", LONG.values(), ids=LONG)
def test_ctrl_c_ends_all_processes_at_once(words, wait_until):
    with at_work(words, wait_until) as process:
        os.killpg(process.pid, signal.SIGINT)
        _, errors = process.communicate(timeout=10)
    assert process.returncode == 130
    assert "Traceback" not in errors


def test_an_interrupt_of_the_command_alone_ends_its_workers(wait_until):
    """What a notebook's stop button does."""
    with at_work(LONG["run"], wait_until) as process:
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=10)
    assert process.returncode == 130
    assert "Traceback" not in errors


def test_workers_end_with_their_owner(wait_until):
    with at_work(LONG["run"], wait_until) as process:
        process.kill()


def test_a_worker_that_is_killed_is_told_in_a_line(wait_until):
    with at_work(LONG["sweep"], wait_until) as process:
        os.kill(max(int(line.split()[0]) for line in members(process.pid)), signal.SIGKILL)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "a worker process was killed" in errors
    assert "Traceback" not in errors


def test_an_error_ends_what_the_others_do(wait_until):
    before = len(active_children())
    with suppress(ZeroDivisionError), process_pool(2) as (pool, workers):
        assert workers == 2
        long = pool.submit(signal.pause)
        wait_until(long.running)
        pool.submit(divmod, 1, 0).result()
    assert isinstance(long.exception(), KeyboardInterrupt)
    assert len(active_children()) == before


def members(session):
    """List the processes of a session that are alive."""
    done = subprocess.run(
        ["ps", "-s", str(session), "-o", "pid=,stat="], capture_output=True, text=True, check=False
    )
    return [line for line in done.stdout.splitlines() if "Z" not in line]


def test_the_best_point_tells_where_it_succeeds_less(monkeypatch):
    swept = experiment.sweep(
        Scenario.from_toml(TEXT), {"service.servers": [2, 3]}, reps=1, strategies=["random"]
    )
    assert "but there" not in swept.best("mean")
    figures = {"mean": {2: 0.1, 3: 0.2}, "success_ratio": {2: 0.9, 3: 0.99}}

    def values(result, _, name):
        import numpy as np  # noqa: PLC0415

        return np.array([figures[name][result.overrides["service.servers"]]])

    monkeypatch.setattr("trimtab_sim.result.Result.values", values)
    text = swept.best("mean")
    assert text.startswith("best mean: 100 ms with random at service.servers = 2")
    assert "success is 90 %" in text
    assert "99 %" in text
    assert "service.servers = 3" in text
    assert swept.best("success_ratio") == "best success: 99 % with random at service.servers = 3"
