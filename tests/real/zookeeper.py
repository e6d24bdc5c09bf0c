"""ZooKeeper: one for the run, one for a test, and ensembles of three."""

from __future__ import annotations

import contextlib
import socket
from pathlib import Path
from shutil import rmtree

import pytest
import trustme
from cryptography.hazmat.primitives import serialization
from kazoo.client import KazooClient

from real.server import Server, free_ports, running, wait_until

_JAVA = Path("/usr/bin/java")
_JAR = Path("/usr/share/java/zookeeper.jar")
_PACKAGE = "org.apache.zookeeper.server"
_START_S = 60.0
_PATIENCE = {"max_tries": -1, "max_delay": 0.5}
_TICK_MS = 200
"""The servers keep sessions between 2 and 20 of these: 0.4 to 4 s."""


@pytest.fixture(scope="session")
def zookeeper(tmp_path_factory):
    """One ZooKeeper for the whole run; tests use base paths of their own."""
    with running(ZooKeeperServer(tmp_path_factory.mktemp("zookeeper"))) as server:
        yield server


@pytest.fixture(scope="session")
def guarded_zookeeper(tmp_path_factory):
    """One ZooKeeper with a second port for TLS, and with users of its own for SASL."""
    with running(GuardedZooKeeper(tmp_path_factory.mktemp("guarded"))) as server:
        yield server


@pytest.fixture
def own_zookeeper(tmp_path):
    """A ZooKeeper for one test, which may kill, freeze, wipe and restart it."""
    with running(ZooKeeperServer(tmp_path / "zookeeper")) as server:
        yield server


@pytest.fixture
def zookeepers(tmp_path):
    """An ensemble of three for one test."""
    with running(Ensemble(tmp_path)) as ensemble:
        yield ensemble


