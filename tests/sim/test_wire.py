"""Connections over the simulated network: their cost, and how they end."""

from __future__ import annotations

import gc
import io
import json

import httpx
import pytest
import simpy

from trimtab_sim import SimulationError
from trimtab_sim.recorder import Outcome
from trimtab_sim.scenario import Scenario
from trimtab_sim.simulation import _Execution, rare_collections, simulate
from trimtab_sim.world.deadlines import Deadlines
from trimtab_sim.world.http_clients import HttpClient

_WORLD = """
[scenario]
duration = "4s"
[service]
servers = 1
time = {law = "constant", mean = "10ms"}
[network]
latency = {law = "constant", mean = "5ms"}
[[clients]]
timeout = "100ms"
arrivals = {kind = "constant", rate = 10}
"""


def _run(extra="", world=_WORLD, depth="wire", **settings):
    """Run a scenario; give the run and its requests, in order of their ends."""
    trace = io.StringIO()
    run = simulate(Scenario.from_toml(world + extra), seed=1, depth=depth, trace=trace, **settings)
    run.recorder.digest()
    assert run.in_flight_left == 0
    rows = [json.loads(line) for line in trace.getvalue().splitlines()]
    for row in rows:
        row["took"] = round(row["ended"] - row["started"], 9)
    return run, rows


def _fault(action, at="2s", **settings):
    lines = [f"{name} = {value}" for name, value in settings.items()]
    return "\n".join(["", "[[timeline]]", f'action = "{action}"', f'at = "{at}"', *lines, ""])


def test_the_first_request_pays_for_the_handshake_and_the_others_keep_the_connection():
    _, rows = _run()
    assert [row["took"] for row in rows[:3]] == [0.03, 0.02, 0.02]
    assert {row["took"] for row in rows[1:]} == {0.02}


def test_a_refusal_of_new_connections_spares_those_that_are_kept():
    run, _ = _run(_fault("refuse", targets='"all"'))
    assert run.recorder.outcomes[Outcome.OK] == run.recorder.ended


def test_a_refusing_server_refuses_new_connections_only():
    late = '\n[[clients]]\nstart = "2500ms"\narrivals = {kind = "constant", rate = 10}\n'
    run, rows = _run(_fault("refuse", targets='"all"') + late)
    refused = [row["started"] for row in rows if row["outcome"] == "refused"]
    assert len(refused) == run.recorder.outcomes[Outcome.REFUSED] == 15
    assert min(refused) >= 2.5


def test_a_black_hole_lets_each_request_time_out_on_its_connection_or_on_the_way_to_one():
    run, rows = _run(_fault("black_hole", targets='"all"', heartbeats="true"))
    outcomes = run.recorder.outcomes
    assert outcomes[Outcome.OK] + outcomes[Outcome.TIMEOUT] == run.recorder.ended
    # The first is met while it reads: no second attempt. Then no connection comes about.
    assert {row["took"] for row in rows if row["outcome"] == "timeout"} == {0.1}


def test_a_request_on_a_connection_of_a_dead_server_is_broken_off():
    world = _WORLD.replace('"5ms"', '"30ms"').replace("rate = 10", "rate = 40")
    world = world.replace('timeout = "100ms"', 'timeout = "1s"\nmethod = "POST"')
    run, rows = _run(_fault("crash", targets='"all"'), world)
    after = [row for row in rows if row["outcome"] == "broken" and row["started"] >= 2.0]
    assert after
    # Who sends within the server's last word's way still believes in the connection.
    assert all(row["started"] < 2.03 for row in after)
    assert run.recorder.outcomes[Outcome.REFUSED] > 0


def test_a_restarted_server_has_no_old_connections():
    _, rows = _run(_fault("crash", targets='"all"', duration='"500ms"'))
    back = [row for row in rows if row["started"] > 2.5]
    assert [row["took"] for row in back[:3]] == [0.03, 0.02, 0.02]
    assert {row["outcome"] for row in back} == {"ok"}


