"""Consul: agents in development mode, and clusters of three servers behind a client agent."""

from __future__ import annotations

import shutil

import httpx
import pytest
import trustme

from real.server import CACHE, Server, running, wait_until

_CONSUL = CACHE / "bullseye/root/usr/bin/consul"


@pytest.fixture(scope="session")
def consul(tmp_path_factory):
    """One Consul dev agent for the whole run; tests use service names of their own."""
    with running(ConsulAgent(_CONSUL, tmp_path_factory.mktemp("consul"))) as agent:
        yield agent


@pytest.fixture
def own_consul(tmp_path):
    """A Consul dev agent for one test, which may kill, freeze and restart it."""
    with running(ConsulAgent(_CONSUL, tmp_path / "consul")) as agent:
        yield agent


@pytest.fixture
def second_consul(tmp_path):
    """Another Consul dev agent for one test, which knows nothing of the first."""
    with running(ConsulAgent(_CONSUL, tmp_path / "second")) as agent:
        yield agent


@pytest.fixture(scope="module")
def guarded_consul(tmp_path_factory):
    """A Consul dev agent with access control: it speaks with the token that may do all."""
    with running(ConsulAgent(_CONSUL, tmp_path_factory.mktemp("guarded"))) as agent:
        agent.require_token("root-token")
        yield agent


@pytest.fixture(scope="module")
def secure_consul(tmp_path_factory):
    """A Consul dev agent that speaks TLS with those who show a certificate of its authority."""
    with running(SecureConsul(_CONSUL, tmp_path_factory.mktemp("secure"))) as agent:
        yield agent


@pytest.fixture
def consul_cluster(tmp_path):
    """Three Consul servers and a client agent for one test, which may do what it likes to them."""
    with running(ConsulCluster(_CONSUL, tmp_path)) as cluster:
        yield cluster


class ConsulProcess(Server):
    """Any Consul agent."""

    name = "Consul"
    how_many_ports = 3
    node = "n1"
    settings = "performance { raft_multiplier = 1 }"
    mode = ("-dev",)

    def __init__(self, binary, folder):
        super().__init__(binary, folder)
        self._headers = {}

    @property
    def url(self):
        return f"consul://127.0.0.1:{self.port}"

    @property
    def serf(self):
        """Where other agents join it."""
        return f"127.0.0.1:{self.ports[2]}"

    def command(self):
        return self.with_ports(self.ports)

    def with_ports(self, ports):
        """The command line, for HTTP, the servers' own protocol, and gossip."""
        http, server, serf = ports
        ports = (
            f"http = {http} dns = -1 server = {server} serf_lan = {serf} serf_wan = -1 grpc = -1"
        )
        return [
            *(self.binary, "agent", "-node", self.node, "-bind", "127.0.0.1"),
            *("-client", "127.0.0.1", "-hcl", "ports { " + ports + " }"),
            *("-hcl", "disable_update_check = true", "-hcl", self.settings, *self.mode),
        ]

    def get(self, path):
        """Ask it something, as any other client would."""
        return httpx.get(f"{self.http}{path}", headers=self._headers, trust_env=False, timeout=15)

    def delete(self, path):
        """Take something away, as any other client would."""
        return self._tell("DELETE", path)

    def put(self, path, body=None):
        """Tell it something, as any other client would."""
        return self._tell("PUT", path, body)

    def post(self, path, body=None):
        """Make something in it, as any other client would."""
        return self._tell("POST", path, body)

    def _tell(self, method, path, body=None):
        url, headers = f"{self.http}{path}", self._headers
        answer = httpx.request(method, url, json=body, headers=headers, trust_env=False)
        assert answer.status_code == httpx.codes.OK, answer.text
        return answer


