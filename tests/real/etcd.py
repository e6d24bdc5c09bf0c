"""etcd: 3.4 and 3.5, alone and in clusters of three, with TLS and with users."""

from __future__ import annotations

import contextlib
import shutil
import ssl
from base64 import b64decode, b64encode
from pathlib import Path

import httpx
import pytest

from real.server import CACHE, Server, free_ports, running, wait_until

BINARIES = {"3.4": Path("/usr/bin/etcd"), "3.5": CACHE / "trixie/root/usr/bin/etcd"}
ETCDCTL = Path("/usr/bin/etcdctl")


@pytest.fixture(scope="session")
def etcd34(tmp_path_factory):
    """One etcd 3.4 for the whole run; tests use prefixes of their own."""
    with running(Etcd(BINARIES["3.4"], tmp_path_factory.mktemp("etcd34"))) as server:
        yield server


@pytest.fixture(scope="session")
def etcd35(tmp_path_factory):
    """One etcd 3.5 for the whole run; tests use prefixes of their own."""
    with running(Etcd(BINARIES["3.5"], tmp_path_factory.mktemp("etcd35"))) as server:
        yield server


@pytest.fixture(params=BINARIES)
def etcd(request):
    """The etcd of the run, once in each version."""
    return request.getfixturevalue("etcd" + request.param.replace(".", ""))


@pytest.fixture(params=[pytest.param("3.4", marks=pytest.mark.soak), "3.5"])
def own_etcd(request, tmp_path):
    """An etcd for one test, which may kill, wipe and freeze it; 3.4 starts slowly."""
    with running(Etcd(BINARIES[request.param], tmp_path / "etcd")) as server:
        yield server


@pytest.fixture
def etcd_cluster(tmp_path):
    """Three etcd 3.5 for one test, which may kill, wipe and freeze them."""
    with etcd_members("3.5", tmp_path) as three:
        yield three


@contextlib.contextmanager
def etcd_members(version, folder):
    """Run three members of one cluster."""
    members = [Etcd(BINARIES[version], folder / f"n{n}", number=n) for n in (1, 2, 3)]
    for each in members:
        each.members, each.ports = members, free_ports(each.how_many_ports)
        each.settings = []
    with contextlib.ExitStack() as held:
        for each in members:
            held.enter_context(running(each))
        three = EtcdCluster(members)
        three.wait()
        yield three