def test_a_partition_does_not_change_the_list_until_it_ends():
    cut = {"from": '"clients"', "to": '"servers"', "duration": '"1s"'}
    run, rows = _run(_fault("partition", **cut))
    assert {row["took"] for row in rows if row["outcome"] == "timeout"} == {0.1}
    assert all(row["outcome"] == "ok" for row in rows if row["started"] > 3.2)
    assert run.recorder.outcomes[Outcome.TIMEOUT] > 5


def test_without_a_list_or_an_instance_there_is_nothing_to_send():
    no_list = _fault("registry_outage", at="0s", how='"error"')
    for depth in ("core", "client", "wire"):
        run, _ = _run(no_list, depth=depth)
        assert run.recorder.outcomes[Outcome.NO_LIST] == run.recorder.ended
    gone = _fault("remove", targets='"all"')
    gone += '[discovery]\ngrace_s = 0\npoll_interval_s = 0.2\n[registry]\nheartbeat = "1s"\n'
    for depth in ("core", "client", "wire"):
        run, _ = _run(gone, depth=depth)
        assert run.recorder.outcomes[Outcome.NO_INSTANCE] > 5


def test_a_body_in_a_message_of_its_own_belongs_to_its_request(monkeypatch):
    plain = httpx.AsyncClient.request

    def with_content(self, method, url, **options):
        return plain(self, method, url, content=b"hello", **options)

    world = _WORLD.replace('timeout = "100ms"', 'timeout = "100ms"\nmethod = "POST"')
    monkeypatch.setattr(httpx.AsyncClient, "request", with_content)
    _, rows = _run(world=world)
    assert {row["took"] for row in rows[1:]} == {0.02}


@pytest.mark.parametrize("mistake", [SimulationError("of the model"), httpx.InvalidURL("of ours")])
def test_a_failure_of_the_simulation_itself_fails_the_run(monkeypatch, mistake):
    def broken(self, record, server):
        raise mistake

    monkeypatch.setattr(HttpClient, "note_sent", broken)
    with pytest.raises(type(mistake), match=r"of the model|of ours"):
        _run(depth="client")


def test_a_transport_error_counts_too(monkeypatch):
    def broken(self, record, server):
        raise httpx.UnsupportedProtocol("nothing that a scenario can cause")

    monkeypatch.setattr(HttpClient, "note_sent", broken)
    with pytest.raises(httpx.UnsupportedProtocol, match="nothing that a scenario can cause"):
        _run(depth="client")


@pytest.mark.parametrize("depth", ["client", "wire"])
def test_a_run_that_is_cut_short_leaves_no_request_behind(monkeypatch, depth):
    async def never(self, loop):
        """Do not wait for the requests that go on."""

    monkeypatch.setattr(_Execution, "_finish_requests", never)
    hang = _fault("hang", at="3900ms", targets='"all"')
    run = simulate(Scenario.from_toml(_WORLD + hang), seed=1, depth=depth)
    assert run.in_flight_left == 1
    assert run.recorder.in_flight == 1


class _Wait:
    def __init__(self, deadline, ended):
        self.deadline = deadline
        self.is_over = False
        self._ended = ended

    def expired(self):
        self._ended.append(self.deadline)


def test_deadlines_expire_in_order_whatever_the_order_of_adding():
    env, ended = simpy.Environment(), []
    deadlines = Deadlines(env)
    waits = [_Wait(moment, ended) for moment in (1.0, 3.0, 2.0, 2.5, 3.0)]
    for wait in waits:
        deadlines.add(wait)
    waits[3].is_over = True
    env.run()
    assert ended == [1.0, 2.0, 3.0, 3.0]
    assert env.now == 3.0


def test_the_collector_is_restored_after_a_run():
    before = gc.get_threshold()
    with rare_collections():
        assert gc.get_threshold()[2] >= 100
    assert gc.get_threshold() == before
    gc.set_threshold(0)
    try:
        with rare_collections():
            assert gc.get_threshold()[0] == 0
    finally:
        gc.set_threshold(*before)
