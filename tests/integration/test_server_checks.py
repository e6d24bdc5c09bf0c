"""Health checks that the registry runs itself, against real servers, sockets and commands."""

import http.server
import socket
import threading
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from trimtab.server import EmbeddedRegistry


@pytest.fixture(scope="module")
def registry():
    with EmbeddedRegistry(enable_script_checks=True) as registry:
        yield registry


@pytest.fixture(scope="module")
def client(registry):
    with httpx.Client(base_url=registry.http_url, trust_env=False, timeout=20) as client:
        yield client


@pytest.fixture
def status(client, request, wait_until):
    """Register an instance with one check, and give a function that waits for its status."""
    name = request.node.name

    def of(check=None, *, becomes, output=""):
        if check is not None:
            body = {"ID": name, "Name": name, "Check": check}
            answer = client.put("/v1/agent/service/register", json=body)
            assert answer.status_code == 200, answer.text

        def now():
            checks = client.get(f"/v1/health/checks/{name}").json()
            if not checks or checks[0]["Status"] != becomes or output not in checks[0]["Output"]:
                return None
            return checks[0]["Output"]

        return wait_until(now)

    yield of
    client.put(f"/v1/agent/service/deregister/{name}")


class Backend(http.server.BaseHTTPRequestHandler):
    """Answers with the status in `code`, and remembers what it was asked."""

    code, asked = 200, ()

    def answer(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        type(self).asked = (self.command, self.path, dict(self.headers), body)
        self.send_response(self.code)
        self.send_header("Content-Length", "5000")
        self.end_headers()
        self.wfile.write(b"hello" * 1000)

    do_GET = do_POST = answer  # noqa: N815 - the names that http.server looks for

    def log_message(self, *args):
        pass


@contextmanager
def backend(port=0):
    handler = type("OneBackend", (Backend,), {})
    with http.server.ThreadingHTTPServer(("127.0.0.1", port), handler) as server:
        handler.url = f"http://127.0.0.1:{server.server_address[1]}/health"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield handler
        finally:
            server.shutdown()
            thread.join()


def test_http_2xx_is_passing_all_else_critical_and_back(status):
    with backend() as server:
        check = {"HTTP": server.url, "Interval": "50ms", "OutputMaxSize": 100}
        output = status(check, becomes="passing")
        assert output.startswith(f"HTTP GET {server.url}: 200 OK Output: hello")
        assert len(output) == 100
        for code in (500, 429, 302):
            server.code = code
            assert f" {code} " in status(becomes="critical")
            server.code = 204
            status(becomes="passing")
    status(becomes="critical", output="ConnectError")


def test_http_sends_what_the_definition_says(status):
    with backend() as server:
        check = {
            "HTTP": server.url.replace("//", "//me:p%40ss@"),
            "Method": "POST",
            "Header": {"X-One": ["1"], "Host": ["other"]},
            "Body": "ping",
            "Interval": "50ms",
        }
        assert "ss@" not in status(check, becomes="passing")
        method, path, headers, body = server.asked
    assert (method, path, body) == ("POST", "/health", b"ping")
    assert (headers["X-One"], headers["Host"]) == ("1", "other")
    assert headers["User-Agent"] == "Trimtab Health Check"
    assert headers["Authorization"] == "Basic bWU6cEBzcw=="  # me:p@ss


def test_http_that_never_answers_times_out(status):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        check = {"HTTP": url, "Interval": "50ms", "Timeout": "100ms", "Status": "passing"}
        assert status(check, becomes="critical") == "http check timed out after 0.1 s"


@pytest.mark.parametrize("url", ["nonsense", "http://[", "http://127.0.0.1:99999/", "ftp://h/"])
def test_http_with_an_invalid_url_is_critical(status, url):
    assert status(
        {"HTTP": url, "Interval": "50ms", "TLSSkipVerify": True, "Status": "passing"},
        becomes="critical",
    )


def test_tcp_follows_the_port(status):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        output = status({"TCP": f"127.0.0.1:{port}", "Interval": "50ms"}, becomes="passing")
        assert output == f"TCP connect 127.0.0.1:{port}: Success"
    status(becomes="critical", output="ConnectionRefusedError")
    with socket.create_server(("127.0.0.1", port)):
        status(becomes="passing")


@pytest.mark.parametrize("address", ["no-port", "h:x", "127.0.0.1:99999"])
def test_tcp_with_an_invalid_address_is_critical(status, address):
    assert status({"TCP": address, "Interval": "50ms", "Status": "passing"}, becomes="critical")


def test_scripts_by_exit_code(status, tmp_path):
    code = tmp_path / "code"
    code.write_text("0")
    script = f"echo out; echo err >&2; exit $(cat {code})"
    output = status({"Args": ["sh", "-c", script], "Interval": "50ms"}, becomes="passing")
    assert output == "out\nerr\n"
    for number, expected in ((1, "warning"), (2, "critical"), (1, "warning"), (0, "passing")):
        code.write_text(str(number))
        status(becomes=expected)


def test_the_status_changes_after_as_many_results_in_a_row_as_defined(status, tmp_path):
    probes = tmp_path / "probes"
    script = (
        f"echo probe | tee -a {probes}; n=$(wc -l < {probes}); test $n -gt 2 -a $n -lt 8 || exit 2"
    )
    check = {
        "Args": ["sh", "-c", script],
        "Interval": "50ms",
        "SuccessBeforePassing": 3,
        "FailuresBeforeCritical": 4,
    }
    status(check, becomes="passing")
    assert len(probes.read_text().splitlines()) >= 2 + 3
    status(becomes="critical")
    assert len(probes.read_text().splitlines()) >= 7 + 4


def test_a_script_that_does_not_end_is_killed_with_its_children(status, tmp_path, wait_until):
    pid = tmp_path / "pid"
    check = {
        "Args": ["sh", "-c", f"sleep 60 & echo $! > {pid}; wait"],
        "Interval": "50ms",
        "Timeout": "1s",
        "Status": "passing",
    }
    assert "timed out after 1 s" in status(check, becomes="critical")
    first = int(pid.read_text())
    wait_until(lambda: not running(first) or int(pid.read_text()) != first)


def running(pid):
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
        return stat.rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_missing_script_is_critical(status):
    check = {"Args": ["/no/such/command"], "Interval": "50ms", "Status": "passing"}
    assert "FileNotFoundError" in status(check, becomes="critical")


def test_long_output_is_cut(status):
    check = {"Args": ["sh", "-c", "yes | head -c 100000"], "Interval": "50ms"}
    assert len(status(check, becomes="passing")) == 4096


def test_ttl_expires_and_recovers(client, status, request):
    assert status({"TTL": "100ms", "Status": "passing"}, becomes="critical") == "TTL expired"
    name = request.node.name
    assert client.put(f"/v1/agent/check/pass/service:{name}?note=back").status_code == 200
    answer = client.get(f"/v1/health/service/{name}", params={"passing": "1"})
    index = answer.headers["X-Consul-Index"]
    if answer.json():  # it may be over already on a slow machine
        params = {"index": index, "wait": "20s", "passing": "1"}
        assert client.get(f"/v1/health/service/{name}", params=params).json() == []
    assert status(becomes="critical") == "TTL expired"


def test_an_instance_critical_for_too_long_is_removed_and_others_stay(client, status, wait_until):
    name = "removed"
    body = {
        "Name": name,
        "Check": {"TTL": "50ms", "DeregisterCriticalServiceAfter": "100ms"},
    }
    assert client.put("/v1/agent/service/register", json=body).status_code == 200
    status({"TTL": "50ms"}, becomes="critical")
    wait_until(lambda: client.get(f"/v1/health/service/{name}").json() == [])
    beat = client.put(f"/v1/agent/check/pass/service:{name}")
    assert (beat.status_code, "does not have associated TTL" in beat.text) == (500, True)
    assert name not in client.get("/v1/agent/services").json()


def test_a_changed_definition_changes_the_probes(client, status):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        status({"TCP": f"127.0.0.1:{port}", "Interval": "50ms"}, becomes="passing")
        status({"TCP": "127.0.0.1:1", "Interval": "50ms"}, becomes="critical")
        status({"TCP": f"127.0.0.1:{port}", "Interval": "50ms"}, becomes="passing")


def test_scripts_are_refused_by_default():
    with EmbeddedRegistry() as registry:
        answer = httpx.put(
            f"{registry.http_url}/v1/agent/service/register",
            json={"Name": "x", "Check": {"Args": ["true"], "Interval": "1s"}},
        )
        assert answer.status_code == 500
        assert answer.text.startswith("Scripts are disabled on this agent from remote calls")
        assert httpx.get(f"{registry.http_url}/v1/agent/services").json() == {}
