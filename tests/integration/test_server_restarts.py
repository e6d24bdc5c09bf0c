"""The embedded registry stopped or killed, and started again on the same data."""

import contextlib
import socket
import threading

import httpx
import pytest

from trimtab.errors import ConfigurationError
from trimtab.server import EmbeddedRegistry


@contextlib.contextmanager
def running(folder, **settings):
    with (
        EmbeddedRegistry(data_dir=folder, **settings) as registry,
        httpx.Client(base_url=registry.http_url, trust_env=False, timeout=20) as client,
    ):
        yield client


@contextlib.contextmanager
def listening():
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def register(client, name, **fields):
    body = {"Name": name, "ID": name, **fields}
    client.put("/v1/agent/service/register", json=body).raise_for_status()


def status(client, name):
    (check,) = client.get(f"/v1/health/checks/{name}").json()
    return check["Status"]


def checks(port):
    """Return checks of all kinds that pass while something listens, each an hour apart."""
    script = f"exec 3<>/dev/tcp/127.0.0.1/{port} || exit 2"
    return {
        "tcp": {"TCP": f"127.0.0.1:{port}", "Interval": "1h"},
        "script": {"Args": ["bash", "-c", script], "Interval": "1h"},
        "three-in-a-row": {
            "TCP": f"127.0.0.1:{port}",
            "Interval": "1h",
            "FailuresBeforeCritical": 3,
        },
    }


def test_an_instance_that_died_meanwhile_is_critical_in_the_first_answer(tmp_path):
    scripts = {"enable_script_checks": True}
    with listening() as port:
        with running(tmp_path, **scripts) as client:
            for name, check in checks(port).items():
                register(client, name, Port=port, Check={**check, "Status": "passing"})
            # An outage of the registry is not this one's fault: it has a whole TTL.
            register(client, "ttl", Port=port, Check={"TTL": "1h", "Status": "passing"})
        with running(tmp_path, **scripts) as client:
            everything = [*checks(port), "ttl"]
            assert {name: status(client, name) for name in everything} == dict.fromkeys(
                everything, "passing"
            )
    with running(tmp_path, **scripts) as client:
        wanted = dict.fromkeys(everything, "critical") | {"ttl": "passing"}
        assert {name: status(client, name) for name in everything} == wanted


def test_a_check_that_hangs_does_not_hold_up_the_start(tmp_path):
    with listening() as port:
        hangs = {"HTTP": f"http://127.0.0.1:{port}/", "Interval": "1h", "Timeout": "10h"}
        with running(tmp_path) as client:
            register(client, "hangs", Check={**hangs, "Status": "passing"})
        with running(tmp_path) as client:
            assert status(client, "hangs") == "passing"


def test_another_node_name_takes_the_instances_over(tmp_path):
    with running(tmp_path, node_name="a") as client:
        register(client, "web", Check={"TTL": "1h", "Status": "passing"})
        external = {"Node": "x", "Address": "10.0.0.1", "Service": {"Service": "web"}}
        client.put("/v1/catalog/register", json=external).raise_for_status()
    for name in ("b", "c"):
        with running(tmp_path, node_name=name, datacenter=f"dc-{name}") as client:
            entries = client.get("/v1/health/service/web").json()
            assert [entry["Node"]["Node"] for entry in entries] == [name, "x"]
            assert {entry["Node"]["Datacenter"] for entry in entries} == {f"dc-{name}"}
            assert client.get("/v1/agent/services").json().keys() == {"web"}
            assert {each["Node"] for each in client.get("/v1/catalog/nodes").json()} == {name, "x"}
            client.put("/v1/agent/check/pass/service:web").raise_for_status()
    with running(tmp_path, node_name="c") as client:
        client.put("/v1/agent/service/deregister/web").raise_for_status()
        assert [e["Node"]["Node"] for e in client.get("/v1/health/service/web").json()] == ["x"]


def test_a_node_name_that_is_taken_is_refused(tmp_path):
    with running(tmp_path, node_name="a") as client:
        client.put("/v1/catalog/register", json={"Node": "x", "Address": "h"}).raise_for_status()
    with (
        pytest.raises(ConfigurationError, match="'x' is an external node"),
        running(tmp_path, node_name="x"),
    ):
        pass


def test_the_log_stays_short_under_steady_writes(tmp_path):
    peaks = [0]
    with running(tmp_path) as client:
        url = client.base_url

        def write(first):
            with httpx.Client(base_url=url, trust_env=False, timeout=30) as own:
                for number in range(first, first + 300):
                    register(own, f"s{number}", Meta={"pad": "x" * 500}, Check={"TTL": "1h"})
                    peaks.append((tmp_path / "registry.sqlite3-wal").stat().st_size)

        writers = [threading.Thread(target=write, args=(start,)) for start in range(0, 1200, 300)]
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.join()
    assert 1 << 20 <= max(peaks) < 24 << 20
    with running(tmp_path) as client:
        assert len(client.get("/v1/agent/services").json()) == 1200
