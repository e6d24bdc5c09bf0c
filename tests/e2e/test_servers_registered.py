"""The programs of docs/servers.md as real processes: restarted under load, no call fails.

Each is taken from the page as it stands; only the registry, the port and the drain are others.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from e2e_load import Load, failures

from real.server import die_with_parent, free_ports
from trimtab import BalancedTransport, Directory
from trimtab.server import EmbeddedRegistry

PAGE = Path(__file__).parents[2] / "docs" / "servers.md"
PROGRAMS = dict(
    re.findall(r"^```py\n# (\S+)\n(.*?)^```$", PAGE.read_text("utf-8"), re.DOTALL | re.MULTILINE)
)
LIMIT_S = 60.0
QUIET_S = 0.5
WSGI = """
def app(environ, start_response):
    body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
"""


class Server:
    """One server of the page, at one port for all of its lives."""

    def __init__(self, folder, kind, url, drain_s):
        (self.port,) = free_ports(1)
        self.id = f"127.0.0.1:{self.port}"
        self._folder, self._url, self._drain_s = folder / f"{kind}{self.port}", url, drain_s
        self._command = [*self._commands()[kind]]
        self.process = None
        self._folder.mkdir()
        self._log = self._folder / "log"
        for name, text in {**PROGRAMS, "plain.py": WSGI}.items():
            self._folder.joinpath(name).write_text(self._own(text))

    def _commands(self):
        python, port = (sys.executable, "-m"), str(self.port)
        # Started by its own script, as it starts itself anew.
        gunicorn = (str(Path(sys.executable).with_name("gunicorn")), "plain:app")
        own = ("register", "orders", self.id, "--registry", self._url, "--drain")
        wrapped = (
            *python,
            "trimtab.cli",
            *own,
            f"{self._drain_s}s",
            "--check",
            "tcp",
            "--check-interval",
            "600",
            "--",
        )
        bind = ("--bind", self.id, "--keep-alive", "10", "--worker-class", "gthread")
        return {
            "uvicorn": (*python, "uvicorn", "shop:app", "--port", port),
            "gunicorn": gunicorn,
            "max requests": (*gunicorn, "--max-requests", "40"),
            "command": (*wrapped, *gunicorn, "--config", "/dev/null", *bind),
            "command uvicorn": (*wrapped, *python, "uvicorn", "shop:api", "--port", port),
            "prefork": (sys.executable, "prefork.py"),
        }

    def _own(self, text):
        """Give a program of the page with another registry, port and drain, and with a check."""
        text = text.replace("consul://127.0.0.1:8500", self._url).replace("8001", str(self.port))
        text = text.replace("from trimtab import", "import trimtab\nfrom trimtab import")
        # Its first result is the one that counts here; a busy machine may fail others.
        check = "trimtab.Check.parse('tcp', interval_s=600)"
        return text.replace("drain_s=5.0", f"drain_s={self._drain_s}, check={check}")

    def start(self):
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                self._command,
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                preexec_fn=die_with_parent,  # noqa: PLW1509 - sets one flag of the kernel
            )

    def stop(self):
        """Ask it to end; give its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(LIMIT_S)

    @property
    def said(self):
        return self._log.read_text("utf-8")

    def kill(self):
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def workers(self):
        """Give the process ids of its children."""
        pid = self.process.pid
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii")
        return {int(each) for each in text.split()}


class Listed:
    """What the registry lists, from now on: every list, and the present one."""

    def __init__(self, url):
        self._directory = Directory(url).sync()
        self.lists, self.statuses = [], set()
        self._directory.on_change("orders", self._note)

    def _note(self, snapshot):
        self.statuses.update(str(each.status) for each in snapshot.instances)
        self.lists.append({each.id for each in snapshot.instances if each.status == "passing"})

    @property
    def now(self):
        return self.lists[-1] if self.lists else set()

    def close(self):
        self._directory.close()


@pytest.fixture
def registry():
    with EmbeddedRegistry() as registry:
        yield registry.url


@pytest.fixture
def listed(registry):
    with contextlib.closing(Listed(registry)) as listed:
        yield listed


@pytest.fixture
def run(tmp_path, registry, listed, wait_until):
    """Start servers of one kind, and wait until they are listed."""
    servers = []

    def start(kind, *, count=1, drain_s=0.5):
        for _ in range(count):
            servers.append(Server(tmp_path, kind, registry, drain_s))
            servers[-1].start()
        wait_until(lambda: listed.now == {each.id for each in servers})
        return servers

    yield start
    for each in servers:
        each.kill()


