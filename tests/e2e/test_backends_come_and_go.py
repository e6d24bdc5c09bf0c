"""Six real backends: one is killed, one becomes 20 times as slow, one comes; no call fails."""

from __future__ import annotations

import asyncio

import httpx
import pytest
from e2e_load import Load, failures, first_window, share, table

from trimtab import BalancedTransport, DiscoverySettings

POLL_S = 1.0
LIMIT_S = 60.0
NAMES = ["b1", "b2", "b3", "b4", "b5", "b6"]


@pytest.mark.parametrize(
    ("phase_s", "rate_per_s"),
    [
        pytest.param(2.5, 100, id="short"),
        pytest.param(7.5, 200, id="soak", marks=pytest.mark.soak),
    ],
)
def test_no_get_fails_while_backends_come_and_go(fleet, phase_s, rate_per_s):
    fleet.start_registry()
    fleet.start_backends(*NAMES)
    kill_s, slow_s, add_s = phase_s, 2 * phase_s, 3 * phase_s
    added_s = []

    def end_s():
        return added_s[0] + POLL_S + phase_s if added_s else LIMIT_S

    async def run():
        transport = BalancedTransport(
            fleet.url, discovery=DiscoverySettings(poll_interval_s=POLL_S), trust_env=False
        )
        async with httpx.AsyncClient(transport=transport, trust_env=False) as client:
            load = Load(client, "http://orders/work", rate_per_s=rate_per_s)

            def add():
                fleet.start_backends("b7")
                added_s.append(load.now_s)

            load.at(kill_s, fleet.backends["b1"].kill)
            load.at(slow_s, fleet.backends["b2"].slow_down)
            load.at(add_s, add)
            done = await load.run(end_s)
            assert transport.statistics()["orders"].in_flight == 0
            return done

    done = asyncio.run(run())
    from_s, over_s = added_s[0], end_s()
    fallen_s = first_window(done, "b2", slow_s, over_s, lambda part: part < 1 / 5 / 2)
    risen_s = first_window(done, "b7", from_s, over_s, lambda part: part > 1 / 6 / 2)
    retried = [call for call in done if call.attempts > 1]
    late = max((call.began_s for call in retried), default=kill_s) - kill_s
    print(f"\n{table(done, phase_s / 5)}")
    print(
        f"{len(done)} calls in {over_s:.1f} s, {len(failures(done))} failed, {len(retried)} retried"
    )
    print(f"killed at {kill_s} s: the last retried call began {late:.2f} s later")
    print(f"slowed at {slow_s} s: below half of fair after {fallen_s:.1f} s;")
    print(f"  share from 2 s on {share(done, 'b2', slow_s + 2, over_s):.1%}")
    print(f"added at {from_s:.1f} s: above half of fair after {risen_s:.1f} s;")
    print(f"  share after one poll {share(done, 'b7', from_s + POLL_S, over_s):.1%}")

    assert failures(done) == []
    assert len(done) >= int(over_s * rate_per_s)
    assert share(done, "b1", kill_s + 0.5, over_s) == 0
    assert share(done, "b2", slow_s + 2, over_s) < 1 / 5 / 2
    assert share(done, "b7", from_s + POLL_S, over_s) > 1 / 6 / 2
