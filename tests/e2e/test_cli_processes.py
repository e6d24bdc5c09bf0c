"""The command as a process of its own: signals, pipes and terminals."""

import contextlib
import fcntl
import http.server
import json
import os
import pty
import queue
import re
import signal
import socket
import struct
import subprocess
import sys
import termios
import threading
import time

import httpx
import pytest

from trimtab.discovery import Directory
from trimtab.instance import Instance, Status
from trimtab.registration import register
from trimtab.server import EmbeddedRegistry

COMMAND = (sys.executable, "-m", "trimtab.cli")
DEADLINE_S = 100
COLOURS = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")


@pytest.fixture(scope="module")
def registry():
    with EmbeddedRegistry() as running:
        yield running.url


class Running:
    """A `trimtab` process with its lines."""

    def __init__(self, *argv, **environment):
        self.process = subprocess.Popen(
            [*COMMAND, *argv],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **environment},
        )
        self._lines = queue.Queue()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def line(self):
        """Give the next line of its output."""
        return self._lines.get(timeout=DEADLINE_S)

    def lines_until(self, word):
        """Give the next lines, up to the first with this word."""
        lines = [self.line()]
        while word not in lines[-1]:
            lines.append(self.line())
        return lines

    def stop(self, number):
        """Send a signal; give exit code and standard error."""
        self.process.send_signal(number)
        return self.ended()

    def ended(self):
        """Wait for its end; give exit code and standard error."""
        code = self.process.wait(DEADLINE_S)
        self._reader.join()
        return code, self.process.stderr.read()

    def _read(self):
        for line in self.process.stdout:
            self._lines.put(line.rstrip("\n"))
        self._lines.put("END")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self._reader.join()
        self.process.stdout.close()
        self.process.stderr.close()


def ids(registry, service):
    url = registry.replace("consul://", "http://")
    rows = httpx.get(f"{url}/v1/health/service/{service}", trust_env=False).json()
    return [row["Service"]["ID"] for row in rows]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_serve_names_its_url_first_and_stops_in_order(number, tmp_path):
    (tmp_path / "token").write_text("s3cret\n")
    argv = ("--port", "0", "--data-dir", tmp_path / "data", "--token-file", tmp_path / "token")
    with Running("registry", "serve", *argv) as serving:
        url = serving.line().removeprefix("Registry at consul://")
        answer = httpx.get(f"http://{url}/v1/catalog/services", trust_env=False)
        assert answer.status_code == 403
        assert ask(f"http://{url}/v1/catalog/services", "s3cret").status_code == 200
        assert serving.stop(number) == (0, "")


def ask(url, token):
    return httpx.get(url, headers={"X-Consul-Token": token}, trust_env=False)


def test_serve_takes_its_settings_from_the_environment():
    environment = {"TRIMTAB_REGISTRY_SERVE_PORT": "0", "TRIMTAB_REGISTRY_SERVE_TOKEN": "s3cret"}
    with Running("registry", "serve", **environment) as serving:
        url = serving.line().removeprefix("Registry at consul://")
        assert ask(f"http://{url}/v1/status/leader", "s3cret").status_code == 200
        code, error = serving.stop(signal.SIGTERM)
        assert (code, error) == (0, "")


def test_serve_warns_without_a_token_and_names_a_port_that_is_taken():
    with Running("registry", "serve", "--host", "0.0.0.0", "--port", "0") as serving:
        port = serving.line().rpartition(":")[2]
        with Running("registry", "serve", "--host", "0.0.0.0", "--port", port) as second:
            code, error = second.ended()
        assert code == 2
        assert f"cannot bind 0.0.0.0:{port}" in error
        assert "without a token" in serving.stop(signal.SIGTERM)[1]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_register_deregisters_when_it_is_stopped(registry, number):
    argv = ("once", "10.0.0.1:80", "--id", "me", "--registry", registry)
    with Running("register", *argv) as registering:
        assert registering.line() == f"Registered me (10.0.0.1:80) as once at {registry}"
        assert ids(registry, "once") == ["me"]
        assert registering.stop(number) == (0, "")
    assert ids(registry, "once") == []


