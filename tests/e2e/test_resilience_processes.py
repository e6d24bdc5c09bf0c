"""Real processes that hang, fail fast, fail in part: the rows of tests/sim/test_resilience.py."""

from __future__ import annotations

import asyncio

import httpx
import pytest
from e2e_load import Load, failures, share

from trimtab import (
    BalancedTransport,
    DiscoverySettings,
    EnvoyOutliers,
    HealthSettings,
    HedgePolicy,
    RetryPolicy,
)

RATE_PER_S = 100
TIMEOUT_S = 1.0
FIVE = ["b1", "b2", "b3", "b4", "b5"]
RETRIES = {
    "failures": ("refused", "connect_timeout", "no_response", "timeout"),
    "statuses": (502, 503, 504),
}
EJECTING = HealthSettings(outliers=EnvoyOutliers(max_ejected_ratio=0.5))


@pytest.fixture
def five(fleet):
    # A lease so long that the registry notices nothing: only the clients can.
    fleet.start_registry()
    fleet.start_backends(*FIVE, ttl_s=120.0)
    return fleet


def run_load(
    fleet, *, events=(), last_s=6.0, rate_per_s=RATE_PER_S, timeout_s=TIMEOUT_S, **settings
):
    """Call `/work` of the fleet; return the load with what it recorded, and the pool's figures.

    The load ends after `last_s` seconds, or what that says of the load.
    """

    async def main():
        transport = BalancedTransport(
            fleet.url,
            discovery=DiscoverySettings(poll_interval_s=1.0),
            trust_env=False,
            **settings,
        )
        timeout = httpx.Timeout(timeout_s)
        async with httpx.AsyncClient(
            transport=transport, trust_env=False, timeout=timeout
        ) as client:
            load = Load(client, "http://orders/work", rate_per_s=rate_per_s)
            for when_s, what in events:
                load.at(when_s, what)
            await load.run(lambda: last_s(load) if callable(last_s) else last_s)
            figures = transport.statistics()["orders"]
            assert figures.in_flight == 0
            return load, figures

    return asyncio.run(main())


def quantile(done, ratio):
    took = sorted(call.ended_s - call.began_s for call in done)
    return took[min(int(ratio * len(took)), len(took) - 1)]


def slower(done, than_s):
    """The calls that took longer."""
    return [call for call in done if call.ended_s - call.began_s >= than_s]


def attempts(done):
    return sum(call.attempts for call in done) / len(done)


@pytest.mark.parametrize(
    ("rate_per_s", "within_s"),
    [
        # Other tests share the machine; `make soak` runs alone.
        pytest.param(RATE_PER_S, None, id="short"),
        pytest.param(200, 0.1, id="soak", marks=pytest.mark.soak),
    ],
)
def test_a_black_hole_among_five(five, rate_per_s, within_s):
    """SIGSTOP, time-out 1 s: nothing fails, and its share falls below 1 % within 5 s."""
    hole_s, last_s = 1.5, 9.0
    load, figures = run_load(
        five,
        events=[(hole_s, five.backends["b1"].freeze)],
        last_s=last_s,
        rate_per_s=rate_per_s,
        retry=RetryPolicy(**RETRIES),
    )
    done, picks = load.done, figures.members["b1"].picks
    late = share(done, "b1", hole_s + 5, last_s)
    sent_late = [call for call in done if call.attempts > 1 and call.began_s > hole_s + 5]
    print(f"\n{len(done)} calls, {len(failures(done))} failed, {attempts(done):.4f} attempts each")
    print(f"p99.9 {quantile(done, 0.999):.3f} s; answered by the hole after 5 s {late:.1%}")
    print(f"retried after 5 s {len(sent_late)}; picks of the hole {picks}")
    assert failures(done) == []
    if within_s:
        # One time-out and another attempt. On a busy machine a healthy one is late now and then.
        assert [call.attempts for call in done if call.attempts > 2] == []
        assert quantile(done, 0.999) < TIMEOUT_S + within_s
    after = [call for call in done if call.began_s > hole_s + 5]
    assert len(sent_late) < 0.01 * len(after)


