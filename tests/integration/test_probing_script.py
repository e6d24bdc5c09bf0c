"""Probes by real commands: exit codes, bounds on time and output, and nothing left behind."""

import asyncio
import os
from pathlib import Path

import pytest

from trimtab import Instance, Status
from trimtab.check import Check
from trimtab.probing import NetworkCarrier, probe, probe_script

ME = Instance(id="orders-7", host="::1", port=8080)


def probed(*command, timeout_s=20.0):
    check = Check(kind="script", command=command, timeout_s=timeout_s)
    return asyncio.run(probe(check, ME, NetworkCarrier()))


def is_running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize(
    ("code", "status"),
    [(0, Status.PASSING), (1, Status.WARNING), (2, Status.CRITICAL), (255, Status.CRITICAL)],
)
def test_the_exit_code_decides(code, status):
    result = probed("sh", "-c", f"echo out; echo err >&2; exit {code}")
    assert result == (status, "out\nerr\n")
    assert result.ok is (code < 2)


def test_a_signal_is_critical():
    assert probed("sh", "-c", "kill -9 $$").status is Status.CRITICAL


def test_the_command_knows_the_instance_and_no_shell_reads_its_arguments():
    names = "$TRIMTAB_INSTANCE_ID $TRIMTAB_HOST $TRIMTAB_PORT"
    assert probed("sh", "-c", f"echo {names}").output == "orders-7 ::1 8080\n"
    assert probed("echo", "$HOME; `id`", "*").output == "$HOME; `id` *\n"


def test_it_reads_nothing_from_us():
    assert probed("cat").status is Status.PASSING


@pytest.mark.parametrize("command", ["/no/such/command", "/etc/passwd", "/"])
def test_what_cannot_run_is_critical(command):
    result = probed(command)
    assert result.status is Status.CRITICAL
    assert "Error" in result.output


def test_output_is_read_to_its_end_and_kept_in_part():
    result = probed("sh", "-c", "head -c 3000000 /dev/zero | tr '\\0' x; echo done >&2")
    assert result == (Status.PASSING, "x" * 4096)


def test_a_script_that_does_not_end_ends_with_its_children(tmp_path, wait_until):
    pid = tmp_path / "pid"
    result = probed("sh", "-c", f"sleep 60 & echo $! > {pid}; wait", timeout_s=0.5)
    assert result == (Status.CRITICAL, "script check timed out after 0.5 s")
    wait_until(lambda: not is_running(int(pid.read_text())))


def test_a_child_left_behind_does_not_hold_the_probe_up_and_ends(tmp_path, wait_until):
    pid = tmp_path / "pid"
    result = probed("sh", "-c", f"sleep 60 & echo $! > {pid}; echo well")
    assert result == (Status.PASSING, "well\n")
    wait_until(lambda: not is_running(int(pid.read_text())))


@pytest.mark.parametrize("ends", ["exit 0", "wait; sleep 60"])
def test_not_even_one_that_left_the_group_holds_the_probe_up(ends, tmp_path, wait_until):
    pid = tmp_path / "pid"
    result = probed("sh", "-c", f"setsid sleep 60 & echo $! > {pid}; {ends}", timeout_s=0.5)
    assert result.ok is (ends == "exit 0")
    os.kill(int(pid.read_text()), 9)
    wait_until(lambda: not is_running(int(pid.read_text())))


def test_cancelling_ends_the_command(tmp_path, wait_until):
    pid = tmp_path / "pid"

    async def main():
        command = ("sh", "-c", f"echo $$ > {pid}.new; mv {pid}.new {pid}; sleep 60")
        task = asyncio.create_task(probe_script(command))
        await asyncio.to_thread(wait_until, pid.exists)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert not is_running(int(pid.read_text()))


def test_no_descriptor_is_left_behind():
    def descriptors():
        return len(list(Path("/proc/self/fd").iterdir()))

    async def main():
        before = descriptors()
        for _ in range(5):
            await probe_script(["true"])
        assert descriptors() == before

    asyncio.run(main())