def under_load(url, events, *, rate_per_s):
    """Call while events happen, one after another; give the calls."""
    ended = []

    def happen(load):
        for event in events:
            event()
        ended.append(load.now_s)

    async def call():
        transport = BalancedTransport(url, trust_env=False)
        async with httpx.AsyncClient(transport=transport, trust_env=False) as client:
            load = Load(client, "http://orders/work", rate_per_s=rate_per_s, methods=("POST",))
            load.at(QUIET_S, lambda: happen(load))
            return await load.run(lambda: ended[0] + QUIET_S if ended else float("inf"))

    done = asyncio.run(call())
    print(f"\n{len(done)} POSTs: {len(failures(done))} failed")
    return done


ROUNDS = [pytest.param(1, 30, id="short"), pytest.param(4, 100, id="soak", marks=pytest.mark.soak)]


@pytest.mark.parametrize(("rounds", "rate_per_s"), ROUNDS)
@pytest.mark.parametrize("kind", ["uvicorn", "gunicorn", "command", "command uvicorn"])
def test_no_post_fails_in_a_rolling_restart(
    kind, rounds, rate_per_s, run, registry, listed, wait_until
):
    # On a busy machine a call may take a second: it must be over when its server stops.
    servers = run(kind, count=2, drain_s=2.0)

    def restart(server):
        code = server.stop()
        assert code in {0, -signal.SIGTERM, 128 + signal.SIGTERM}, server.said
        assert server.id not in listed.now
        server.start()
        wait_until(lambda: server.id in listed.now)

    restarts = [lambda each=each: restart(each) for each in servers * rounds]
    done = under_load(registry, restarts, rate_per_s=rate_per_s)
    assert failures(done) == []
    assert {call.instance for call in done} == {each.id for each in servers}
    assert listed.statuses == {"passing"}, "listed before it served"


@pytest.mark.parametrize(("rounds", "rate_per_s"), ROUNDS)
def test_the_end_of_a_worker_neither_unlists_the_host_nor_fails_a_post(
    rounds, rate_per_s, run, registry, listed, wait_until
):
    (server,) = run("gunicorn")
    before = len(listed.lists)

    def end_one():
        workers = server.workers()
        os.kill(min(workers), signal.SIGTERM)
        wait_until(lambda: len(server.workers()) == 2 and server.workers() != workers)

    def reload():
        workers = server.workers()
        server.process.send_signal(signal.SIGHUP)
        wait_until(lambda: len(server.workers()) == 2 and not server.workers() & workers)

    done = under_load(registry, [end_one, reload] * rounds, rate_per_s=rate_per_s)
    assert failures(done) == []
    assert listed.lists[before:] == []
    assert server.stop() == 0
    wait_until(lambda: listed.now == set())


@pytest.mark.parametrize(("rounds", "rate_per_s"), ROUNDS)
def test_workers_that_have_served_enough_are_replaced_without_a_word(
    rounds, rate_per_s, run, registry, listed, wait_until
):
    (server,) = run("max requests")
    before = len(listed.lists)
    seen = set(server.workers())

    def see_new_ones():
        def is_enough():
            seen.update(server.workers())
            return len(seen) >= 2 + 2 * rounds

        wait_until(is_enough)

    done = under_load(registry, [see_new_ones], rate_per_s=rate_per_s)
    assert failures(done) == []
    assert listed.lists[before:] == []


def test_a_new_master_takes_over_without_being_unlisted(run, registry, listed, wait_until):
    (server,) = run("gunicorn")
    before = len(listed.lists)
    workers = server.workers()

    def take_over():
        server.process.send_signal(signal.SIGUSR2)
        wait_until(lambda: len(server.workers()) == 3)
        (master,) = server.workers() - workers
        children = Path(f"/proc/{master}/task/{master}/children")
        wait_until(lambda: len(children.read_text(encoding="ascii").split()) == 2)
        masters.append(master)
        assert server.stop() == 0

    masters = []
    done = under_load(registry, [take_over], rate_per_s=50)
    try:
        assert failures(done) == []
        assert listed.lists[before:] == []
    finally:
        os.kill(masters[0], signal.SIGTERM)
    wait_until(lambda: listed.now == set())


def test_a_pre_forking_server_is_withdrawn_before_its_workers_end(
    run, registry, listed, wait_until
):
    (server,) = run("prefork", drain_s=0.1)
    for _ in range(4):
        assert httpx.get(f"http://{server.id}/", trust_env=False).text == "ok"
    assert server.stop() == 0
    assert server.said == ""
    wait_until(lambda: listed.now == set())
