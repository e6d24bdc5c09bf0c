"""Processes for the end-to-end tests: a registry and backends, as users run them."""

from __future__ import annotations

import contextlib
import ctypes
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from real.server import stop

_HERE = Path(__file__).parent
_DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG


@pytest.fixture
def fleet():
    """A registry process and as many backend processes as the test starts."""
    with Fleet() as fleet:
        yield fleet


class Fleet:
    """A registry and backends, each a process; all are killed at the end."""

    service = "orders"

    def __init__(self):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]
        self.url = f"consul://127.0.0.1:{self._port}"
        self.registry = None
        self.backends = {}
        self._stack = contextlib.ExitStack()

    def start_registry(self):
        """Start it, at the same address as before and with nothing in it."""
        self.registry = self._start("registry_program.py", self._port)
        self.registry.wait_ready()

    def start_backends(self, *names, ttl_s=3.0):
        """Start these, and return once all are registered."""
        for name in names:
            self.backends[name] = self._start(
                "backend_program.py", self.url, self.service, name, ttl_s
            )
        for name in names:
            self.backends[name].wait_ready()

    def run_client(self, *arguments):
        """Run the client program to its end."""
        command = [sys.executable, _HERE / "client_program.py", self.url, self.service, *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)

    def _start(self, program, *arguments):
        return self._stack.enter_context(Program(program, *arguments))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._stack.close()


class Program:
    """One of the programs of this folder, running."""

    def __init__(self, program, *arguments):
        self.line = ""
        self.process = subprocess.Popen(
            [sys.executable, _HERE / program, *map(str, arguments)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
            preexec_fn=_die_with_parent,  # noqa: PLW1509 - sets one flag of the kernel
        )

    @property
    def port(self):
        return int(self.line.split()[-1])

    def wait_ready(self):
        """Wait for its first line; the end of its output would be the end of it."""
        self.line = self.process.stdout.readline()
        assert self.line, f"{self.process.args} ended with {self.process.wait()}"

    def kill(self):
        """End it as a crash would."""
        self.process.kill()
        self.process.wait()

    def freeze(self):
        """Make it a black hole: its ports stay open, and nothing is answered."""
        stop(self.process)

    def thaw(self):
        """Have it go on after `freeze`."""
        self.process.send_signal(signal.SIGCONT)

    def behave(self, **ways):
        """Make it fail or stall; see the program."""
        url = f"http://127.0.0.1:{self.port}/behave"
        httpx.post(url, params=ways, trust_env=False).raise_for_status()

    def slow_down(self):
        """Make its work take 20 times as long."""
        self.process.send_signal(signal.SIGUSR1)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.kill()
        self.process.stdout.close()


def _die_with_parent():
    ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL)
