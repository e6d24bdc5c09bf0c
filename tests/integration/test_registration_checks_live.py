"""Instances with checks at real registries, which run the checks or leave them to the process."""

import contextlib
import http.server
import threading

import pytest

from trimtab import Directory, DiscoverySettings, Instance, register
from trimtab.check import Check
from trimtab.server import EmbeddedRegistry

AT_ONCE = DiscoverySettings(grace_s=0.0)


@pytest.fixture(scope="module")
def embedded():
    with EmbeddedRegistry() as running:
        yield running.url


@pytest.fixture(params=["embedded", pytest.param("consul", marks=pytest.mark.real)])
def registry(request):
    made = request.getfixturevalue(request.param)
    return made if isinstance(made, str) else made.url


class Health(http.server.BaseHTTPRequestHandler):
    code = 200
    asked = ()

    def do_GET(self):
        type(self).asked = (*self.asked, self.headers["User-Agent"])
        self.send_response(self.code)
        self.end_headers()

    def log_message(self, *args):
        pass


@contextlib.contextmanager
def backend():
    """An instance whose health is its class's code."""
    handler = type("OneHealth", (Health,), {})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield handler, Instance(host="127.0.0.1", port=server.server_address[1])
        finally:
            server.shutdown()
            thread.join()


def test_the_registry_looks_where_it_can(registry, request, wait_until):
    service = request.node.name.partition("[")[0] + request.node.callspec.id
    check = Check(kind="http", path="/health", interval_s=1.0, timeout_s=1.0, rise=1, fall=1)

    def status():
        return [each.status.value for each in directory.instances(service)]

    with (
        backend() as (handler, instance),
        Directory(registry, settings=AT_ONCE) as directory,
        register(registry, service, instance, ttl_s=20.0, check=check),
    ):
        wait_until(lambda: status() == ["passing"])
        handler.code = 503
        wait_until(lambda: status() == ["critical"])
        handler.code = 200
        wait_until(lambda: status() == ["passing"])
    if "consul" in service:
        # The first probe is this process's, and all others are Consul's.
        assert handler.asked[0] == "Trimtab Health Check"
        assert set(handler.asked[1:]) == {"Consul Health Check"}


def test_the_registrant_looks_where_the_registry_does_not(embedded, tmp_path, wait_until):
    well = tmp_path / "well"
    check = Check(kind="script", command=("test", "-e", str(well)), interval_s=0.05, fall=2)

    def status():
        return [each.status.value for each in directory.instances("by-script")]

    with Directory(embedded, settings=AT_ONCE) as directory:
        instance = Instance(host="127.0.0.1", port=1)
        with register(embedded, "by-script", instance, ttl_s=20.0, check=check):
            wait_until(lambda: status() == ["warning"])  # exit code 1
            well.touch()
            wait_until(lambda: status() == ["passing"])
            well.unlink()
            wait_until(lambda: status() == ["warning"])
