"""A thousand services with ten thousand instances in one registry, followed by one process."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
from base64 import b64encode
from pathlib import Path

import pytest
from troubled_registries import KINDS, one_etcd, own_of  # noqa: F401 - a fixture among them

from real.server import die_with_parent

pytestmark = pytest.mark.real
INSTANCES_EACH = 10
MB = 2**20
PROGRAM = Path(__file__).parent / "many_services_program.py"


def fill_consul(server, names):
    """Register all at a node without an agent, whose registrations nobody tidies."""
    server.put("/v1/catalog/register", {"Node": "elsewhere", "Address": "10.0.0.1"})
    for some in chunks(instances(names), 64):
        services = [
            {"Service": name, "ID": id_, "Address": "10.0.0.1", "Port": port}
            for name, id_, port in some
        ]
        server.put(
            "/v1/txn",
            [{"Service": {"Verb": "set", "Node": "elsewhere", "Service": s}} for s in services],
        )


def fill_etcd(server, names):
    for some in chunks(instances(names), 128):
        puts = [
            {"key": b64(f"{name}/{id_}"), "value": b64(f'{{"Addr":"10.0.0.1:{port}"}}')}
            for name, id_, port in some
        ]
        server.post("/v3/kv/txn", {"success": [{"request_put": put} for put in puts]})


def fill_zookeeper(server, names):
    with server.plain_client() as client:
        client.ensure_path("/services")
        for some in chunks([f"/services/{name}" for name in names], 500):
            commit(client, [(path, b"") for path in some])
        for some in chunks(instances(names), 500):
            commit(client, [curator(name, id_, port) for name, id_, port in some])


def curator(name, id_, port):
    """The path and the data of a node in Curator's format."""
    node = {"name": name, "id": id_, "address": "10.0.0.1", "port": port}
    return f"/services/{name}/{id_}", json.dumps(node).encode()


def commit(client, nodes):
    transaction = client.transaction()
    for path, value in nodes:
        transaction.create(path, value)
    assert all(isinstance(each, str) for each in transaction.commit())


def instances(names):
    return [
        (name, f"{name}-{number}", 1 + number) for name in names for number in range(INSTANCES_EACH)
    ]


def chunks(items, size):
    return [items[start : start + size] for start in range(0, len(items), size)]


def b64(text):
    return b64encode(text.encode()).decode()


def add_consul(server, name):
    service = {"Service": name, "ID": f"{name}-new", "Address": "10.0.0.1", "Port": 99}
    body = {"Node": "elsewhere", "Address": "10.0.0.1", "Service": service}
    server.put("/v1/catalog/register", body)


def add_etcd(server, name):
    server.put(f"{name}/{name}-new", '{"Addr":"10.0.0.1:99"}')


def add_zookeeper(server, name):
    with server.plain_client() as client:
        client.create(*curator(name, f"{name}-new", 99))


FILL = {"consul": fill_consul, "etcd": fill_etcd, "zookeeper": fill_zookeeper}
ADD = {"consul": add_consul, "etcd": add_etcd, "zookeeper": add_zookeeper}


class Program:
    """The client, a process of its own."""

    def __init__(self, url, services):
        self.process = subprocess.Popen(
            [sys.executable, PROGRAM, url, str(services)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            preexec_fn=die_with_parent,  # noqa: PLW1509 - sets one flag of the kernel
        )

    def says(self):
        line = self.process.stdout.readline()
        assert line, "the client has ended"
        return json.loads(line)

    def figures(self):
        print(file=self.process.stdin, flush=True)
        return self.says()

    def connections_to(self, port):
        """How many connections it has to a local port."""
        mine = set()
        for link in Path(f"/proc/{self.process.pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):
                mine.add(str(link.readlink()))
        rows = [row.split() for row in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        return sum(
            int(row[2].partition(":")[2], 16) == port and f"socket:[{row[9]}]" in mine
            for row in rows
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait(60)
        self.process.stdout.close()


@pytest.mark.parametrize(
    ("services", "steady_s"),
    [
        pytest.param(40, 0.5, id="short"),
        pytest.param(1000, 20.0, id="soak", marks=pytest.mark.soak),
    ],
)
@pytest.mark.parametrize("kind", KINDS)
def test_one_process_follows_all_services(request, wait_until, kind, services, steady_s):
    server, options = own_of(request, kind), ""
    if kind == "consul":
        # By default an agent serves 200 connections of one address, and each watch holds one.
        server.restart_with("limits { http_max_conns_per_client = 5000 }")
        options = "?watches=2000"
    names = [f"many-{number}" for number in range(services)]
    FILL[kind](server, names)
    total = services * INSTANCES_EACH
    with Program(server.url + options, services) as program:
        before, first = program.says(), program.says()
        assert (first["instances"], first["failing"]) == (total, 0)
        program.figures()
        threading.Event().wait(steady_s)
        steady, connections = program.figures(), program.connections_to(server.port)
        ADD[kind](server, names[7])
        wait_until(lambda: program.figures()["instances"] == total + 1)
        last = program.figures()
        held = (last["rss"] - before["rss"]) / MB
        watches = server.watches() if kind == "zookeeper" else connections
        print(
            f"\n{kind}: {services} services, {total} instances: all known after "
            f"{first['took_s']:.1f} s; {held:.1f} MB more, {1024 * held / total:.1f} KB an "
            f"instance; {connections} connections, {watches} watches at the server, "
            f"{last['tasks']} tasks, {last['threads']} threads; {steady['cpu']:.1%} of a "
            "processor when nothing happens"
        )
    assert last["changes"] == services + 1, "each is told once of the first list"
    assert last["failing"] == 0
    assert steady["rss"] - first["rss"] < 24 * MB
    assert held < 8 + 0.15 * services
    # One supervisor for each service, though two directories ask, and its full reads.
    assert last["tasks"] == 2 * services + 1
    if kind == "zookeeper":
        # It counts those on data alone: one for each instance.
        assert (connections, watches) == (1, total + 1)
    else:
        # Each watch holds one; a few more were opened at the start, and are idle.
        assert services <= connections < 1.5 * services