class ZooKeeperServer(Server):
    """One ZooKeeper, alone or a member of an ensemble.

    Args:
        folder: where it keeps its data.
        members: the lines `server.N=...` of its ensemble.
        number: which of them it is.
    """

    name = "ZooKeeper"

    def __init__(self, folder, *, members=(), number=0):
        super().__init__(_JAR if _JAVA.exists() else _JAVA, folder)
        self.members, self.number = members, number
        self.java_options, self.lines, self.classpath = [], [], str(_JAR)

    @property
    def address(self):
        return f"127.0.0.1:{self.port}"

    @property
    def url(self):
        return f"zk://{self.address}"

    @property
    def data(self):
        return self.folder / "data"

    def command(self):
        self.data.mkdir(exist_ok=True)
        (self.data / "myid").write_text(str(self.number))
        config = self.folder / "zoo.cfg"
        settings = [
            f"tickTime={_TICK_MS}",
            *("initLimit=20", "syncLimit=10", f"dataDir={self.data}"),
            *(f"clientPort={self.port}", "clientPortAddress=127.0.0.1", "maxClientCnxns=0"),
            *("admin.enableServer=false", "4lw.commands.whitelist=*"),
            *self.members,
            *self.lines,
        ]
        config.write_text("\n".join(settings) + "\n")
        return [
            *(_JAVA, "-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"),
            *("-Dzookeeper.forceSync=no", *self.java_options, "-cp", self.classpath),
            *(f"{_PACKAGE}.quorum.QuorumPeerMain", config),
        ]

    def is_ready(self):
        # A member cannot be before another is.
        return bool(self.members) or bool(self.mode())

    def mode(self):
        """`standalone`, `leader`, `follower`; "" while it does not serve."""
        return self._said("Mode:")

    def watches(self):
        """How many watches of data its clients have set."""
        return int(self.tell("wchs").rpartition(":")[2])

    def clients(self):
        """How many connections clients have to it, this question apart."""
        return int(self._said("Connections:")) - 1

    def tell(self, word):
        """Give it one of its four-letter words; "" if it does not answer."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), 1) as link:
                link.sendall(word.encode())
                return b"".join(iter(lambda: link.recv(4096), b"")).decode()
        except OSError:
            return ""

    def expire(self, client_id):
        """End a session as its time-out would: a second client of the same closes it."""
        twin = KazooClient(self.address, client_id=client_id)
        twin.start()
        twin.stop()
        twin.close()

    @contextlib.contextmanager
    def plain_client(self, **settings):
        """Give any other client than ours."""
        client = KazooClient(self.address, connection_retry=_PATIENCE, **settings)
        client.start()
        try:
            yield client
        finally:
            client.stop()
            client.close()

    def wipe(self):
        """Lose all data, while it does not run."""
        rmtree(self.data)

    def _said(self, label):
        lines = [line for line in self.tell("srvr").splitlines() if line.startswith(label)]
        return lines[0].partition(":")[2].strip() if lines else ""


class GuardedZooKeeper(ZooKeeperServer):
    """It wants certificates of clients at its second port, and knows the SASL user "me"."""

    how_many_ports = 2

    def __init__(self, folder):
        super().__init__(folder)
        self.authority = trustme.CA()
        jars = ("netty-codec", "netty-resolver", "netty-transport-native-unix-common")
        self.classpath += "".join(f":{_JAR.with_name(jar)}.jar" for jar in jars)
        self.java_options = [
            f"-Djava.security.auth.login.config={folder}/jaas.conf",
            f"-Dzookeeper.authProvider.sasl={_PACKAGE}.auth.SASLAuthenticationProvider",
            f"-Dzookeeper.serverCnxnFactory={_PACKAGE}.NettyServerCnxnFactory",
        ]

    @property
    def tls_address(self):
        return f"localhost:{self.ports[1]}"

    def command(self):
        self._write_files()
        self.lines = [
            *(f"secureClientPort={self.ports[1]}", "secureClientPortAddress=127.0.0.1"),
            *(f"ssl.keyStore.location={self.folder}/server.pem", "ssl.keyStore.type=PEM"),
            *(f"ssl.trustStore.location={self.folder}/ca.pem", "ssl.trustStore.type=PEM"),
            "ssl.hostnameVerification=false",
        ]
        return super().command()

    def _write_files(self):
        (self.folder / "jaas.conf").write_text(
            "Server { org.apache.zookeeper.server.auth.DigestLoginModule required "
            'user_me="s3cr3t"; };'
        )
        self.authority.cert_pem.write_to_path(self.folder / "ca.pem")
        client = self.authority.issue_cert("client@example.org")
        client.private_key_and_cert_chain_pem.write_to_path(self.folder / "client.pem")
        server = self.authority.issue_cert("localhost")
        chain = b"".join(each.bytes() for each in server.cert_chain_pems)
        (self.folder / "server.pem").write_bytes(_as_pkcs8(server.private_key_pem) + chain)


class Ensemble:
    """Three ZooKeepers that agree; `kill`, `freeze` and the rest act on all of them."""

    name = "ZooKeeper"

    def __init__(self, folder):
        ports = free_ports(9)
        clients, peers = ports[:3], list(zip(ports[3:6], ports[6:], strict=True))
        lines = [
            f"server.{n}=127.0.0.1:{peer}:{election}"
            for n, (peer, election) in enumerate(peers, start=1)
        ]
        self.members = [
            ZooKeeperServer(folder / f"zookeeper-{n}", members=lines, number=n) for n in (1, 2, 3)
        ]
        for member, port in zip(self.members, clients, strict=True):
            member.ports = [port]
        self.binary = self.members[0].binary

    @property
    def address(self):
        return ",".join(member.address for member in self.members)

    @property
    def url(self):
        return f"zk://{self.address}"

    def start(self):
        """Start those that do not run, and wait until all serve."""
        for member in self.members:
            if member.process is None or member.process.poll() is not None:
                member.start()
        wait_until(self.is_whole, _START_S)
        return self

    def is_whole(self):
        """Whether one leads and all others follow it."""
        return sorted(each.mode() for each in self.members) == ["follower", "follower", "leader"]

    def kill(self):
        for member in self.members:
            member.kill()

    def freeze(self):
        for member in self.members:
            member.freeze()

    def thaw(self):
        for member in self.members:
            member.thaw()

    def wipe(self):
        for member in self.members:
            member.wipe()

    def leader(self):
        """The member that leads; None while there is none."""
        return next((each for each in self.members if each.mode() == "leader"), None)

    def followers(self):
        return [each for each in self.members if each.mode() == "follower"]


def _as_pkcs8(key):
    """Write a key in the one form that Java reads."""
    loaded = serialization.load_pem_private_key(key.bytes(), None)
    return loaded.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
