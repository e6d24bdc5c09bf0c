"""The demo, short, on real processes: no call fails, and nothing is left behind."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from trimtab.cli import main
from trimtab.cli.demo.backends import Fleet
from trimtab.errors import TrimtabError

DEMO = (sys.executable, "-m", "trimtab.cli", "demo")
DEADLINE_S = 120  # on a busy machine, its seven processes take most of it to start


def backends_of(parent):
    """List the processes of backends that belong to this demo."""
    found = []
    for folder in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if folder.name.isdigit() and b"demo.backend" in (folder / "cmdline").read_bytes():
                variables = (folder / "environ").read_bytes().split(b"\0")
                if f"TRIMTAB_TEST={parent}".encode() in variables:
                    found.append(int(folder.name))
    return found


@pytest.fixture
def environment(request):
    """An environment that marks the children of this test's demo."""
    return {**os.environ, "TRIMTAB_TEST": request.node.name}


def run_demo(environment, *, longer):
    """Run the demo for so many times 8 s, with about the same number of calls; return its data."""
    pace = ["--duration", str(8 * longer), "--rate", str(240 / longer)]
    done = subprocess.run(
        [*DEMO, *pace, "--json"],
        capture_output=True,
        text=True,
        env=environment,
        timeout=DEADLINE_S,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    data = json.loads(done.stdout)
    assert data["failures"] == 0
    assert data["requests"] > 1000
    assert data["retried"] >= 0
    assert [event["event"] for event in data["events"]] == ["killed", "slowed", "added"]
    assert data["events"][0]["settled_s"] is not None, "the killed one is called no more"
    return data


def test_the_demo_fails_no_call_and_sees_every_event_settle(environment, request):
    longer, last_start = 1, time.monotonic() + DEADLINE_S
    data = run_demo(environment, longer=longer)
    while not all_settled(data) and time.monotonic() < last_start:
        # On a busy machine all instances are slow now and then, and it takes more time to see which
        # one always is.
        longer *= 2
        data = run_demo(environment, longer=longer)
    assert all_settled(data), data["events"]
    killed, slowed, added = data["events"]
    assert killed["instance"] not in data["shares"]["added"]
    assert data["shares"]["slowed"][slowed["instance"]] < slowed["fair_ratio"]
    assert added["instance"] == "orders-7"
    assert not backends_of(request.node.name)


def all_settled(data):
    return all(event["settled_s"] is not None for event in data["events"])


def test_the_demo_in_this_process_prints_lines_and_draws_a_picture(capsys, tmp_path):
    path = tmp_path / "demo.svg"
    assert main(["demo", "--duration", "5", "--rate", "200", "--svg", str(path)]) == 0
    out = capsys.readouterr().out
    assert "Starting a registry and 6 backends" in out
    assert "slowed 20-fold" in out
    assert "0 failed" in out.splitlines()[-1]
    assert path.read_text().startswith("<svg")


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)]
)
def test_a_demo_that_is_stopped_leaves_no_process(number, code, environment, request, wait_until):
    with subprocess.Popen(
        [*DEMO, "--duration", "8"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    ) as process:
        while "calls" not in process.stdout.readline():
            pass
        assert len(backends_of(request.node.name)) == 6
        process.send_signal(number)
        assert process.wait(DEADLINE_S) == code
        assert not process.stderr.read()
    # After SIGKILL, the backends end by themselves when their input ends.
    wait_until(lambda: not backends_of(request.node.name))


def test_a_backend_that_does_not_start_is_an_error_with_its_last_words():
    async def start():
        async with Fleet("consul://127.0.0.1:9", ttl_s=1.0) as fleet:
            await fleet.start("orders-1")

    with pytest.raises(TrimtabError, match=r"backend orders-1 did not start: .*127\.0\.0\.1:9"):
        asyncio.run(start())
