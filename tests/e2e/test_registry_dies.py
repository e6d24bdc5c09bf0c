"""The registry is killed under load and comes back empty; or is not there at a cold start."""

from __future__ import annotations

import asyncio
import json
import os
import time

import httpx
import pytest
from e2e_load import Load, failures, share, table

from trimtab import BalancedTransport, DiscoverySettings

NAMES = ["b1", "b2", "b3", "b4"]
HOUR_S = 3600.0
LIMIT_S = 100.0


@pytest.mark.parametrize(
    ("down_s", "ttl_s"),
    [
        pytest.param(3.0, 1.0, id="short"),
        pytest.param(60.0, 10.0, id="soak", marks=pytest.mark.soak),
    ],
)
def test_no_call_fails_while_the_registry_is_dead(fleet, wait_until, down_s, ttl_s):
    fleet.start_registry()
    fleet.start_backends(*NAMES, ttl_s=ttl_s)
    kill_s, back_s = 0.5, 0.5 + down_s
    whole_s, fifth_s = [], []

    async def run():
        transport = BalancedTransport(
            fleet.url, discovery=DiscoverySettings(grace_s=ttl_s), trust_env=False
        )
        async with httpx.AsyncClient(transport=transport, trust_env=False) as client:
            load = Load(client, "http://orders/work", rate_per_s=100)

            def is_whole():
                state = transport.state()["orders"]
                fresh = state.failures == 0 and (state.age_s or 0) < load.now_s - back_s
                return fresh and state.held is None and state.instances == len(NAMES)

            def back():
                assert transport.state()["orders"].failures > 0
                fleet.start_registry()
                wait_until(is_whole, 60.0)
                whole_s.append(load.now_s)
                fleet.start_backends("b5", ttl_s=ttl_s)
                fifth_s.append(load.now_s)

            load.at(kill_s, fleet.registry.kill)
            load.at(back_s, back)
            done = await load.run(lambda: fifth_s[0] + 1.0 if fifth_s else LIMIT_S)
            return done, transport.state()["orders"]

    done, state = asyncio.run(run())
    fifth = share(done, "b5", fifth_s[0] + 0.5, LIMIT_S)
    print(f"\n{table(done, max(0.5, down_s / 12))}")
    print(f"{len(done)} calls, {len(failures(done))} failed")
    print(f"dead from {kill_s} s to {back_s} s; whole again at {whole_s[0]:.1f} s")
    print(f"a fifth backend, registered at {fifth_s[0]:.1f} s, then gets {fifth:.0%}")

    assert failures(done) == []
    assert state.source == "registry"
    assert state.instances == len(NAMES) + 1
    assert fifth > 0
    assert all(share(done, name, kill_s, back_s) > 0 for name in NAMES), "all were called on"


def test_a_cold_start_without_the_registry_uses_the_last_list(fleet, tmp_path):
    fleet.start_registry()
    fleet.start_backends("b1")
    warm = json.loads(fleet.run_client(tmp_path).stdout)
    assert (warm["text"], warm["list_source"]) == ("b1", "registry")
    fleet.registry.kill()
    (kept,) = tmp_path.iterdir()
    an_hour_ago = time.time() - HOUR_S
    os.utime(kept, (an_hour_ago, an_hour_ago))

    run = fleet.run_client(tmp_path)

    cold = json.loads(run.stdout)
    print(f"\n{run.stderr.strip()}\n{cold}")
    assert (cold["status"], cold["text"], cold["list_source"]) == (200, "b1", "disk")
    assert HOUR_S <= cold["list_age_s"] < HOUR_S + 100
    assert HOUR_S <= cold["state_age_s"] < HOUR_S + 100
    assert cold["failures"] > 0
    assert "the last known list from disk is in use (1 instances, 36" in run.stderr
