"""Running the registry: in a thread, as a process, killed, restarted, stopped."""

import asyncio
import contextlib
import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys

import httpx
import pytest
import uvicorn
from uvicorn.lifespan.on import LifespanOn

from trimtab.errors import ClosedError, ConfigurationError
from trimtab.server import EmbeddedRegistry, create_app, serve
from trimtab.server.definitions import CheckDefinition
from trimtab.server.records import Check, Service
from trimtab.server.run import _own_address
from trimtab.server.store import Store


class Process:
    """`serve(...)` in a process of its own."""

    def __init__(self, **settings):
        code = f"from trimtab.server import serve; serve(**{settings!r})"
        self.process = subprocess.Popen(
            [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self.line = self.process.stdout.readline().strip()
        self.client = httpx.Client(
            base_url="http://" + self.line.rpartition("://")[2], trust_env=False, timeout=20
        )

    def end(self, how):
        self.process.send_signal(how)
        try:
            _, errors = self.process.communicate(timeout=20)
        finally:
            self.client.close()
        return self.process.returncode, errors


@pytest.fixture
def start():
    with contextlib.ExitStack() as stack:

        def start(**settings):
            server = Process(port=0, **settings)
            stack.callback(server.process.wait)
            stack.callback(server.process.kill)
            stack.callback(server.client.close)
            stack.callback(server.process.stdout.close)
            stack.callback(server.process.stderr.close)
            return server

        yield start


def register(client, **fields):
    answer = client.put("/v1/agent/service/register", json={"Name": "web", "Port": 80, **fields})
    assert answer.status_code == 200, answer.text


@contextlib.contextmanager
def running(**settings):
    """An embedded registry with a client of its own."""
    with (
        EmbeddedRegistry(**settings) as registry,
        httpx.Client(base_url=registry.http_url, trust_env=False, timeout=20) as client,
    ):
        client.registry = registry
        yield client


def entries(answer):
    """An answer of health/service, without outputs, which are not kept."""
    return [
        (e["Node"], e["Service"], [{**c, "Output": ""} for c in e["Checks"]]) for e in answer.json()
    ]


def test_state_survives_kill_9(start, tmp_path):
    server = start(data_dir=str(tmp_path / "data"))
    check = {"TTL": "60s", "Status": "passing"}
    register(server.client, ID="a", Meta={"k": "v"}, Tags=["t"], Address="10.0.0.1", Check=check)
    register(server.client, ID="b", Check={"TTL": "60s"})
    register(server.client, ID="c", Check={"TTL": "60s"})
    assert server.client.put("/v1/agent/check/warn/service:b?note=n").status_code == 200
    assert server.client.put("/v1/agent/service/deregister/c").status_code == 200
    before = server.client.get("/v1/health/service/web")
    assert server.end(signal.SIGKILL)[0] == -signal.SIGKILL

    again = start(data_dir=str(tmp_path / "data"))
    after = again.client.get("/v1/health/service/web")
    assert entries(after) == entries(before)
    assert int(after.headers["X-Consul-Index"]) >= int(before.headers["X-Consul-Index"])
    assert again.client.put("/v1/agent/check/pass/service:b").status_code == 200
    newer = again.client.get("/v1/health/service/web", params={"passing": ""})
    assert [entry["Service"]["ID"] for entry in newer.json()] == ["a", "b"]
    assert int(newer.headers["X-Consul-Index"]) > int(before.headers["X-Consul-Index"])


def test_an_outage_makes_no_instance_critical(start, tmp_path, wait_until):
    ttl = {"TTL": "4s", "Status": "passing"}
    server = start(data_dir=str(tmp_path))
    register(server.client, Check=ttl)
    server.end(signal.SIGKILL)
    again = start(data_dir=str(tmp_path))
    path = "/v1/health/service/web?passing"
    assert len(again.client.get(path).json()) == 1
    wait_until(lambda: again.client.get(path).json() == [])


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_stops_at_once_with_queries_in_flight(start, how, wait_until):
    server = start()
    assert server.line.startswith("Registry at consul://127.0.0.1:")
    host, port = server.line.rpartition("://")[2].split(":")
    index = server.client.get("/v1/catalog/services").headers["X-Consul-Index"]
    request = f"GET /v1/catalog/services?index={index}&wait=10m HTTP/1.1\r\nHost: x\r\n\r\n"
    with socket.create_connection((host, int(port)), timeout=20) as waiting:
        waiting.sendall(request.encode())
        # An answer to a later request on another connection says that this one is being served.
        assert server.client.get("/v1/status/leader").status_code == 200
        code, errors = server.end(how)
        assert (code, errors) == (0, "")
        assert waiting.recv(12) == b"HTTP/1.1 200"


def test_reports_wrong_settings_before_it_listens(tmp_path):
    (tmp_path / "registry.sqlite3").write_bytes(b"no database " * 500)
    for settings, text in (
        ({"data_dir": tmp_path}, "registry.sqlite3 cannot be read"),
        ({"token": ""}, "registry token is empty"),
        ({"node_name": ""}, "registry node_name is empty"),
        ({"max_waiting": 0}, "registry max_waiting is 0"),
        ({"host": "no such host", "node_address": "x"}, "cannot bind no such host:0"),
        ({"port": 70000}, "cannot bind 127.0.0.1:70000"),
    ):
        with pytest.raises(ConfigurationError, match=text):
            serve(**{"port": 0, **settings})
        with pytest.raises(ConfigurationError, match=text):
            EmbeddedRegistry(**settings).start()


def test_a_port_that_is_taken_is_named():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigurationError, match=f"cannot bind 127.0.0.1:{port}: .*in use"):
            EmbeddedRegistry(port=port).start()


def test_nagles_algorithm_does_not_delay_answers():
    with running() as client:
        bound = client.registry._socket
        # asyncio turns it off on what is accepted, if the socket says that it speaks TCP.
        assert bound.proto == socket.IPPROTO_TCP


def test_warns_beyond_loopback_without_a_token(start):
    for settings, warned in (({}, True), ({"token": "t"}, False), ({"host": "localhost"}, False)):
        server = start(**{"host": "0.0.0.0", **settings})
        _, errors = server.end(signal.SIGTERM)
        assert ("without a token" in errors) == warned


def test_a_node_has_an_address_that_others_can_use():
    assert _own_address("10.0.0.1") == "10.0.0.1"
    assert _own_address("::1") == "::1"
    for wildcard in ("0.0.0.0", "::", ""):
        assert _own_address(wildcard) not in {"0.0.0.0", "::", ""}


def test_a_node_without_a_network_has_loopback(monkeypatch):
    monkeypatch.setattr(socket.socket, "connect", lambda *_: refusing(None, None, None, OSError))
    assert _own_address("0.0.0.0") == "127.0.0.1"
    assert _own_address("::") == "::1"


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_serve_ends_by_a_signal_and_restores_the_handlers(how, monkeypatch):
    before = signal.getsignal(how)
    # The line comes when the handlers stand: from then on a signal only stops the server.
    monkeypatch.setattr("builtins.print", lambda line, **_: os.kill(os.getpid(), how))
    serve(port=0)
    assert signal.getsignal(how) is before


def test_a_nearer_deadline_is_not_missed(wait_until):
    with running() as client:
        far, near = ({"TTL": ttl, "Status": "passing"} for ttl in ("60s", "100ms"))
        register(client, ID="far", Check=far)
        register(client, ID="near", Check=near)
        passing = "/v1/health/service/web?passing"
        wait_until(lambda: [e["Service"]["ID"] for e in client.get(passing).json()] == ["far"])


def test_ten_thousand_instances(tmp_path):
    with contextlib.closing(Store(tmp_path)) as store:
        records = {}
        for number in range(10_000):
            ident = f"w{number:05}"
            records["services", "trimtab", ident] = Service(id=ident, service="web", port=80)
            check = CheckDefinition(check_id=ident, ttl_s=60.0, service_id=ident)
            records["definitions", "trimtab", ident] = check
            records["checks", "trimtab", ident] = Check(
                node="trimtab", check_id=ident, name="c", status="passing", service_id=ident
            )
        store.save(records, 30_000)
    with running(data_dir=tmp_path) as client:
        answer = client.get("/v1/health/service/web?passing")
        assert len(answer.json()) == 10_000
        assert int(answer.headers["X-Consul-Index"]) >= 30_000
        assert client.put("/v1/agent/check/fail/w09999").status_code == 200
        assert len(client.get("/v1/health/service/web?passing").json()) == 9_999
        assert client.put("/v1/agent/service/deregister/w00000").status_code == 200
        assert len(client.get("/v1/catalog/service/web").json()) == 9_999


def test_start_and_stop_more_than_once(tmp_path):
    registry = EmbeddedRegistry(data_dir=tmp_path)
    with pytest.raises(ClosedError, match="not running"):
        registry.url  # noqa: B018 - it raises
    registry.stop()
    with registry:
        answer = httpx.put(f"{registry.http_url}/v1/agent/service/register", json={"Name": "a"})
        assert answer.status_code == 200
        assert registry.url == f"consul://{registry.address}"
    registry.stop()
    with registry:
        assert "a" in httpx.get(f"{registry.http_url}/v1/agent/services").json()


def test_its_repr_names_the_url_and_not_the_token():
    registry = EmbeddedRegistry(token="secret")
    assert repr(registry) == "<EmbeddedRegistry not running>"
    with registry:
        assert repr(registry) == f"<EmbeddedRegistry at {registry.url}>"


def test_async_with():
    async def main():
        async with EmbeddedRegistry(host="::1") as registry, httpx.AsyncClient() as client:
            assert registry.url.startswith("consul://[::1]:")
            answer = await client.get(f"{registry.http_url}/v1/status/leader")
            return answer.json() == registry.address

    assert asyncio.run(main())


def test_two_in_one_process_are_separate():
    with running() as first, running() as second:
        register(first)
        assert second.get("/v1/agent/services").json() == {}


def test_checks_resume_after_a_restart(tmp_path, wait_until):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with running(data_dir=tmp_path, enable_script_checks=True) as client:
            register(client, ID="t", Check={"TCP": f"127.0.0.1:{port}", "Interval": "50ms"})
            register(client, ID="s", Check={"Args": ["true"], "Interval": "50ms"})
            wait_until(lambda: len(client.get("/v1/health/service/web?passing").json()) == 2)
    with running(data_dir=tmp_path) as client:
        checks = client.get("/v1/agent/checks").json()
        assert "Scripts are disabled" in checks["service:s"]["Output"]
        wait_until(
            lambda: client.get("/v1/agent/checks").json()["service:t"]["Status"] == "critical"
        )


def test_many_writes_are_moved_into_the_file_while_it_runs(tmp_path, wait_until):
    def port_in_the_file_alone():
        copy = tmp_path / "copy.sqlite3"
        shutil.copy(tmp_path / "registry.sqlite3", copy)
        with contextlib.closing(sqlite3.connect(copy)) as db:
            try:
                rows = db.execute("SELECT body FROM records WHERE kind = 'services'").fetchall()
            except sqlite3.OperationalError:
                return 0  # not even the tables are in it yet
        return max((json.loads(body)["Port"] for (body,) in rows), default=0)

    with running(data_dir=tmp_path) as client:
        for port in range(1, 1010):
            register(client, Port=port)
        wait_until(lambda: port_in_the_file_alone() > 900)
    with running(data_dir=tmp_path) as client:
        assert client.get("/v1/agent/services").json()["web"]["Port"] == 1009


def test_a_failed_write_is_a_500_and_is_made_up_for(tmp_path, monkeypatch):
    with running(data_dir=tmp_path) as client:
        with monkeypatch.context() as patch:
            patch.setattr(Store, "save", refusing)
            answer = client.put("/v1/agent/service/register", json={"Name": "a"})
        assert answer.status_code == 500
        assert answer.text == "The registry cannot write its state: disk I/O error"
        register(client)


def test_a_failed_write_at_the_start_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(Store, "save", refusing)
    with pytest.raises(ConfigurationError, match="cannot write its state: disk I/O error"):
        EmbeddedRegistry(data_dir=tmp_path).start()


def refusing(store, records, last_index, error=sqlite3.OperationalError):
    raise error("disk I/O error")


def test_the_app_runs_under_any_asgi_server():
    async def main():
        app = create_app(node_name="n", datacenter="d", token="t")
        lifespan = LifespanOn(uvicorn.Config(app, log_config=None))
        await lifespan.startup()
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://registry") as client:
            answer = await client.get("/v1/agent/self?token=t")
        await lifespan.shutdown()
        return answer.json()["Config"]["Datacenter"]

    assert asyncio.run(main()) == "d"
