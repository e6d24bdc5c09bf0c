"""Every command against a real registry and real backends, in this process."""

import contextlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from trimtab.cli import main
from trimtab.instance import Instance, Status
from trimtab.registration import register
from trimtab.server import EmbeddedRegistry

DOWN = "consul://127.0.0.1:9"


@pytest.fixture(scope="module")
def registry():
    with EmbeddedRegistry() as running:
        yield running.url


@pytest.fixture(autouse=True)
def _asks_this_registry(registry, monkeypatch, tmp_path):
    monkeypatch.setenv("TRIMTAB_REGISTRY", registry)
    monkeypatch.chdir(tmp_path)


class Backend(BaseHTTPRequestHandler):
    """Answers with what it was asked; /500 with an error."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        body = f"{self.command} {self.path} {self.headers.get('X-Test', '')} ".encode()
        body += self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(500 if self.path == "/500" else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET  # noqa: N815 - the name that http.server looks for

    def log_message(self, *args):
        pass


@contextlib.contextmanager
def backend():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Backend)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture(scope="module")
def orders(registry):
    """Three backends of `orders`, and a service whose only instance does not listen."""
    with contextlib.ExitStack() as stack:
        for name in ("a", "b", "c"):
            port = stack.enter_context(backend())
            instance = Instance(
                host="127.0.0.1", port=port, id=name, zone="west", metadata={"v": "7"}
            )
            stack.enter_context(register(registry, "orders", instance))
        gone = Instance(host="127.0.0.1", port=9, id="gone")
        stack.enter_context(register(registry, "gone", gone))
        ill = Instance(host="127.0.0.1", port=9, id="ill", status=Status.CRITICAL)
        stack.enter_context(register(registry, "ill", ill))
        yield "orders"


def ran(capsys, *argv, code=0):
    assert main([*argv]) == code, capsys.readouterr()
    return capsys.readouterr()


def test_ls_lists_the_services_with_their_instances(orders, capsys):
    lines = ran(capsys, "ls").out.splitlines()
    assert lines[0].split() == ["SERVICE", "INSTANCES"]
    rows = {line.split()[0]: line.split()[1:] for line in lines[1:]}
    assert rows["orders"] == ["3", "●", "passing"]
    assert rows["ill"] == ["1", "✖", "critical"]


def test_ls_lists_the_services_as_json(orders, capsys):
    rows = json.loads(ran(capsys, "ls", "--json").out)
    assert {"service": "orders", "instances": {"passing": 3}} in rows


def test_ls_lists_instances_with_everything_known(orders, capsys):
    lines = ran(capsys, "ls", "orders").out.splitlines()
    columns = ["INSTANCE", "ADDRESS", "STATUS", "WEIGHT", "ZONE", "PRIORITY", "METADATA"]
    assert lines[0].split() == columns
    assert [line.split()[0] for line in lines[1:]] == ["a", "b", "c"]
    assert lines[1].split()[2:] == ["●", "passing", "1", "west", "0", "v=7"]


def test_ls_lists_instances_as_json(orders, capsys):
    rows = json.loads(ran(capsys, "ls", "orders", "--json").out)
    assert [row["id"] for row in rows] == ["a", "b", "c"]
    assert rows[0]["status"] == "passing"
    assert rows[0]["metadata"] == {"v": "7"}


def test_ls_reports_an_empty_list(capsys):
    out, error = ran(capsys, "ls", "unknown")
    assert not out
    assert "lists no instance of 'unknown'" in error
    assert json.loads(ran(capsys, "ls", "unknown", "--json").out) == []
    with EmbeddedRegistry() as empty:
        ran(capsys, "ls", "--registry", empty.url)


def test_ls_names_entries_that_cannot_be_read(capsys, tmp_path):
    (tmp_path / "s.json").write_text('{"orders": [{"host": "h", "port": 80}, {"host": "h"}]}')
    out, error = ran(capsys, "ls", "orders", "--registry", f"file://{tmp_path}/s.json")
    assert "h:80" in out
    assert "port" in error


@pytest.mark.parametrize("argv", [["ls"], ["ls", "x"], ["watch", "x"], ["call", "x/"]])
def test_a_registry_that_is_down_is_one_line(argv, capsys):
    out, error = ran(capsys, *argv, "--registry", DOWN, code=1)
    assert not out
    assert "127.0.0.1:9" in error
    assert error.count("\n") == 1


def test_registering_at_a_registry_that_is_down_is_one_line(capsys):
    _, error = ran(capsys, "register", "x", "127.0.0.1:80", "--registry", DOWN, code=1)
    assert "whether the registry runs" in error
    assert error.count("\n") == 1


def test_call_prints_the_body(orders, capsys):
    out, error = ran(capsys, "call", "orders/items/7?x=1")
    assert out == "GET /items/7?x=1  "
    assert not error


def test_call_sends_headers_and_data_and_names_the_instance(orders, capsys):
    out, error = ran(capsys, "call", "orders/", "-H", "X-Test: hi", "-d", "body", "-v")
    assert out == "POST / hi body"
    assert "200 OK from " in error
    assert "1 attempt" in error


def test_call_takes_a_method(orders, capsys):
    assert ran(capsys, "call", "http://orders/", "-X", "get", "-d", "x").out == "GET /  x"


def test_call_prints_everything_as_json(orders, capsys):
    data = json.loads(ran(capsys, "call", "orders/x", "--json").out)
    assert (data["status"], data["body"], data["attempts"]) == (200, "GET /x  ", 1)
    assert data["instance"]["id"] in {"a", "b", "c"}


def test_call_fails_on_an_error_of_the_server(orders, capsys):
    assert ran(capsys, "call", "orders/500", code=1).out == "GET /500  "


def test_call_spreads_many_requests_and_counts_them(orders, capsys):
    argv = ("call", "orders/", "-n", "30", "-c", "3", "--strategy", "round_robin")
    data = json.loads(ran(capsys, *argv, "--json").out)
    assert {row["id"]: row["requests"] for row in data["instances"]} == {"a": 10, "b": 10, "c": 10}
    assert data["total"]["failures"] == 0
    assert "30 requests to orders" in ran(capsys, *argv).out


def test_call_counts_failures(orders, capsys):
    out = ran(capsys, "call", "orders/500", "-n", "3", code=1).out
    assert "3 requests to orders" in out
    assert "3 failed" in out


def test_call_names_an_instance_that_does_not_answer(orders, capsys):
    out, error = ran(capsys, "call", "gone/", code=1)
    assert not out
    assert "127.0.0.1:9 (refused" in error
    out = ran(capsys, "call", "gone/", "-n", "2", code=1).out
    assert "(no response)" in out
    assert "refused" in out


@pytest.mark.parametrize(("service", "why"), [("unknown", "no instance"), ("ill", "critical")])
def test_call_says_why_no_instance_is_eligible(orders, capsys, service, why):
    _, error = ran(capsys, "call", f"{service}/", code=1)
    assert why in error
    assert error.count("\n") == 1


def test_registering_with_a_command_ends_with_it(registry, capsys):
    argv = ("register", "short", "127.0.0.1:9", "--", "sh", "-c", "exit 7")
    assert ran(capsys, *argv, code=7).out == ""


def test_a_command_that_does_not_listen_is_an_error(capsys):
    argv = ("register", "deaf", "127.0.0.1:9", "--ready-timeout", "0.1", "--", "sleep", "30")
    _, error = ran(capsys, *argv, code=1)
    assert "does not accept connections at 127.0.0.1:9 after 0.1 s" in error


def test_a_missing_command_is_wrong_input(capsys):
    _, error = ran(capsys, "register", "x", "127.0.0.1:9", "--", "/no/such/program", code=2)
    assert "cannot be started" in error
