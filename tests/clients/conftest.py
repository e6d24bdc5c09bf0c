"""Three instances of the service for each case, one of which dies, and what must not leak."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import itertools
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from trimtab import BalancedTransport

BACKEND = Path(__file__).with_name("backend_program.py")
NAMES = ("a", "b", "c")
DYING = "b"
DEADLINE_S = 20.0
CALLS, AT_ONCE = 240, 8


@pytest.fixture
def fleet():
    with Fleet() as fleet:
        yield fleet


@pytest.fixture
def anyio_backend():
    return "asyncio"


class Fleet:
    """Three processes, of which a case kills one.

    Attributes:
        url: a registry that lists them.
    """

    def __init__(self):
        command = ["setpriv", "--pdeathsig", "KILL", "--", sys.executable, BACKEND]
        self._processes = {
            name: subprocess.Popen([*command, name], stdout=subprocess.PIPE, text=True)
            for name in NAMES
        }
        ports = [process.stdout.readline().strip() for process in self._processes.values()]
        self.url = "static://" + ",".join(f"127.0.0.1:{port}" for port in ports)

    def kill(self):
        """End one as a crash would."""
        self._processes[DYING].kill()
        self._processes[DYING].wait()

    @contextlib.contextmanager
    def balanced(self, **options):
        """Make a transport. Its client must leave nothing in flight, and no socket open."""
        before = sockets()
        transport = Watched(self.url, trust_env=False, **options)
        yield transport
        assert transport.left, "a case closes its client"
        assert set(transport.left.values()) == {0}, "in flight at the end"
        gc.collect()
        wait_until(lambda: sockets() <= before)

    def calls(self, call):
        """Call `call(number)` in threads, and kill an instance meanwhile; return the results."""
        begun, lock = itertools.count(), threading.Lock()

        def work(number):
            with lock:
                if next(begun) == CALLS // 3:
                    self.kill()
            return call(number)

        with ThreadPoolExecutor(AT_ONCE) as pool:
            return list(pool.map(work, range(CALLS)))

    async def async_calls(self, call):
        """Do the same with a coroutine function in tasks."""
        numbers = iter(range(CALLS))
        results = []

        async def work():
            for number in numbers:
                if number == CALLS // 3:
                    await asyncio.to_thread(self.kill)
                results.append(await call(number))

        async with asyncio.TaskGroup() as group:
            for _ in range(AT_ONCE):
                group.create_task(work())
        return results

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in self._processes.values():
            process.kill()
            process.wait()
            process.stdout.close()


class Watched(BalancedTransport):
    """Notes what is in flight when its client closes it.

    Attributes:
        left: requests in flight then, by service.
    """

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.left = {}

    def _note(self):
        self.left |= {name: each.in_flight for name, each in self.statistics().items()}

    def close(self):
        self._note()
        super().close()

    async def aclose(self):
        self._note()
        await super().aclose()

    def __exit__(self, *error):
        self._note()
        super().__exit__(*error)

    async def __aexit__(self, *error):
        self._note()
        await super().__aexit__(*error)


def sockets():
    """How many TCP sockets this process has open."""
    links = set()
    for link in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            links.add(str(link.readlink()))
    rows = [row.split() for row in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(f"socket:[{row[9]}]" in links for row in rows)


def wait_until(condition):
    until = time.monotonic() + DEADLINE_S
    pause = threading.Event()
    while not condition():
        assert time.monotonic() < until, condition
        pause.wait(0.02)
