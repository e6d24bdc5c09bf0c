"""Twenty real backends under load, each restarted in its turn: no call fails, POST included."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
from pathlib import Path

import httpx
import httpx2
import pytest
from e2e_load import Load, failures

from real.server import die_with_parent
from trimtab import BalancedTransport
from trimtab.server import EmbeddedRegistry

NAMES = [f"b{number}" for number in range(20)]
PROGRAM = Path(__file__).parent / "rolling_program.py"
QUIET_S = 0.5


class Fleet:
    """Backends by name, each at one port for all of its lives."""

    def __init__(self, program):
        self._program = program
        self._ports = {}

    def start(self, *names):
        """Start these, and return once all are registered; give their process ids."""
        for name in names:
            self._tell("start", name, self._ports.get(name, 0))
        pids = {}
        for _ in names:
            name, pid, port = self._hear("ready")
            pids[name], self._ports[name] = int(pid), int(port)
        return pids

    def stop(self, name):
        """Ask one to end, and wait until it has."""
        self._tell("stop", name)
        assert self._hear("ended") == [name, "0"]

    def _tell(self, *words):
        print(*words, file=self._program.stdin, flush=True)

    def _hear(self, what):
        first, *words = self._program.stdout.readline().split()
        assert first == what
        return words


@contextlib.contextmanager
def running_fleet(*arguments):
    with subprocess.Popen(
        [sys.executable, PROGRAM, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=die_with_parent,  # noqa: PLW1509 - sets one flag of the kernel
    ) as program:
        try:
            yield Fleet(program)
        finally:
            program.kill()


def restarted_under_load(family, *, rate_per_s, names, drain_s, how=()):
    """Restart these, one after another, while calls go on; give the calls and what is left."""
    ended, processes = [], set()

    def restart_all(fleet, load):
        for name in names:
            fleet.stop(name)
            processes.update(fleet.start(name).values())
        ended.append(load.now_s)

    async def run(url, fleet):
        transport = BalancedTransport(url, trust_env=False)
        async with family.AsyncClient(transport=transport, trust_env=False) as client:
            methods = ("GET", "POST")
            load = Load(client, "http://orders/work", rate_per_s=rate_per_s, methods=methods)
            load.at(QUIET_S, lambda: restart_all(fleet, load))
            done = await load.run(lambda: ended[0] + QUIET_S if ended else float("inf"))
            return done, transport.statistics()["orders"]

    with (
        EmbeddedRegistry() as registry,
        running_fleet(registry.url, "orders", drain_s, *how) as fleet,
    ):
        processes.update(fleet.start(*NAMES).values())
        done, figures = asyncio.run(run(registry.url, fleet))
    assert len(processes) == len(NAMES) + len(names)
    posts = [call for call in done if call.method == "POST"]
    retried = [call for call in done if call.attempts > 1]
    print(
        f"\n{len(names)} restarts in {ended[0] - QUIET_S:.1f} s under {len(done)} calls "
        f"({len(posts)} POST): {len(failures(done))} failed, {len(retried)} retried"
    )
    assert len(posts) >= len(done) // 2 > len(names)
    assert figures.in_flight == 0
    return done, retried


@pytest.mark.parametrize(
    ("family", "rate_per_s", "names", "drain_s"),
    [
        # Beside other tests a client may hear of a withdrawal late.
        pytest.param(httpx, 100, NAMES[:10], 1.0, id="short"),
        pytest.param(httpx, 300, NAMES * 5, 0.5, id="soak", marks=pytest.mark.soak),
        pytest.param(httpx2, 300, NAMES * 5, 0.5, id="soak-httpx2", marks=pytest.mark.soak),
    ],
)
def test_no_call_fails_while_backends_are_restarted(family, rate_per_s, names, drain_s):
    done, _ = restarted_under_load(family, rate_per_s=rate_per_s, names=names, drain_s=drain_s)
    assert failures(done) == []
    assert {call.instance for call in done} == set(NAMES)


@pytest.mark.soak
@pytest.mark.parametrize("how", [("last",), ()], ids=["last", "at-once"])
def test_who_does_not_wait_for_the_clients_is_called_after_its_end(how):
    done, retried = restarted_under_load(httpx, rate_per_s=300, names=NAMES * 5, drain_s=0, how=how)
    print({call.failure.split(":")[0] for call in done if call.failure})
    assert retried, "or the delay would be of no use"
    assert [call for call in done if call.failure and call.method == "GET"] == []
