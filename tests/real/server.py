"""A real server process on loopback: started on free ports, killed, frozen, thawed.

A real server that is not installed skips its tests with "REAL REGISTRY MISSING"; where
CI=true or REQUIRE_REGISTRIES=1 it fails them, so that no run is green for want of servers.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path

import httpx
import pytest

CACHE = Path(
    os.environ.get("REGISTRY_CACHE")
    or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "registries"
)
"""Where scripts/ensure_registries.sh extracts what is not installed."""
_START_S = 60.0
_DYING_WITH_PARENT = ("setpriv", "--pdeathsig", "KILL", "--")
"""A prefix of commands. `preexec_fn` in its place runs Python code in a forked child, which crashes
now and then beside the threads of grpcio."""
_DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG


class Server:
    """A real server process on loopback ports of its own."""

    name = "server"
    how_many_ports = 1

    def __init__(self, binary, folder):
        self.binary, self.folder = binary, folder
        self.ports: list[int] = []
        self.process = None
        self._log = folder / "log"

    @property
    def port(self):
        """The port that it answers HTTP on."""
        return self.ports[0]

    @property
    def http(self):
        """The base of its HTTP URLs."""
        return f"http://127.0.0.1:{self.port}"

    def command(self):
        """The command line."""
        raise NotImplementedError

    def is_ready(self):
        """Whether it answers as it should."""
        raise NotImplementedError

    def start(self):
        """Start it, on the same ports as before; on others if somebody took them meanwhile."""
        self.folder.mkdir(exist_ok=True)
        for _ in range(3):
            self.ports = self.ports or free_ports(self.how_many_ports)
            with self._log.open("ab") as log:
                self.process = subprocess.Popen(
                    [*_DYING_WITH_PARENT, *self.command()],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                )
            wait_until(lambda: self.process.poll() is not None or self._answers(), _START_S)
            if self.process.poll() is None:
                return self
            self.ports = []
        raise RuntimeError(f"{self.name} does not start:\n{self.log_tail()}")

    def kill(self):
        """End it as a crash would."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                self.process.send_signal(signal.SIGCONT)
                self.process.kill()
            self.process.wait(_START_S)

    def freeze(self):
        """Make it hang with its ports open."""
        stop(self.process)

    def thaw(self):
        """Let it go on."""
        self.process.send_signal(signal.SIGCONT)

    def connections(self):
        """How many connections this process has to it."""
        return connections_to(self.port)

    def log_tail(self):
        """The last lines of its log."""
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-30:])

    def _answers(self):
        try:
            return self.is_ready()
        except httpx.TransportError:
            return False


@contextlib.contextmanager
def running(server):
    if not server.binary.exists():
        message = (
            f"REAL REGISTRY MISSING: {server.name}: no {server.binary}; "
            "run scripts/ensure_registries.sh"
        )
        if os.environ.get("CI") == "true" or os.environ.get("REQUIRE_REGISTRIES") == "1":
            pytest.fail(message)
        pytest.skip(message)
    try:
        yield server.start()
    finally:
        server.kill()


def wait_until(condition, deadline_s=60.0):
    until = time.monotonic() + deadline_s
    pause = threading.Event()
    while not (result := condition()):
        assert time.monotonic() < until, f"not within {deadline_s:g} s: {condition}"
        pause.wait(0.02)
    return result


def free_ports(how_many):
    with contextlib.ExitStack() as held:
        ports = []
        while len(ports) < how_many:
            tcp = held.enter_context(socket.socket())
            tcp.bind(("127.0.0.1", 0))
            udp = held.enter_context(socket.socket(type=socket.SOCK_DGRAM))
            with contextlib.suppress(OSError):
                udp.bind(tcp.getsockname())
                ports.append(tcp.getsockname()[1])
        return ports


def stop(process):
    """Halt a process, and wait until each of its threads has halted."""
    process.send_signal(signal.SIGSTOP)
    wait_until(lambda: set(_states(process.pid)) <= {"T", "Z"})


def _states(pid):
    for stat in Path(f"/proc/{pid}/task").glob("*/stat"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            yield stat.read_text().rpartition(")")[2].split()[0]


def connections_to(port):
    mine = set()
    for link in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # The descriptor of this very listing.
            mine.add(str(link.readlink()))
    rows = [row.split() for row in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(
        int(row[2].partition(":")[2], 16) == port and f"socket:[{row[9]}]" in mine for row in rows
    )


def die_with_parent():
    ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL)
