"""Consul."""

from __future__ import annotations

import httpx
import pytest

from real.server import CACHE, Server, running

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


class ConsulAgent(Server):
    """A Consul agent in development mode: without a disk, so that a restart forgets all."""

    name = "Consul"
    how_many_ports = 3

    def __init__(self, binary, folder):
        super().__init__(binary, folder)
        self.settings = "performance { raft_multiplier = 1 }"
        self._headers = {}

    @property
    def url(self):
        return f"consul://127.0.0.1:{self.port}"

    def command(self):
        http, server, serf = self.ports
        ports = (
            f"http = {http} dns = -1 server = {server} serf_lan = {serf} serf_wan = -1 grpc = -1"
        )
        return [
            *(self.binary, "agent", "-dev", "-node", "n1", "-bind", "127.0.0.1"),
            *("-client", "127.0.0.1", "-hcl", "ports { " + ports + " }"),
            *("-hcl", "disable_update_check = true", "-hcl", self.settings),
        ]

    def is_ready(self):
        # A leader alone is too early: the catalog is still empty then.
        url = f"{self.http}/v1/health/node/n1"
        return "serfHealth" in httpx.get(url, headers=self._headers, trust_env=False).text

    def require_token(self, token):
        """Start again with access control: this token may do all, and nobody else anything."""
        self.kill()
        self.settings = (
            'acl { enabled = true default_policy = "deny" '
            f'tokens {{ master = "{token}" agent = "{token}" }} }}'
        )
        self._headers = {"X-Consul-Token": token}
        self.start()

    def put(self, path, body=None):
        """Tell it something, as any other client would."""
        answer = httpx.put(f"{self.http}{path}", json=body, headers=self._headers, trust_env=False)
        assert answer.status_code == httpx.codes.OK, answer.text
        return answer