class Etcd(Server):
    """An etcd, alone unless it is told of other members.

    With `tls`, a folder of ca.pem, server.pem and client.pem, it speaks TLS and wants
    certificates of its clients.
    """

    name = "etcd"
    how_many_ports = 2

    def __init__(self, binary, folder, *, number=1, tls=None):
        super().__init__(binary, folder)
        self.number, self.tls = number, tls
        self.members = [self]
        # One that is alone need not wait for others to speak up.
        self.settings = ["--heartbeat-interval", "20", "--election-timeout", "200"]
        self.verify = False
        self._root, self._token = "", ""
        if tls:
            self.verify = ssl.create_default_context(cafile=tls / "ca.pem")
            self.verify.load_cert_chain(tls / "client.pem")

    @property
    def http(self):
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"

    @property
    def url(self):
        """What the adapter is told, without a prefix."""
        return self.http.replace("https", "etcd+https").replace("http://", "etcd://")

    def command(self):
        peers = ",".join(f"n{each.number}={each.peer}" for each in self.members)
        command = [
            *(self.binary, "--name", f"n{self.number}", "--data-dir", self.folder / "data"),
            *("--listen-client-urls", self.http, "--advertise-client-urls", self.http),
            *("--listen-peer-urls", self.peer, "--initial-advertise-peer-urls", self.peer),
            *("--initial-cluster", peers, "--initial-cluster-token", "t", "--logger", "zap"),
            *("--bcrypt-cost", "4", *self.settings),
        ]
        if self.binary == BINARIES["3.5"]:
            command.append("--unsafe-no-fsync")
        if self.tls:
            server = self.tls / "server.pem"
            command += [*("--cert-file", server, "--key-file", server, "--client-cert-auth")]
            command += ["--trusted-ca-file", self.tls / "ca.pem"]
        return command

    @property
    def peer(self):
        return f"http://127.0.0.1:{self.ports[1]}"

    def is_ready(self):
        # One of several cannot be before another is: the cluster waits for all of them.
        return len(self.members) > 1 or self.is_healthy()

    def is_healthy(self):
        with contextlib.suppress(httpx.TransportError):
            answer = httpx.get(f"{self.http}/health", verify=self.verify, trust_env=False)
            return answer.json()["health"] == "true"
        return False

    def is_leader(self):
        status = self.post("/v3/maintenance/status")
        return status.get("leader") == status["header"]["member_id"]

    def wipe(self):
        """Forget all; it must not run."""
        shutil.rmtree(self.folder / "data")

    def post(self, path, body=None):
        """Tell it something, as any other client would; as root where it has users."""
        answer = self._post(path, body)
        if self._root and answer.status_code in {400, 401}:
            # With a token that it does not know, 3.4 does not even authenticate.
            self._token, login = "", {"name": "root", "password": self._root}
            self._token = self._post("/v3/auth/authenticate", login).json()["token"]
            answer = self._post(path, body)
        assert answer.status_code == httpx.codes.OK, answer.text
        return answer.json()

    def _post(self, path, body):
        return httpx.post(
            self.http + path,
            json=body or {},
            headers={"Authorization": self._token} if self._token else {},
            verify=self.verify,
            trust_env=False,
        )

    def put(self, key, value):
        """Write a key, as any other client would."""
        return self.post("/v3/kv/put", {"key": base64(key), "value": base64(value)})

    def delete(self, key, range_end=None):
        """Delete a key, or all up to another one."""
        end = {"range_end": base64(range_end)} if range_end else {}
        self.post("/v3/kv/deleterange", {"key": base64(key), **end})

    def transact(self, values):
        """Write keys, and delete those whose value is None, all at once."""
        changes = [
            {"request_delete_range": {"key": base64(key)}}
            if value is None
            else {"request_put": {"key": base64(key), "value": base64(value)}}
            for key, value in values.items()
        ]
        self.post("/v3/kv/txn", {"success": changes})

    def watchers(self):
        """How many watches it keeps."""
        lines = httpx.get(f"{self.http}/metrics", trust_env=False).text.splitlines()
        (line,) = (each for each in lines if each.startswith("etcd_debugging_mvcc_watcher_total "))
        return int(line.split()[1])

    def names_under(self, prefix):
        """What follows the prefix in the keys that have it; it ends with a slash."""
        end = prefix[:-1] + "0"
        question = {"key": base64(prefix), "range_end": base64(end), "keys_only": True}
        found = self.post("/v3/kv/range", question).get("kvs", ())
        return {b64decode(each["key"]).decode().removeprefix(prefix) for each in found}

    def leases(self):
        """How many leases there are."""
        return len(self.post("/v3/lease/leases").get("leases", ()))

    def compact(self):
        """Forget all history up to now."""
        revision = self.put("compaction", "now")["header"]["revision"]
        self.post("/v3/kv/compaction", {"revision": revision, "physical": True})

    def require_users(self, *, root, user):
        """Take questions only of root and of "user", who may do all under "mine/"."""
        for name, password in (("root", root), ("user", user)):
            self.post("/v3/auth/user/add", {"name": name, "password": password})
            self.post("/v3/auth/role/add", {"name": name})
            self.post("/v3/auth/user/grant", {"user": name, "role": name})
        mine = {"permType": "READWRITE", "key": base64("mine/"), "range_end": base64("mine0")}
        self.post("/v3/auth/role/grant", {"name": "user", "perm": mine})
        self.post("/v3/auth/enable")
        self._root = root


class EtcdCluster:
    """Three members; `url` names all of them."""

    def __init__(self, members):
        self.members = members

    @property
    def url(self):
        return "etcd://" + ",".join(f"127.0.0.1:{each.port}" for each in self.members)

    def leader(self):
        """The member that leads now, among those that run."""
        return wait_until(lambda: next((each for each in self.alive() if each.is_leader()), None))

    def followers(self):
        """The others that run."""
        leader = self.leader()
        return [each for each in self.alive() if each is not leader]

    def alive(self):
        return [each for each in self.members if each.process.poll() is None]

    def kill(self):
        """End all of them as a power cut would."""
        for each in self.members:
            each.kill()

    def wipe(self):
        """Let all of them forget all; none may run."""
        for each in self.members:
            each.wipe()

    def start(self, *members):
        """Start members again, all of them by default, with what their disks hold."""
        for each in members or self.members:
            each.start()
        self.wait()

    def wait(self):
        """Wait until all that run are healthy."""
        wait_until(lambda: all(each.is_healthy() for each in self.alive()))


def base64(text):
    return b64encode(text.encode()).decode()