class ConsulAgent(ConsulProcess):
    """A Consul agent in development mode: without a disk, so that a restart forgets all."""

    def is_ready(self):
        # A leader alone is too early: the catalog is still empty then.
        return "serfHealth" in self.get("/v1/health/node/n1").text

    def restart_with(self, settings):
        """Start again with further settings."""
        self.kill()
        self.settings = f"{self.settings} {settings}"
        self.start()

    def require_token(self, token):
        """Start again with access control: this token may do all, and nobody else anything."""
        self.kill()
        self.settings = (
            'acl { enabled = true default_policy = "deny" '
            f'tokens {{ master = "{token}" agent = "{token}" }} }}'
        )
        self._headers = {"X-Consul-Token": token}
        self.start()


class SecureConsul(ConsulAgent):
    """An agent that speaks TLS besides: `ca`, `cert` and `key` are what its clients need."""

    how_many_ports = 4

    def __init__(self, binary, folder):
        super().__init__(binary, folder)
        authority = trustme.CA()
        self.ca, self.cert, self.key = (folder / name for name in ("ca", "cert", "key"))
        authority.cert_pem.write_to_path(self.ca)
        for name, identity in (("", "client"), ("server-", "127.0.0.1")):
            pair = authority.issue_cert(identity)
            pair.cert_chain_pems[0].write_to_path(folder / f"{name}cert")
            pair.private_key_pem.write_to_path(folder / f"{name}key")
        self._settings = (
            f'ca_file = "{self.ca}" cert_file = "{folder}/server-cert" '
            f'key_file = "{folder}/server-key" verify_incoming_https = true'
        )

    @property
    def url(self):
        return f"consul+https://127.0.0.1:{self.ports[3]}"

    def command(self):
        *ports, https = self.ports
        return [
            *self.with_ports(ports),
            *("-hcl", f"ports {{ https = {https} }}", "-hcl", self._settings),
        ]


class ConsulMember(ConsulProcess):
    """An agent of a cluster, server or client, with a disk."""

    def __init__(self, binary, folder, cluster):
        super().__init__(binary, folder)
        self.node, self._cluster = folder.name, cluster

    @property
    def mode(self):
        others = [each.serf for each in self._cluster.servers if each is not self and each.ports]
        servers = ("-server", "-bootstrap-expect", "3") if self in self._cluster.servers else ()
        joins = [word for serf in others for word in ("-retry-join", serf)]
        return ("-data-dir", self.folder / "data", "-retry-interval", "1s", *servers, *joins)

    def is_ready(self):
        return self.get("/v1/agent/self").status_code == httpx.codes.OK


class ConsulCluster:
    """Three servers and a client agent, which programs ask, as in production."""

    name = "Consul"

    def __init__(self, binary, folder):
        self.binary = binary
        self.servers = []
        self.servers += [ConsulMember(binary, folder / f"s{each}", self) for each in (1, 2, 3)]
        self.agent = ConsulMember(binary, folder / "agent", self)

    @property
    def url(self):
        """The client agent's."""
        return self.agent.url

    def start(self):
        """Start whatever does not run, and wait until all are in the catalog."""
        for member in (*self.servers, self.agent):
            if member.process is None or member.process.poll() is not None:
                member.start()
        wait_until(self.is_whole)
        return self

    def is_whole(self):
        """Whether the catalog, asked at the client agent, knows all four."""
        answer = self.agent.get("/v1/health/state/passing")
        if answer.status_code != httpx.codes.OK:
            return False
        nodes = {each["Node"] for each in answer.json() if each["CheckID"] == "serfHealth"}
        return nodes == {member.node for member in (*self.servers, self.agent)}

    def leader(self):
        """The server that leads, once one does."""
        return wait_until(self._leader)

    def followers(self):
        """The servers that do not lead."""
        leader = self.leader()
        return [each for each in self.servers if each is not leader]

    def kill(self):
        """End all as a power cut would."""
        for member in (self.agent, *self.servers):
            member.kill()

    def wipe(self):
        """Have all forget what they know, once they are dead."""
        for member in (self.agent, *self.servers):
            shutil.rmtree(member.folder / "data")

    def _leader(self):
        for server in self.servers:
            if server.process.poll() is None:
                place = server.get("/v1/status/leader").json()
                for each in self.servers:
                    if place == f"127.0.0.1:{each.ports[1]}" and each.process.poll() is None:
                        return each
        return None
