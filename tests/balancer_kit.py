"""What the tests of `Balancer` over real servers share: servers to kill, and traffic meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
import threading
import time
from collections import Counter
from pathlib import Path

from real.server import Server, running

PROGRAM = Path(__file__).parent / "integration" / "balancer_server_program.py"
DEADLINE_S = 20.0
WORKERS = 8
ROUND = 400
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


@contextlib.contextmanager
def three(kind, folder):
    """Start three servers of a kind."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(running(Program(kind, folder / name))) for name in "abc"]


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

    async def by_tasks(self, call, script):
        """Await `call` again and again in tasks, while a blocking script runs in a thread."""
        async with asyncio.TaskGroup() as group:
            for _ in range(WORKERS):
                group.create_task(self._work(call))
            try:
                await asyncio.to_thread(script, self)
            finally:
                self._over = True

    def by_threads(self, call, script):
        """Do the same in threads."""
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
        traffic.more()
        dead.start()
        traffic.until_answer_of(dead)
        traffic.more()

    return script