def test_register_runs_a_command_and_ends_it_after_deregistering(registry):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    child = (sys.executable, "-u", "-m", "http.server", "--bind", "127.0.0.1", str(port))
    argv = ("child", f"127.0.0.1:{port}", "--registry", registry, "--", *child)
    with Running("register", *argv) as registering:
        registering.lines_until("Registered")
        assert len(ids(registry, "child")) == 1
        code, _ = registering.stop(signal.SIGTERM)
    assert code == 128 + signal.SIGTERM
    assert ids(registry, "child") == []
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0


def test_register_lets_a_command_serve_on_until_clients_know(registry, wait_until):
    child, port = http_server()
    argv = ("drained", f"127.0.0.1:{port}", "--drain", "2s", "--registry", registry, "--", *child)
    with Running("register", *argv) as registering:
        registering.lines_until("Registered")
        registering.process.send_signal(signal.SIGTERM)
        wait_until(lambda: ids(registry, "drained") == [])
        left_at = time.monotonic()
        assert httpx.get(f"http://127.0.0.1:{port}/", trust_env=False).is_success
        assert registering.ended()[0] == 128 + signal.SIGTERM
        assert time.monotonic() - left_at > 1


def test_a_second_signal_ends_the_waiting_for_clients(registry, wait_until):
    child, port = http_server()
    argv = ("hurried", f"127.0.0.1:{port}", "--drain", "1h", "--registry", registry, "--", *child)
    with Running("register", *argv) as registering:
        registering.lines_until("Registered")
        registering.process.send_signal(signal.SIGINT)
        wait_until(lambda: ids(registry, "hurried") == [])
        assert registering.stop(signal.SIGINT)[0] == 128 + signal.SIGTERM


def test_register_waits_for_the_check_of_a_command(registry, tmp_path, wait_until):
    child, port = http_server("--directory", str(tmp_path))
    address = f"127.0.0.1:{port}"
    argv = ("checked2", address, "--check", "http:/well", "--registry", registry, "--", *child)
    with Running("register", *argv) as registering:
        wait_until(lambda: is_open(port))
        assert ids(registry, "checked2") == []
        tmp_path.joinpath("well").touch()
        registering.lines_until("Registered")
        with Directory(registry) as directory:
            assert [each.status for each in directory.instances("checked2")] == [Status.PASSING]
        registering.stop(signal.SIGTERM)


def http_server(*options):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    program = (sys.executable, "-u", "-m", "http.server", "--bind", "127.0.0.1", str(port))
    return (*program, *options), port


