"""Fixtures for all tests: real servers on loopback, and waiting for conditions.

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

# Before anything imports the suites: their assertions explain themselves like those of tests.
pytest.register_assert_rewrite("trimtab.testing")

_CACHE = Path(
    os.environ.get("REGISTRY_CACHE")
    or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "registries"
)
_CONSUL = _CACHE / "bullseye/root/usr/bin/consul"
_NGINX = Path("/usr/sbin/nginx")
_START_S = 20.0
_DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG


@pytest.fixture(scope="session")
def anyio_backend():
    return "asyncio"


@pytest.fixture(scope="session")
def wait_until():
    """A function that waits until `condition()` is true, and fails after `deadline_s`."""
    return _wait_until


@pytest.fixture(scope="session")
def consul(tmp_path_factory):
    """One Consul dev agent for the whole run; tests use service names of their own."""
    with _running(ConsulAgent(_CONSUL, tmp_path_factory.mktemp("consul"))) as agent:
        yield agent


@pytest.fixture
def own_consul(tmp_path):
    """A Consul dev agent for one test, which may kill, freeze and restart it."""
    with _running(ConsulAgent(_CONSUL, tmp_path / "consul")) as agent:
        yield agent


@pytest.fixture(scope="session")
def nginx(tmp_path_factory):
    """One nginx for the whole run that serves the files of its `root`."""
    with _running(Nginx(_NGINX, tmp_path_factory.mktemp("nginx"))) as server:
        yield server


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
            self.ports = self.ports or _free_ports(self.how_many_ports)
            with self._log.open("ab") as log:
                self.process = subprocess.Popen(
                    self.command(),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    preexec_fn=_die_with_parent,  # noqa: PLW1509 - sets one flag of the kernel
                )
            _wait_until(lambda: self.process.poll() is not None or self._answers(), _START_S)
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
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self):
        """Let it go on."""
        self.process.send_signal(signal.SIGCONT)

    def connections(self):
        """How many connections this process has to it."""
        return _connections_to(self.port)

    def log_tail(self):
        """The last lines of its log."""
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-30:])

    def _answers(self):
        try:
            return self.is_ready()
        except httpx.TransportError:
            return False


class ConsulAgent(Server):
    """A Consul agent in development mode: without a disk, so that a restart forgets all."""

    name = "Consul"
    how_many_ports = 3

    def __init__(self, binary, folder):
        super().__init__(binary, folder)
        self.settings = "performance { raft_multiplier = 1 }"
        self._headers = {}

    @property
    def url(self):
        return f"consul://127.0.0.1:{self.port}"

    def command(self):
        http, server, serf = self.ports
        ports = (
            f"http = {http} dns = -1 server = {server} serf_lan = {serf} serf_wan = -1 grpc = -1"
        )
        return [
            *(self.binary, "agent", "-dev", "-node", "n1", "-bind", "127.0.0.1"),
            *("-client", "127.0.0.1", "-hcl", "ports { " + ports + " }"),
            *("-hcl", "disable_update_check = true", "-hcl", self.settings),
        ]

    def is_ready(self):
        # A leader alone is too early: the catalog is still empty then.
        url = f"{self.http}/v1/health/node/n1"
        return "serfHealth" in httpx.get(url, headers=self._headers, trust_env=False).text

    def require_token(self, token):
        """Start again with access control: this token may do all, and nobody else anything."""
        self.kill()
        self.settings = (
            'acl { enabled = true default_policy = "deny" '
            f'tokens {{ master = "{token}" agent = "{token}" }} }}'
        )
        self._headers = {"X-Consul-Token": token}
        self.start()

    def put(self, path, body=None):
        """Tell it something, as any other client would."""
        answer = httpx.put(f"{self.http}{path}", json=body, headers=self._headers, trust_env=False)
        assert answer.status_code == httpx.codes.OK, answer.text
        return answer


class Nginx(Server):
    """An nginx that serves the files in `root`, with ETag and Last-Modified."""

    name = "nginx"

    @property
    def root(self):
        return self.folder / "www"

    def command(self):
        self.root.mkdir(exist_ok=True)
        temporary = "".join(
            f"{kind}_temp_path {self.folder}/{kind};"
            for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        config = self.folder / "nginx.conf"
        config.write_text(
            f"daemon off; master_process off; pid {self.folder}/pid; error_log stderr;"
            "events {} http { access_log off; default_type application/json; gzip on;"
            f"gzip_types application/json; gzip_min_length 1; {temporary}"
            f"server {{ listen 127.0.0.1:{self.port}; root {self.root}; }} }}"
        )
        return [self.binary, "-p", self.folder, "-e", "stderr", "-c", config]

    def is_ready(self):
        return bool(httpx.get(self.http, trust_env=False).status_code)

    def publish(self, path, text):
        """Put a file in place at once, as publishers should."""
        target = self.root / path
        draft = target.with_suffix(".new")
        draft.write_text(text)
        draft.replace(target)


@contextlib.contextmanager
def _running(server):
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


def _wait_until(condition, deadline_s=10.0):
    until = time.monotonic() + deadline_s
    pause = threading.Event()
    while not (result := condition()):
        assert time.monotonic() < until, f"not within {deadline_s:g} s: {condition}"
        pause.wait(0.02)
    return result


def _free_ports(how_many):
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


def _connections_to(port):
    mine = set()
    for link in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # The descriptor of this very listing.
            mine.add(str(link.readlink()))
    rows = [row.split() for row in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(
        int(row[2].partition(":")[2], 16) == port and f"socket:[{row[9]}]" in mine for row in rows
    )


def _die_with_parent():
    ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL)
