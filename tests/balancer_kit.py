"""What the tests of `Balancer` over real servers share: servers to kill, and traffic meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random

from real.server import Server, running

PROGRAM = Path(__file__).parent / "integration" / "balancer_server_program.py"
DEADLINE_S = 20.0
STRATEGY = "round_robin"
"""Sends a share to the dead server all the time, and asks it again as soon as it is back."""
WORKERS = 8
ROUND = 200
"""How many calls a round of traffic has at least."""


class Program(Server):
    """A server of the program `balancer_server_program.py`."""

    name = "balancer server"

    def __init__(self, kind, folder):
        super().__init__(Path(sys.executable), folder)
        self.kind = kind

    def command(self):
        return [self.binary, PROGRAM, self.kind, str(self.port)]

    def is_ready(self):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port)):
            return True
        return False


def on_steady_port(server):
    """Give a server a port that it gets back after its death.

    It lies below those that outgoing connections use: none of these takes it meanwhile, not even
    one that is meant for the dead server and gets the same number at its own end.
    """
    while not server.ports:
        port = Random().randrange(20_000, 32_000)
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            server.ports = [port]
    return server


@contextlib.contextmanager
def three(kind, folder):
    """Start three servers of a kind."""
    with contextlib.ExitStack() as stack:
        servers = [on_steady_port(Program(kind, folder / name)) for name in "abc"]
        yield [stack.enter_context(running(server)) for server in servers]


def registry_of(servers):
    return "static://" + ",".join(f"127.0.0.1:{server.port}" for server in servers)


class Traffic:
    """Calls by several workers at a time, and what came of them.

    Attributes:
        answers: how often each server answered.
        errors: what calls raised.
    """

    def __init__(self):
        self.answers, self.errors = Counter(), []
        self._over = False

    def beside(self, script, main):
        """Run a script while an async function makes calls in another thread.

        The script has the main thread: a server dies with the thread that has started it.
        """
        with ThreadPoolExecutor(1) as executor:
            running = executor.submit(lambda: asyncio.run(main()))
            try:
                script(self)
            finally:
                self._over = True
            running.result(DEADLINE_S)

    async def by_tasks(self, call):
        """Await `call` in several tasks, again and again, until the script has ended."""
        await asyncio.gather(*(self._work(call) for _ in range(WORKERS)))

    def by_threads(self, call, script):
        """Run a script while several threads use `call` again and again."""
        threads = [threading.Thread(target=self._work_sync, args=(call,)) for _ in range(WORKERS)]
        for thread in threads:
            thread.start()
        try:
            script(self)
        finally:
            self._over = True
            for thread in threads:
                thread.join(DEADLINE_S)

    def more(self, count=ROUND):
        """Wait for so many more calls."""
        wanted = self.total + count
        self._until(lambda: self.total >= wanted)

    def until_answer_of(self, server):
        """Wait for one more answer of a server."""
        before = self.answers[str(server.port)]
        self._until(lambda: self.answers[str(server.port)] > before)

    @property
    def total(self):
        return self.answers.total() + len(self.errors)

    def _until(self, condition):
        end = time.monotonic() + DEADLINE_S
        pause = threading.Event()
        while not condition():
            assert time.monotonic() < end, f"{self.answers}, {self.errors[:3]}"
            pause.wait(0.01)

    async def _work(self, call):
        while not self._over:
            try:
                answer = await call()
            except Exception as error:  # noqa: BLE001 - looked at by the test
                self.errors.append(error)
            else:
                self.answers[answer] += 1

    def _work_sync(self, call):
        while not self._over:
            try:
                answer = call()
            except Exception as error:  # noqa: BLE001 - looked at by the test
                self.errors.append(error)
            else:
                self.answers[answer] += 1


def kill_and_revive(servers):
    """Return a script: kill a server in traffic, go on without it, start it again."""

    def script(traffic):
        dead = servers[0]
        for server in servers:
            traffic.until_answer_of(server)
        traffic.more()
        dead.kill()
        try:
            traffic.more()
        finally:
            dead.start()
        traffic.until_answer_of(dead)
        traffic.more()

    return script
