"""A hundred client processes on one registry: how often they ask it, and after a restart of it."""

from __future__ import annotations

import asyncio
import contextlib
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from real.server import die_with_parent

pytestmark = pytest.mark.real
PROGRAM = Path(__file__).parent / "client_fleet_program.py"
WINDOW_S = 0.5
BACKOFF_S = 5.0 / 2
"""The mean wait between two tries while the registry is away: anything up to 5 s."""
ORDERS = {"Name": "orders", "Address": "10.0.0.1", "Port": 80}


class Counter:
    """A door before the registry that notes when each question comes; it runs in a thread.

    Its visitors only read: each question is one small piece.
    """

    def __init__(self, port):
        self._behind = port
        self.asked = []
        # Nobody else holds on to them.
        self._passing = set()
        self._ready, self._loop = threading.Event(), None
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))

    async def _serve(self):
        self._loop, self._over = asyncio.get_running_loop(), asyncio.Event()
        server = await asyncio.start_server(self._pass, "127.0.0.1", 0, backlog=512)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._over.wait()
        server.close()

    async def _pass(self, reader, writer):
        self._passing.add(asyncio.current_task())
        try:
            await self._through(reader, writer)
        except OSError:
            self.asked.append(time.monotonic())
        finally:
            self._passing.discard(asyncio.current_task())
            writer.close()

    async def _through(self, reader, writer):
        behind, question = await asyncio.open_connection("127.0.0.1", self._behind)
        there = asyncio.create_task(copy(reader, question, self.asked))
        back = asyncio.create_task(copy(behind, writer, []))
        try:
            await asyncio.wait([there, back], return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (there, back):
                task.cancel()
            await asyncio.wait([there, back])
            question.close()

    def between(self, start, end):
        """When questions came in a time, from its start; those that nobody could answer too."""
        return [at - start for at in tuple(self.asked) if start <= at < end]

    def __enter__(self):
        self._thread.start()
        self._ready.wait(10)
        return self

    def __exit__(self, *_):
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join()


async def copy(reader, writer, moments):
    """Pass on what comes, and note when."""
    with contextlib.suppress(OSError):
        while piece := await reader.read(65536):
            moments.append(time.monotonic())
            writer.write(piece)
            await writer.drain()


class Clients:
    """The processes."""

    def __init__(self, port, count, mode, poll_s):
        url = f"consul://127.0.0.1:{port}"
        self._process = subprocess.Popen(
            [sys.executable, PROGRAM, url, str(count), mode, str(poll_s)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            preexec_fn=die_with_parent,  # noqa: PLW1509 - sets one flag of the kernel
        )

    def __enter__(self):
        assert self._process.stdout.readline() == "ready\n"
        return self

    def __exit__(self, *_):
        self._process.stdin.close()
        self._process.wait(60)
        self._process.stdout.close()


def most_in_a_window(times):
    """The most that came within half a second, whenever it began."""
    return max((sum(start <= at < start + WINDOW_S for at in times) for start in times), default=0)


@pytest.mark.parametrize(
    ("count", "poll_s", "watched_s", "down_s"),
    [
        pytest.param(10, 0.5, 2.0, 0.5, id="short"),
        pytest.param(100, 5.0, 60.0, 20.0, id="soak", marks=pytest.mark.soak),
    ],
)
def test_polls_are_as_many_as_the_formula_says_and_no_herd(
    own_consul, count, poll_s, watched_s, down_s
):
    agent, pause = own_consul, threading.Event()
    agent.put("/v1/agent/service/register", ORDERS)
    with Counter(agent.port) as door, Clients(door.port, count, "poll", poll_s):
        pause.wait(poll_s)
        start = time.monotonic()
        pause.wait(watched_s)
        calm = door.between(start, time.monotonic())
        agent.kill()
        killed = time.monotonic()
        pause.wait(down_s)
        without = door.between(killed, time.monotonic())
        agent.start()
        agent.put("/v1/agent/service/register", ORDERS)
        back = time.monotonic()
        pause.wait(2 * poll_s)
        after = door.between(back, time.monotonic())
    rate, formula = len(calm) / watched_s, count / poll_s
    fair = formula * WINDOW_S
    print(
        f"\n{count} processes that poll each {poll_s:g} s: {rate:.2f} questions/s; the formula "
        f"says {formula:.2f}; at most {most_in_a_window(calm)} in half a second, {fair:.0f} on "
        f"average\nwhile it is away: {len(without) / down_s:.1f} tries/s\nafter its restart: "
        f"{len(after)} questions in {2 * poll_s:g} s, half of all clients' first after "
        f"{statistics.median(after[:count]):.2f} s, at most {most_in_a_window(after)} in half a "
        "second"
    )
    assert rate == pytest.approx(formula, rel=0.5 if count < 50 else 0.1)
    assert len(after) >= count
    if count >= 50:
        assert most_in_a_window(calm) < 3 * fair
        # They go on as they tried while it was away.
        assert most_in_a_window(after) < 2 * count * WINDOW_S / BACKOFF_S


@pytest.mark.soak
def test_watches_come_back_without_a_herd(own_consul):
    """Pushed: a question that Consul holds for half a minute, and a full read each minute."""
    agent, pause, count = own_consul, threading.Event(), 100
    agent.put("/v1/agent/service/register", ORDERS)
    with Counter(agent.port) as door, Clients(door.port, count, "push", 5.0):
        pause.wait(5.0)
        start = time.monotonic()
        pause.wait(120.0)
        calm = door.between(start, time.monotonic())
        agent.kill()
        pause.wait(20.0)
        agent.start()
        agent.put("/v1/agent/service/register", ORDERS)
        back = time.monotonic()
        pause.wait(10.0)
        after = door.between(back, time.monotonic())
    # Consul adds up to a sixteenth to the half minute.
    least, most = (count * (1 / wait_s + 1 / 60.0) for wait_s in (30.0 * 17 / 16, 30.0))
    rate = len(calm) / 120.0
    print(
        f"\n{count} processes that watch: {rate:.2f} questions/s; the formula says {least:.2f} to "
        f"{most:.2f}\nafter a restart: {len(after)} questions in 10 s, at most "
        f"{most_in_a_window(after)} in half a second"
    )
    assert 0.85 * least <= rate <= 1.15 * most
    # Each asks twice: the first question is answered at once, the second is held.
    assert most_in_a_window(after) < 2 * 2 * count * WINDOW_S / BACKOFF_S
