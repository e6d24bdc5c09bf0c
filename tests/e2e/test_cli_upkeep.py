"""`trimtab deregister` and `maintenance`, and what other commands say of odd input."""

import contextlib
import http.server
import os
import signal
import subprocess
import sys
import threading
import time

import httpx
import pytest

from trimtab.cli import main
from trimtab.server import EmbeddedRegistry


@pytest.fixture(scope="module")
def registry():
    with EmbeddedRegistry() as running:
        yield running


@pytest.fixture(autouse=True)
def _asks_this_registry(registry, monkeypatch, tmp_path):
    monkeypatch.setenv("TRIMTAB_REGISTRY", registry.url)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def register(registry, request):
    name = request.node.originalname

    def register(id_, host="10.0.0.1", port=80):
        body = {"Name": name, "ID": id_, "Address": host, "Port": port}
        url = f"{registry.http_url}/v1/agent/service/register"
        httpx.put(url, json=body, trust_env=False).raise_for_status()
        return name

    return register


def ids(registry, name):
    url = f"{registry.http_url}/v1/health/service/{name}?passing"
    return [each["Service"]["ID"] for each in httpx.get(url, trust_env=False).json()]


@pytest.mark.parametrize("odd", ["plain", "a/b", "a b", "a\nb", "ä?#%", "10.0.0.1:80"])
def test_an_entry_that_was_left_behind_is_removed(registry, register, odd, capsys):
    name = register(odd)
    register("stays", host="10.0.0.2")
    assert main(["deregister", name, odd]) == 0
    assert "Deregistered" in capsys.readouterr().out
    assert ids(registry, name) == ["stays"]
    assert main(["deregister", name, odd]) == 1
    assert name in capsys.readouterr().err


def test_an_address_names_an_instance_if_it_is_the_only_one_there(registry, register, capsys):
    name = register("one", host="10.0.0.3")
    assert main(["deregister", name, "10.0.0.3:80"]) == 0
    register("two", host="10.0.0.4")
    register("three", host="10.0.0.4")
    assert main(["deregister", name, "10.0.0.4:80"]) == 1
    error = capsys.readouterr().err
    assert "two" in error
    assert "three" in error
    assert sorted(ids(registry, name)) == ["three", "two"]


def test_an_instance_of_another_node_is_not_said_to_be_gone(registry, capsys):
    body = {"Node": "far", "Address": "10.0.0.9", "Service": {"Service": "far", "ID": "f"}}
    body["Service"]["Port"] = 80
    url = f"{registry.http_url}/v1/catalog/register"
    httpx.put(url, json=body, trust_env=False).raise_for_status()
    assert main(["deregister", "far", "f"]) == 1
    assert "still lists 'f'" in capsys.readouterr().err


def test_maintenance_begins_and_ends(registry, register, capsys):
    name = register("one")
    assert main(["maintenance", name, "one", "--reason", "new disk"]) == 0
    assert ids(registry, name) == []
    checks = httpx.get(f"{registry.http_url}/v1/health/checks/{name}", trust_env=False).json()
    assert [each["Notes"] for each in checks] == ["new disk"]
    assert main(["maintenance", name, "one", "--off"]) == 0
    assert ids(registry, name) == ["one"]
    assert main(["maintenance", name, "nobody"]) == 1
    assert "nobody" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["deregister", "maintenance"])
def test_a_registry_that_only_lists_is_named(command, capsys):
    assert main([command, "orders", "a", "--registry", "static://127.0.0.1:1"]) == 2
    assert "static://127.0.0.1:1" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("localhost:8577", "consul://localhost:8577"),
        ("10.0.0.1:8500", "consul://10.0.0.1:8500"),
        ("localhost", "consul://localhost"),
        ("//localhost:8500", "consul://localhost:8500"),
    ],
)
def test_a_registry_without_a_scheme_is_told_what_to_write(given, wanted, capsys):
    assert main(["ls", "--registry", given]) == 2
    assert wanted in capsys.readouterr().err


@pytest.mark.parametrize("words", [["ls"], ["ls", "orders"], ["call", "orders/"]])
@pytest.mark.parametrize("path", ["", "/", "/v1"])
def test_a_consul_by_http_is_told_what_to_write(registry, words, path, capsys):
    assert main([*words, "--registry", f"{registry.http_url}{path}"]) != 0
    assert f"write {registry.url}" in capsys.readouterr().err


def test_ls_says_which_addresses_are_not_called(register, capsys):
    name = register("meta", host="169.254.169.254")
    register("fine", host="10.0.0.1")
    assert main(["ls", name]) == 0
    output = capsys.readouterr()
    assert "169.254.169.254:80" in output.out
    assert "clients do not call meta" in output.err
    assert "fine" not in output.err


class Backend(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    asked = 0
    ends = threading.Event()

    def do_GET(self):
        type(self).asked += 1
        if self.path == "/hangs":
            self.ends.wait(30)
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *args):
        pass

    def handle(self):
        with contextlib.suppress(OSError):  # the client was interrupted
            super().handle()


@pytest.mark.parametrize(("path", "least"), [("", 1), ("hangs", 0)])
def test_ctrl_c_ends_a_load_and_shows_what_was_done(path, least, wait_until):
    Backend.asked = 0
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Backend)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"static://127.0.0.1:{server.server_port}"
    words = ["call", f"orders/{path}", "-n", "1000000", "-c", "4", "--registry", url]
    with subprocess.Popen(
        [sys.executable, "-m", "trimtab.cli", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "NO_COLOR": "1"},
    ) as process:
        wait_until(lambda: Backend.asked >= 4 + least)
        started_at = time.monotonic()
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=20)
    assert time.monotonic() - started_at < 2
    Backend.ends.set()
    server.shutdown()
    server.server_close()
    assert process.returncode == 130
    assert "interrupted after" in errors
    (total,) = [line for line in output.splitlines() if line.startswith("total")]
    assert int(total.split()[1]) >= least


def test_watch_says_that_nothing_is_listed(registry):
    for words, wanted in (([], "lists no instance of 'nosuch'"), (["--json"], '"list_empty"')):
        command = [sys.executable, "-m", "trimtab.cli", "watch", "nosuch", *words]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            line = process.stdout.readline()
            process.send_signal(signal.SIGINT)
        assert wanted in line
