import json
import re
import shlex
import subprocess
import sys
from unittest.mock import MagicMock

import pytest

from trimtab_sim import fuzz as fuzzing
from trimtab_sim import ready
from trimtab_sim.cli import main
from trimtab_sim.cli.options import settings, several
from trimtab_sim.scenario import Scenario

TEXT = """
[scenario]
name = "Tiny"
duration = 10
[service]
servers = 3
[[clients]]
arrivals = { kind = "poisson", rate = 20 }
[[timeline]]
at = 3
action = "crash"
duration = 2
[expect]
success_ratio = 0.5
"""


@pytest.fixture
def tiny(tmp_path):
    path = tmp_path / "tiny.toml"
    path.write_text(TEXT, encoding="utf-8")
    return str(path)


def failing(tmp_path):
    path = tmp_path / "failing.toml"
    path.write_text(TEXT + 'p50 = "1us"\n', encoding="utf-8")
    return str(path)


def test_run_prints_tables_and_ends_well(tiny, capsys):
    assert main(["run", tiny, "--reps", "2"]) == 0
    output = capsys.readouterr()
    assert "Tiny" in output.out
    assert "least_latency" in output.out
    assert re.search(r"success_ratio\s+>= 50 %\s+\S+ %\s+holds", output.out)
    assert output.err == ""


def test_run_ends_with_1_and_the_line_that_replays(tmp_path, capsys):
    assert main(["run", failing(tmp_path), "--reps", "2", "--strategy", "random"]) == 1
    replay = re.search(r"replay: trimtab-sim (.*)", capsys.readouterr().out)[1]
    assert replay.endswith("--strategy random --seed 1 --replication 0")
    assert main(shlex.split(replay)) == 1


def test_run_gives_json(tiny, capsys):
    assert main(["run", tiny, "--reps", "2", "--json", "--set", "service.servers=4"]) == 0
    whole = json.loads(capsys.readouterr().out)
    assert whole["holds"] is True
    assert whole["result"]["overrides"] == {"service.servers": 4}
    assert len(whole["result"]["runs"]["least_latency"]) == 2


def test_run_writes_a_trace_of_its_first_run(tiny, tmp_path, capsys):
    trace = tmp_path / "trace.jsonl"
    assert main(["run", tiny, "--reps", "1", "--json", "--trace", str(trace)]) == 0
    begun = json.loads(capsys.readouterr().out)["result"]["runs"]["least_latency"][0]["checks"]
    rows = [json.loads(line) for line in trace.read_text(encoding="utf-8").splitlines()]
    assert len(rows) == begun["ended"]
    assert rows[0].keys() == {"request", "started", "ended", "outcome", "server"}


def test_run_writes_a_report(tiny, tmp_path, capsys):
    assert main(["run", tiny, "--reps", "2", "--report", str(tmp_path / "report")]) == 0
    page = tmp_path / "report" / "index.html"
    assert "Tiny" in page.read_text(encoding="utf-8")
    assert str(page) in capsys.readouterr().err


def test_run_takes_ready_scenarios_precision_and_replications(tiny, capsys):
    assert main(["run", tiny, "--precision", "0.5", "--replication", "3"]) == 0
    assert "one replication" in capsys.readouterr().out


def test_compare_shows_differences(tiny, capsys):
    assert main(["compare", tiny, "--reps", "2"]) == 0
    output = capsys.readouterr().out
    assert "least_latency - least_request" in output
    assert "round_robin - weighted_random" in output
    two = ["compare", tiny, "--reps", "2", "--strategy", "random", "--strategy", "round_robin"]
    assert main(two) == 0
    assert "random - round_robin" in capsys.readouterr().out


