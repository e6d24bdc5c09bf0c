"""Checks that hang do not hold up the others: the honest ones are checked on time."""

import contextlib
import socket

import httpx
import pytest

from trimtab.server import EmbeddedRegistry

TEN_HOURS = "36000s"


@pytest.fixture
def registry():
    with EmbeddedRegistry(enable_script_checks=True) as registry:
        yield registry


@pytest.fixture
def client(registry):
    with httpx.Client(base_url=registry.http_url, trust_env=False, timeout=20) as client:
        yield client


@contextlib.contextmanager
def listening():
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as server:
        yield server.getsockname()[1]


def register(client, name, check):
    body = {"ID": name, "Name": name, "Check": check}
    answer = client.put("/v1/agent/service/register", json=body)
    assert answer.status_code == 200, answer.text


def status(client, name):
    (check,) = client.get(f"/v1/health/checks/{name}").json()
    return check["Status"]


def hanging(kind, port):
    """Return a check that never ends by itself, with a time-out of ten hours."""
    if kind == "script":
        return {"Args": ["sleep", "36000"], "Interval": "100ms", "Timeout": TEN_HOURS}
    return {"HTTP": f"http://127.0.0.1:{port}/", "Interval": "100ms", "Timeout": TEN_HOURS}


@pytest.mark.parametrize(("kind", "how_many"), [("http", 70), ("http", 250), ("script", 70)])
def test_honest_checks_go_on_beside_hanging_ones(client, wait_until, kind, how_many):
    with listening() as hole:
        with listening() as alive:
            honest = {"TCP": f"127.0.0.1:{alive}", "Interval": "200ms"}
            register(client, "before", honest)
            wait_until(lambda: status(client, "before") == "passing")
            for number in range(how_many):
                register(client, f"hangs-{number}", hanging(kind, hole))
            register(client, "after", honest)
            wait_until(lambda: status(client, "after") == "passing", deadline_s=how_many / 7)
        for name in ("before", "after"):
            wait_until(lambda name=name: status(client, name) == "critical", deadline_s=5)