@pytest.mark.parametrize(
    "rate_per_s",
    [
        pytest.param(RATE_PER_S, id="short"),
        pytest.param(200, id="soak", marks=pytest.mark.soak),  # 9 of 1,800 are 0.5 %
    ],
)
@pytest.mark.parametrize("strategy", ["least_latency", "round_robin"])
def test_an_instance_that_fails_at_once(five, strategy, rate_per_s):
    """503 at once, no retries: under 1 % reach it after 2 s, and fewer than 9 of all fail."""
    bad_s, last_s = 1.0, 9.0
    load, figures = run_load(
        five,
        events=[(bad_s, lambda: five.backends["b1"].behave(fail_ratio=1))],
        last_s=last_s,
        rate_per_s=rate_per_s,
        strategy=strategy,
        health=EJECTING,
    )
    done, failed = load.done, failures(load.done)
    late = [when for when, _ in failed if when > bad_s + 2]
    after = [call for call in done if call.began_s > bad_s + 2]
    reached = len(late) + sum(call.instance == "b1" for call in after if not call.failure)
    print(f"\n{len(done)} calls, {len(failed)} failed; {reached} of {len(after)} after 2 s")
    print(f"its reason: {figures.members['b1'].reason} ({figures.members['b1'].why})")
    assert {what for _, what in failed} <= {"503"}
    assert reached < 0.01 * len(after)
    # Five in a row eject it; a few more are under way by then.
    assert len(failed) < 9


def test_half_fail_half_and_all_fail(five):
    """Retries within the budget; when all fail, traffic goes to all, and comes back by itself."""
    # A phase lasts until it has so many calls, however slow the machine is.
    enough, settling_s, end_s = 150, 1.5, 120.0

    def everybody(fail_ratio):
        for backend in five.backends.values():
            backend.behave(fail_ratio=fail_ratio)

    for name in FIVE[:2]:
        five.backends[name].behave(fail_ratio=0.5)
    load, figures = run_load(
        five,
        events=[
            (lambda load: len(load.done) >= enough, lambda: everybody(1)),
            (lambda load: len(load.since(0)) >= enough, lambda: everybody(0)),
        ],
        last_s=lambda load: 0 if len(load.since(1, settling_s)) >= enough else end_s,
        timeout_s=10.0,
        strategy="round_robin",
        retry=RetryPolicy(**RETRIES, budget_min_per_s=0),
        health=HealthSettings(
            outliers=EnvoyOutliers(max_ejected_ratio=1.0, interval_s=0.5, base_ejection_s=0.5)
        ),
    )
    done, ((all_s, _), (well_s, _)) = load.done, load.events_s
    by_then = [call for call in done if call.ended_s < all_s]
    worst = [call for call in load.since(0) if call.ended_s < well_s]
    after = load.since(1, settling_s)
    print(f"\nhalf of two of five: {len(failures(by_then))} of {len(by_then)} failed")
    print(f"all: {len(failures(worst))} of {len(worst)} failed")
    print(f"after: {len(failures(after))} of {len(after)}; {attempts(done):.3f} attempts each")
    assert min(len(by_then), len(worst), len(after)) >= enough
    assert len(failures(worst)) > 0.9 * len(worst)
    assert failures(after) == []
    # What the budget earned in its last ten seconds it may spend at once, and no more than that.
    assert attempts(done) <= 1.2
    assert min(each.failures for each in figures.members.values()) > 0.1 * len(worst)


def test_hedging_cuts_the_tail(five):
    """Two modes: three in a hundred take 5 s, which no call takes because a machine is busy."""
    stall_s, after_s = 5.0, 0.5
    for backend in five.backends.values():
        backend.behave(work_s=0.005, stall_ratio=0.03, stall_s=stall_s)
    plain = run_load(five, timeout_s=30.0)[0].done
    hedge = HedgePolicy(after_s=after_s, quantile=None)
    load, figures = run_load(five, timeout_s=30.0, hedge=hedge)
    hedged = load.done
    before, after = (len(slower(done, stall_s)) for done in (plain, hedged))
    # Losers count as picks, and not as attempts of the answer.
    more = figures.picks - len(hedged)
    print(f"\nstalled {before} of {len(plain)} -> {after} of {len(hedged)}, {more} more requests")
    assert failures(plain) == failures(hedged) == []
    assert before > 0
    assert after < before / 2
    # Who waits longer than `after_s` is asked for once more, nobody else, and no more than once.
    assert more <= len(slower(hedged, after_s))


def test_a_deadline_holds_over_all_attempts(five):
    """Four of five hang: whoever meets two of them is told in time, and in words."""
    for name in FIVE[:4]:
        five.backends[name].freeze()
    load, _ = run_load(
        five,
        last_s=2.0,
        rate_per_s=20,
        strategy="round_robin",
        retry=RetryPolicy(**RETRIES),
        deadline_s=0.4,
    )
    # One wake-up too late may end the deadline, another the call.
    took_s = max(call.ended_s - call.began_s for call in load.done)
    assert took_s < 0.4 + 0.1 + 2 * load.late_s
    assert all("deadline of 0.4 s" in what for _, what in failures(load.done))
    assert failures(load.done)