def test_sweep_goes_over_a_grid(tiny, tmp_path, capsys):
    words = ["--reps", "1", "--set", "service.servers=2,3", "--metric", "mean"]
    assert main(["sweep", tiny, *words]) == 0
    output = capsys.readouterr().out
    assert "service.servers" in output
    assert "best mean: " in output
    assert main(["sweep", failing(tmp_path), *words]) == 1
    assert "--set service.servers=2" in capsys.readouterr().out
    assert main(["sweep", tiny, *words, "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["points"]) == 2


def test_settings_are_toml_or_texts():
    assert settings(["a.b=3", "c=2s", "d={ law = 'constant', mean = 1 }", "e=x=y"]) == {
        "a.b": 3,
        "c": "2s",
        "d": {"law": "constant", "mean": 1},
        "e": "x=y",
    }
    assert several(["a=1,2.5", "b=1s,2s", 'c="x,y","z"', "d=poll"]) == {
        "a": [1, 2.5],
        "b": ["1s", "2s"],
        "c": ["x,y", "z"],
        "d": ["poll"],
    }


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["run"], "scenario"),
        (["run", "nope"], "neither a file nor a ready scenario; ready are"),
        (["run", "nope.toml"], "no such file; `trimtab-sim new nope.toml` writes one"),
        (["run", "TINY", "--reps", "0"], "--reps"),
        (["run", "TINY", "--reps", "many"], "--reps"),
        (["run", "TINY", "--jobs", "-1"], "--jobs"),
        (["run", "TINY", "--depth", "deep"], "--depth"),
        (["run", "TINY", "--precision", "nan"], "--precision"),
        (["run", "TINY", "--set", "service.servers"], "write a path, = and a value"),
        (["run", "TINY", "--set", "service.servrs=3"], "servrs"),
        (["run", "TINY", "--strategy", "worst"], "no strategy is called 'worst'"),
        (["run", "TINY", "--dask", "nonsense://x"], "no Dask scheduler"),
        (["compare", "TINY", "--strategy", "random"], "twice or more"),
        (["sweep", "TINY"], "a sweep needs --set"),
        (["sweep", "TINY", "--set", "service.servers=2", "--metric", "speed"], "'speed'"),
        (["fuzz", "--time", "0"], "--time"),
        (["fuzz", "--time", "0s"], "It must be above 0"),
        (["fuzz", "--time", "nan"], "must be finite"),
        (
            ["fuzz", "--time", "soon"],
            "'soon' is not a duration; write seconds (1.5) or a text like",
        ),
        (["fuzz", "--strategy", "worst"], "no strategy is called 'worst'"),
        (["verify", "--only", "nonsense"], "nonsense"),
        (["determinism", "nope"], "nope"),
        (["determinism", "TINY", "--strategy", "worst"], "'worst'"),
        (["new", "--from", "nonsense"], "unknown ready scenario 'nonsense'"),
        (["nonsense"], "nonsense"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(words, message, tiny, capsys):
    assert main([tiny if word == "TINY" else word for word in words]) == 2
    output = capsys.readouterr()
    assert output.out == ""
    lines = output.err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("trimtab-sim: ")
    assert message in lines[0]


def test_a_wrong_file_has_a_line_per_mistake(tmp_path, capsys):
    path = tmp_path / "wrong.toml"
    path.write_text(TEXT.replace("servers = 3", "servers = 0"), encoding="utf-8")
    assert main(["run", str(path)]) == 2
    assert f"{path}:6: service.servers" in capsys.readouterr().err


def test_an_unwritable_file_ends_with_1(tiny, tmp_path, capsys):
    assert main(["run", tiny, "--reps", "1", "--trace", str(tmp_path / "no" / "trace")]) == 1
    assert "trace" in capsys.readouterr().err


def test_new_writes_a_scenario_that_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["new", "mine"]) == 0
    assert "wrote mine.toml" in capsys.readouterr().out
    assert Scenario.load("mine.toml").about.name == "My service"
    assert main(["new", "mine.toml"]) == 2
    assert "already exists" in capsys.readouterr().err
    assert main(["new", "no/where"]) == 2
    assert main(["new", "--from", "black_hole"]) == 0
    assert capsys.readouterr().out == ready.text("black_hole")
    short = ["--set", "scenario.duration=130s", "--set", "clients[0].count=1", "--reps", "1"]
    assert main(["run", "mine.toml", *short, "--strategy", "least_latency"]) == 0


def test_schema_and_list(capsys):
    assert main(["schema"]) == 0
    assert "$defs" in json.loads(capsys.readouterr().out)
    assert main(["list"]) == 0
    output = capsys.readouterr().out
    assert all(name in output for name in ready.names())


def test_help_names_all_commands(capsys):
    assert main(["--help"]) in {0, None}
    output = capsys.readouterr().out
    for name in ("run", "compare", "sweep", "fuzz", "verify", "determinism", "new", "schema"):
        assert name in output
    assert main(["run", "--help"]) in {0, None}
    assert "--precision" in capsys.readouterr().out


def test_determinism_compares_two_processes(tiny, capsys):
    assert main(["determinism", tiny, "--set", "scenario.duration=5"]) == 0
    output = capsys.readouterr().out
    assert output.count("same") >= 3
    assert "core and client give the same requests" in output


def test_determinism_finds_a_difference(tiny, capsys, monkeypatch):
    answers = iter([{"core": "aa", "client": "aa"}, {"core": "bb", "client": "aa"}])
    monkeypatch.setattr("trimtab_sim.cli.checking._child", lambda *_words: MagicMock())
    monkeypatch.setattr("trimtab_sim.cli.checking._answers", lambda _child: next(answers))
    assert main(["determinism", tiny, "--depth", "core", "--depth", "client"]) == 1
    assert "DIFFERENT" in capsys.readouterr().out


def test_determinism_reports_the_error_of_a_child(tiny, capsys, monkeypatch):
    monkeypatch.setattr(
        "trimtab_sim.cli.checking._child",
        lambda *_words: subprocess.Popen(
            [sys.executable, "-c", "raise SystemExit('it went wrong')"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ),
    )
    assert main(["determinism", tiny, "--depth", "core"]) == 1
    assert capsys.readouterr().err == "trimtab-sim: it went wrong\n"


def test_determinism_does_not_wait_for_ever(tiny, capsys, monkeypatch):
    monkeypatch.setattr("trimtab_sim.cli.checking._CHILD_S", 0.01)
    assert main(["determinism", tiny, "--depth", "core"]) == 1
    assert "took more than 0.01 s" in capsys.readouterr().err


def test_verify_prints_the_table(capsys, monkeypatch):
    assert main(["verify", "--quick", "--only", "weights"]) == 0
    output = capsys.readouterr().out
    assert "equivalent" in output
    assert "1 of 1 hold" in output


def test_verify_ends_with_1_when_theory_does_not_come_out(capsys, monkeypatch):
    from trimtab_sim import oracle_runs  # noqa: PLC0415 - patched here alone

    monkeypatch.setattr(oracle_runs.Trial, "run", _with_the_wrong_strategy(oracle_runs.Trial.run))
    assert main(["verify", "--quick", "--only", "weights"]) == 1
    assert "FAILS" in capsys.readouterr().out


def _with_the_wrong_strategy(run):
    return lambda trial, text, _strategy: run(trial, text, "round_robin")


def test_fuzz_searches_and_replays(tiny, tmp_path, capsys, monkeypatch):
    words = ["fuzz", "--examples", "1", "--out", str(tmp_path)]
    for time in ("30", "0.5m", "1m30s"):
        assert main([*words, "--time", time]) == 0
    assert "every invariant held" in capsys.readouterr().out
    assert main(["fuzz", "--replay", tiny]) == 0
    assert "every invariant holds" in capsys.readouterr().out
    monkeypatch.setattr(fuzzing, "replay", lambda *_args, **_kwargs: ["it broke"])
    assert main(["fuzz", "--replay", tiny]) == 1
    assert "it broke" in capsys.readouterr().out


def test_a_pipe_that_closes_is_no_error(tiny):
    done = subprocess.run(
        f"{shlex.quote(sys.executable)} -m trimtab_sim.cli schema | head -1; "
        "echo ${PIPESTATUS[0]}",
        shell=True,
        executable="/bin/bash",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stderr == ""
    assert done.stdout.splitlines()[-1] in {"0", "141"}


def test_progress_is_for_terminals(monkeypatch, capsys):
    from rich.console import Console  # noqa: PLC0415

    from trimtab_sim.cli import terminal  # noqa: PLC0415

    with terminal.progress("runs") as reported:
        assert reported is None
    console = Console(force_terminal=True, width=80)
    monkeypatch.setattr(terminal, "for_errors", lambda: console)
    monkeypatch.setattr(terminal, "is_live", lambda _console: True)
    with terminal.progress("runs") as reported:
        reported(1, 2)
    assert "runs" in capsys.readouterr().out


@pytest.mark.parametrize("width", [20, 90, 300])
def test_no_column_is_lost_on_a_narrow_terminal(tiny, width, monkeypatch, capsys):
    from rich.console import Console  # noqa: PLC0415

    monkeypatch.setattr(
        "trimtab_sim.cli.running.for_output", lambda: Console(width=width, color_system=None)
    )
    words = ["--strategy", "random", "--strategy", "round_robin"]
    assert main(["compare", tiny, "--reps", "2", *words]) == 0
    output = capsys.readouterr().out
    assert "busiest/fair" in output
    assert "last view right" in output
    assert "random - round_robin" in output
