"""Apache Curator, the implementation that others use, reads what we write, and the reverse."""

from __future__ import annotations

import subprocess
from pathlib import Path
from uuid import uuid4

import pytest

from real.server import Server, die_with_parent, running
from trimtab.instance import Instance, Status
from trimtab.registries import connect
from trimtab.testing.registry_harness import until

pytestmark = [pytest.mark.real, pytest.mark.anyio]
_PROGRAM = Path(__file__).with_name("CuratorDiscovery.java")
_JARS = Path("/usr/share/java")

PLAIN = Instance(id="plain", host="10.0.0.1", port=81)
SECURE = Instance(id="secure", host="10.0.0.2", port=443, scheme="https")
RICH = Instance(
    id="rich",
    host="10.0.0.3",
    port=83,
    scheme="http",
    weight=2.5,
    zone="east",
    metadata={"rack": "r7"},
    status=Status.WARNING,
)
LEAVING = Instance(id="leaving", host="10.0.0.4", port=84, status=Status.DRAINING)


class Curator(Server):
    """A Java program that discovers by Curator; see the file."""

    name = "Curator"

    def __init__(self, folder, *arguments):
        super().__init__(_JARS / "curator-x-discovery.jar", folder)
        self.arguments = arguments

    def start(self):
        with self._log.open("w") as log:
            self.process = subprocess.Popen(
                ["java", "-XX:TieredStopAtLevel=1", "-cp", f"{_JARS}/*", _PROGRAM, *self.arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                preexec_fn=die_with_parent,  # noqa: PLW1509 - sets one flag of the kernel
            )
        self.lines_before("ready")
        return self

    def kill(self):
        super().kill()
        for pipe in (self.process.stdin, self.process.stdout):
            pipe.close()

    def read(self, service, kind):
        """What a reader of a kind sees: the words per instance."""
        return [line.split(" ") for line in self.tell(f"read {service} {kind}")]

    def tell(self, order):
        self.process.stdin.write(f"{order}\n")
        self.process.stdin.flush()
        return self.lines_before("end")

    def lines_before(self, last):
        lines = []
        while (line := self.process.stdout.readline().strip()) != last:
            assert line, f"it has ended, after {lines}:\n{self.log_tail()}"
            lines.append(line)
        return lines


@pytest.fixture(scope="module")
def base():
    return f"/curator-{uuid4().hex[:8]}"


@pytest.fixture(scope="module")
def curator(zookeeper, base, tmp_path_factory):
    folder = tmp_path_factory.mktemp("curator")
    with running(Curator(folder, zookeeper.address, base)) as program:
        yield program


@pytest.fixture
async def registry(zookeeper, base):
    registry = connect(f"{zookeeper.url}{base}")
    yield registry
    await registry.aclose()


def seen(rows):
    return {row[0]: tuple(row[1:]) for row in rows}


async def test_curator_reads_what_we_write(curator, registry):
    for instance in (PLAIN, SECURE, RICH, LEAVING):
        await registry.register("ours", instance, ttl_s=4)
    for kind in ("typed", "untyped", "none"):
        assert seen(curator.read("ours", kind)) == {
            "plain": ("ours", "10.0.0.1", "81", "null", "true", "DYNAMIC", "null"),
            "secure": ("ours", "10.0.0.2", "null", "443", "true", "DYNAMIC", "null"),
            "rich": ("ours", "10.0.0.3", "83", "null", "true", "DYNAMIC", "null"),
            "leaving": ("ours", "10.0.0.4", "84", "null", "false", "DYNAMIC", "null"),
        }, kind


async def test_strict_readers_too_read_what_needs_no_field_of_ours(curator, registry):
    for instance in (PLAIN, SECURE):
        await registry.register("ours-plain", instance, ttl_s=4)
    assert set(seen(curator.read("ours-plain", "strict"))) == {"plain", "secure"}
    await registry.register("ours-plain", RICH, ttl_s=4)
    assert curator.read("ours-plain", "strict") == [["error", "UnrecognizedPropertyException"]]


async def test_we_read_what_curator_writes_whatever_its_payload(curator, registry):
    listing = await registry.fetch("theirs")
    assert listing.skipped == ()
    found = {each.id: each for each in listing.instances}
    assert {id_: (each.host, each.port, each.scheme) for id_, each in found.items()} == {
        "disabled": ("10.1.0.1", 8085, None),
        "map": ("10.1.0.1", 8083, None),
        "plain": ("10.1.0.1", 8080, None),
        "secure": ("10.1.0.1", 8443, "https"),
        "spec": ("10.1.0.1", 8082, None),
        "text": ("10.1.0.1", 8084, None),
        "typed": ("10.1.0.1", 8081, None),
    }
    assert dict(found["typed"].metadata) == {"zone": "west", "cores": "8"}
    assert found["typed"].zone == "west"
    assert dict(found["map"].metadata) == {"weight": "2.5"}
    assert found["map"].weight == 2.5
    assert dict(found["text"].metadata) == {"payload": "words"}
    assert found["disabled"].status is Status.DRAINING
    assert found["plain"].status is Status.PASSING


async def test_both_register_side_by_side_and_each_sees_the_others_go(curator, registry):
    ours = PLAIN.with_(id="ours")
    await registry.register("both", ours, ttl_s=4)
    for kind in ("typed", "untyped", "none", "strict"):
        assert set(seen(curator.read("both", kind))) == {"curator", "ours"}
    await registry.deregister("both", ours)
    assert set(seen(curator.read("both", "untyped"))) == {"curator"}
    await registry.register("both", ours, ttl_s=4)
    assert curator.tell("retire") == []
    await until(registry, "both", lambda each: each.instances == (ours,), 20)
