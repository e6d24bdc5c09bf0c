"""One scenario, one seed: the same trace at every depth, in every process, on every Python."""

from __future__ import annotations

import json
import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from trimtab_sim import ready
from trimtab_sim.simulation import simulate

HERE = Path(__file__).parent
PROGRAM = runpy.run_path(str(HERE / "digest_program.py"))
ALIKE, TOLD_APART, digest = PROGRAM["ALIKE"], PROGRAM["TOLD_APART"], PROGRAM["digest"]
STRATEGIES = ["least_latency", "least_request", "round_robin", "random"]
IMPORTS = "import simpy, httpx, httpcore, numpy, msgspec, cachetools"
SOURCES = [str(HERE.parents[1] / "sdk"), str(HERE.parents[1] / "simulator")]


pytestmark = pytest.mark.untraced


@pytest.mark.parametrize("name", [*ALIKE, *TOLD_APART])
def test_a_real_client_has_the_same_trace_as_the_core(name):
    text = ALIKE.get(name) or TOLD_APART[name]
    assert digest(text, "client") == digest(text, "core")


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_the_traces_are_the_same_with_every_strategy(strategy):
    core, client = (
        digest(ALIKE["crash"], depth, strategy=strategy) for depth in ("core", "client")
    )
    assert client == core


@pytest.mark.parametrize("name", ALIKE)
def test_on_an_ideal_network_the_wire_changes_nothing(name):
    assert digest(ALIKE[name], "wire") == digest(ALIKE[name], "core")


@pytest.mark.parametrize("name", TOLD_APART)
def test_the_wire_knows_connections(name):
    assert digest(TOLD_APART[name], "wire") != digest(TOLD_APART[name], "core")


# On a network with latency the families' pools go ways of their own within one instant.
@pytest.mark.parametrize(
    ("name", "depth"), [("crash", "client"), ("network", "client"), ("crash", "wire")]
)
def test_both_families_of_clients_do_the_same(name, depth):
    pytest.importorskip("httpx2")
    text = ALIKE.get(name) or TOLD_APART[name]
    assert digest(text, depth, family="httpx2") == digest(text, depth)


@pytest.mark.parametrize("name", ready.names())
def test_a_real_client_has_the_same_trace_as_the_core_in_every_ready_scenario(name):
    scenario = ready.load(name)
    for number, group in enumerate(scenario.clients):
        rate = f"{group.arrivals.rate / 40}/s"
        scenario = scenario.replace(f"clients[{number}].arrivals.rate", rate)
    core, client = (simulate(scenario, seed=3, depth=depth) for depth in ("core", "client"))
    assert client.recorder.digest() == core.recorder.digest()
    assert client.recorder.outcomes == core.recorder.outcomes
    assert client.recorder.sent == core.recorder.sent
    assert client.in_flight_left == core.in_flight_left == 0


@pytest.mark.skipif(sys.platform != "linux", reason="other systems' log() may end in another bit")
@pytest.mark.parametrize("hash_seed", ["1", "2"])
def test_the_digests_are_the_committed_ones_whatever_the_hash_seed(hash_seed):
    assert _digests_by(sys.executable, hash_seed) == _golden()


@pytest.mark.skipif(sys.platform != "linux", reason="other systems' log() may end in another bit")
def test_the_digests_are_the_committed_ones_on_every_python_at_hand():
    pythons = [python for python in _others() if _can_run(python)]
    if not pythons:
        pytest.skip("name other interpreters that have the dependencies in TRIMTAB_PYTHONS")
    for python in pythons:
        assert _digests_by(python, "random") == _golden(), python


def _golden():
    return json.loads((HERE / "golden_digests.json").read_text())


def _others():
    named = os.environ.get("TRIMTAB_PYTHONS")
    if named:
        return named.split(os.pathsep)
    found = sorted(Path("~/.pyenv/versions").expanduser().glob("3.1[1-9]*/bin/python"))
    return [str(python) for python in found]


def _can_run(python):
    return subprocess.run([python, "-c", IMPORTS], check=False, capture_output=True).returncode == 0


def _digests_by(python, hash_seed):
    environment = {
        **os.environ,
        "PYTHONHASHSEED": hash_seed,
        "PYTHONPATH": os.pathsep.join(SOURCES),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    output = subprocess.run(
        [python, str(HERE / "digest_program.py")],
        check=True,
        capture_output=True,
        env=environment,
        timeout=100,
    ).stdout
    return json.loads(output)
