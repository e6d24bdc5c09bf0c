"""DNS servers: Knot, whose zone changes while it runs, dnsmasq, and Consul's own."""

from __future__ import annotations

from pathlib import Path

import dns.exception
import dns.message
import dns.query
import dns.rcode
import dns.update
import pytest

from real.consul import ConsulAgent
from real.server import CACHE, Server, running

_KNOT = Path("/usr/sbin/knotd")
_DNSMASQ = Path("/usr/sbin/dnsmasq")
_CONSUL = CACHE / "bullseye/root/usr/bin/consul"
ZONE = "svc.test"
SOA_MINIMUM_S = 7


@pytest.fixture(scope="session")
def knot(tmp_path_factory):
    """One Knot for the whole run, the master of `svc.test`; tests use names of their own."""
    with running(Knot(_KNOT, tmp_path_factory.mktemp("knot"))) as server:
        yield server


@pytest.fixture
def own_knot(tmp_path):
    """A Knot for one test, which may kill, freeze and restart it."""
    with running(Knot(_KNOT, tmp_path / "knot")) as server:
        yield server


@pytest.fixture
def dnsmasq(tmp_path):
    """A dnsmasq that serves the records a test gives to its `records` before `restart`."""
    with running(Dnsmasq(_DNSMASQ, tmp_path / "dnsmasq")) as server:
        yield server


@pytest.fixture
def consul_dns(tmp_path):
    """A Consul agent that also answers DNS, on its `dns_port`."""
    with running(ConsulDns(_CONSUL, tmp_path / "consul")) as agent:
        yield agent


def _answers(port):
    """Whether something on this port speaks DNS, whatever it says."""
    query = dns.message.make_query("ready.test.", "A")
    try:
        return dns.query.udp(query, "127.0.0.1", port=port, timeout=0.2)
    except (dns.exception.Timeout, OSError):
        return None


class Knot(Server):
    """A Knot that takes dynamic updates (RFC 2136) of its zone from anybody on loopback."""

    name = "Knot"

    def command(self):
        zone = self.folder / f"{ZONE}.zone"
        zone.write_text(
            f"$ORIGIN {ZONE}.\n@ 60 SOA ns hostmaster 1 3600 600 86400 {SOA_MINIMUM_S}\n"
            "@ 60 NS ns\nns 60 A 127.0.0.1\n"
        )
        config = self.folder / "knot.conf"
        config.write_text(
            f"server:\n  listen: 127.0.0.1@{self.port}\n  rundir: {self.folder}\n"
            "  background-workers: 1\n  udp-workers: 1\n  tcp-workers: 1\n"
            f"database:\n  storage: {self.folder}\n"
            "log:\n  - target: stderr\n    any: info\n"
            "acl:\n  - id: anybody\n    address: 127.0.0.1\n    action: update\n"
            f"zone:\n  - domain: {ZONE}\n    storage: {self.folder}\n    file: {zone}\n"
            "    acl: anybody\n    zonefile-sync: -1\n    journal-content: none\n"
        )
        return [self.binary, "-c", config]

    def is_ready(self):
        return bool(_answers(self.port))

    def change(self, *changes):
        """Replace records: each change is (name, type) or (name, type, ttl, *rdatas)."""
        update = dns.update.UpdateMessage(ZONE)
        for name, kind, *rest in changes:
            if rest:
                update.replace(name, rest[0], kind, *rest[1:])
            else:
                update.delete(name, kind)
        answer = dns.query.tcp(update, "127.0.0.1", port=self.port, timeout=5)
        assert answer.rcode() == dns.rcode.NOERROR, answer


class Dnsmasq(Server):
    """A dnsmasq that knows the `records` (its own options for them) and nothing else."""

    name = "dnsmasq"

    def __init__(self, binary, folder):
        super().__init__(binary, folder)
        self.records: list[str] = []

    def command(self):
        return [
            *(self.binary, "-k", "--conf-file=/dev/null", f"--port={self.port}", "--user="),
            *("--listen-address=127.0.0.1", "--bind-interfaces", "--no-resolv", "--no-hosts"),
            *("--local=/test/", "--local-ttl=3", "--pid-file=", *self.records),
        ]

    def is_ready(self):
        return bool(_answers(self.port))

    def serve(self, *records):
        """Start again with other records."""
        self.kill()
        self.records = [f"--{record}" for record in records]
        self.start()


class ConsulDns(ConsulAgent):
    """A Consul agent in development mode that answers DNS too."""

    how_many_ports = 4

    @property
    def dns_port(self):
        return self.ports[3]

    def command(self):
        *ports, dns_port = self.ports
        everything, self.ports = self.ports, ports
        command = super().command()
        self.ports = everything
        return [*command, "-hcl", f"ports {{ dns = {dns_port} }}"]