def is_open(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_register_ends_with_its_command(registry):
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        argv = ("child2", f"127.0.0.1:{port}", "--registry", registry)
        with Running("register", *argv, "--", "sh", "-c", "sleep 0.5; exit 3") as registering:
            registering.lines_until("Registered")
            assert registering.ended()[0] == 3
    assert ids(registry, "child2") == []


def test_register_checks_the_instance(registry, tmp_path, wait_until):
    ill = tmp_path / "ill"
    check = f"script:sh -c 'test ! -e {ill} || exit 2'"
    argv = ("checked", "10.0.0.1:80", "--check", check, "--check-interval", "0.1", "--fall", "1")
    with (
        Running("register", *argv, "--registry", registry) as registering,
        Directory(registry) as directory,
    ):
        registering.lines_until("Registered")
        assert [each.status for each in directory.instances("checked")] == ["passing"]
        ill.touch()
        wait_until(lambda: directory.instances("checked")[0].status == "critical")
        code, said = registering.stop(signal.SIGTERM)
        assert code == 0
        assert "instance 10.0.0.1:80 at consul://" in said
        assert "now critical" in said


def test_register_reports_a_registry_that_stops_and_continues(wait_until):
    with EmbeddedRegistry() as registry:
        argv = ("lost", "10.0.0.1:80", "--registry", registry.url, "--ttl", "0.3")
        registering = Running("register", *argv)
        with contextlib.ExitStack() as stack:
            stack.enter_context(registering)
            registering.line()
            registry.stop()
            said = registering.process.stderr.readline()
            assert "heartbeat failed" in said
            code, _ = registering.stop(signal.SIGTERM)
            assert code == 0


def test_watch_prints_changes_as_lines_and_ends_quietly(registry):
    one = Instance(host="10.0.0.1", port=80, id="one")
    with Running("watch", "seen", "--registry", registry) as watching:
        with register(registry, "seen", one):
            assert "+ one  10.0.0.1:80 passing" in watching.line()
        assert "! a list of only 0 instances is held back" in watching.line()
        assert "- one" in watching.line()
        assert watching.stop(signal.SIGINT) == (130, "")


def test_watch_prints_changes_and_the_registrys_failure_as_json():
    one = Instance(host="10.0.0.1", port=80, id="one")
    with (
        EmbeddedRegistry() as registry,
        Running("watch", "seen", "--json", "--registry", registry.url) as watching,
        register(registry.url, "seen", one),
    ):
        row = json.loads(watching.line())
        assert (row["event"], row["instance"]["id"]) == ("added", "one")
        registry.stop()
        assert json.loads(watching.line())["event"] == "registry_unavailable"
        assert watching.stop(signal.SIGINT) == (130, "")


def test_watch_sends_alerts_to_a_webhook_and_the_last_ones_at_its_end(registry, tmp_path):
    one = Instance(host="10.0.0.1", port=80, id="one", status=Status.CRITICAL)
    with webhook() as (url, posted):
        argv = ("watch", "ill", "--alert", f"{url}?token=hunter2", "--registry", registry)
        with register(registry, "ill", one), Running(*argv) as watching:
            watching.lines_until("+ one")
            assert watching.stop(signal.SIGINT) == (130, "")
    ((path, message),) = posted
    assert path == "/hook?token=hunter2"
    assert message["title"] == "ill: 2 faults"
    assert message["lines"] == [
        "one (10.0.0.1:80): critical",
        "the service: without an eligible instance (0 of 1 eligible)",
    ]


def test_watch_reports_alerts_that_could_not_be_sent_without_secrets(registry):
    one = Instance(host="10.0.0.1", port=80, id="one", status=Status.CRITICAL)
    argv = ("watch", "untold", "--alert", "http://127.0.0.1:1/hunter2", "--registry", registry)
    with register(registry, "untold", one), Running(*argv) as watching:
        watching.lines_until("+ one")
        code, said = watching.stop(signal.SIGINT)
    assert code == 130
    assert (
        "alert not sent by webhook http://...: untold: 2 faults; SendingError: ConnectError" in said
    )
    assert "hunter2" not in said


@contextlib.contextmanager
def webhook():
    """Take what is posted, as (path, JSON)."""
    posted = []

    class Hook(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            posted.append((self.path, json.loads(body)))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hook) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/hook", posted
        finally:
            server.shutdown()
            thread.join()


def test_watch_on_a_terminal_is_a_live_table(registry):
    with (
        register(registry, "live", Instance(host="10.0.0.1", port=80, id="one")),
        terminal(*COMMAND, "watch", "live", "--registry", registry) as (process, screen),
    ):
        shown = screen("● passing")
        assert "live  1 instance" in shown
        process.send_signal(signal.SIGINT)
        assert process.wait(DEADLINE_S) == 130


@contextlib.contextmanager
def terminal(*command):
    """Run a command on a terminal of its own; give it, and what waits for a word on the screen."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
    environment = {**os.environ, "TERM": "xterm-256color"}
    process = subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment, close_fds=True
    )
    os.close(theirs)
    shown = ""

    def screen(word):
        nonlocal shown
        while word not in shown:
            shown = COLOURS.sub("", shown + os.read(ours, 1 << 16).decode(errors="replace"))
        return shown

    try:
        yield process, screen
    finally:
        process.kill()
        process.wait()
        os.close(ours)


@pytest.mark.parametrize("argv", [("ls", "many"), ("ls", "many", "--json"), ("call", "--help")])
def test_a_closed_pipe_is_no_error(argv, tmp_path):
    rows = [{"host": f"host-{number}", "port": 80} for number in range(5000)]
    path = tmp_path / "s.json"
    path.write_text(json.dumps({"many": rows}))
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [*COMMAND, *argv],
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TRIMTAB_REGISTRY": f"file://{path}"},
        timeout=DEADLINE_S,
        check=False,
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, "")
