"""Instances that fail fast, hang and fail in part: the shipping rules, in virtual time.

The same rows as tests/e2e/test_resilience.py shows on real processes.
"""

from __future__ import annotations

import pytest

from trimtab_sim.oracles import active_check_bounds
from trimtab_sim.scenario import Scenario
from trimtab_sim.simulation import simulate

pytestmark = pytest.mark.untraced

SEED = 11
WORLD = """
[scenario]
name = "row"
duration = "{duration}s"
warmup = "{warmup}s"
[service]
servers = {servers}
time = {{ law = "{law}", mean = "{mean}" }}
concurrency = {concurrency}
queue_limit = 1000000
[[clients]]
count = {count}
arrivals = {{ kind = "{arrivals}", rate = "{rate}/s" }}
timeout = "1s"
"""
USUAL = {
    "duration": 60, "warmup": 5, "servers": 5, "law": "exponential", "mean": "10ms",
    "concurrency": 4, "count": 1, "arrivals": "poisson", "rate": 200,
}  # fmt: skip
RETRIES = """
[balancer.retry]
failures = ["refused", "connect_timeout", "no_response", "timeout"]
statuses = [502, 503, 504]
"""
EJECTION = """
[balancer.health.outliers]
variant = "envoy"
max_ejected_ratio = 0.5
"""


def fault(action, targets="{ count = 1 }", *, at=20, lasts=30):
    when = f'at = "{at}s"\nduration = "{lasts}s"\n'
    return f"[[timeline]]\n{when}action = {action}\ntargets = {targets}\n"


HANG = fault('"hang"')
FAST_503 = fault('"errors"\nstatus = 503')


def play(*parts, strategy="least_latency", depth="core", **changes):
    text = "\n".join([WORLD.format(**USUAL | changes), *parts])
    run = simulate(Scenario.from_toml(text), strategy=strategy, seed=SEED, depth=depth)
    assert run.in_flight_left == 0
    return run.recorder


def failed_ratio(recorder):
    return 1 - recorder.outcomes[0] / sum(recorder.outcomes)


def per_second(bins, duration):
    """The sums of a recorder's bins per tenth of the run."""
    tenth = len(bins) // 10
    return [sum(bins[start : start + tenth]) for start in range(0, len(bins), tenth)]


def sent_between(recorder, start, end, *, duration):
    """Requests per server that were sent from one second to another."""
    width = duration / len(recorder.sent[0])
    return [sum(bins[round(start / width) : round(end / width)]) for bins in recorder.sent]


@pytest.mark.parametrize("strategy", ["least_latency", "least_request", "round_robin"])
def test_a_black_hole_fails_nothing_with_retries(strategy):
    recorder = play(RETRIES, EJECTION, HANG, strategy=strategy)
    assert failed_ratio(recorder) == 0
    # One time-out, and one more attempt.
    assert recorder.latency.quantile(0.999) < 1.0 + 0.1
    sent = sent_between(recorder, 25, 50, duration=60)
    assert min(sent) < 0.01 * sum(sent)


@pytest.mark.parametrize("strategy", ["least_latency", "least_request", "round_robin"])
def test_an_instance_that_fails_fast_is_found_out(strategy):
    recorder = play(EJECTION, FAST_503, strategy=strategy)
    assert failed_ratio(recorder) < 0.005
    sent = sent_between(recorder, 22, 50, duration=60)
    assert min(sent) < 0.01 * sum(sent)


def test_without_ejection_round_robin_keeps_failing():
    assert failed_ratio(play(FAST_503, strategy="round_robin")) > 0.08


def test_half_that_fail_half_as_the_binomial_says():
    half = fault('"gray"\nshare = 0.5\neffect = "error"\nstatus = 503', "{ share = 0.5 }", at=0)
    never_short = "budget_ratio = 0.0\nbudget_min_per_s = 1000\n"
    recorder = play(RETRIES + never_short, half, strategy="random", servers=10, duration=35)
    # Three attempts at three instances: all of them among the five bad ones, and all failing.
    expected = (5 * 4 * 3) / (10 * 9 * 8) * 0.5**3
    began = sum(recorder.outcomes)
    spread = 4 * (expected * (1 - expected) / began) ** 0.5  # beyond: once in 16,000 seeds
    # The last five seconds of thirty are well.
    assert failed_ratio(recorder) == pytest.approx(expected * 25 / 30, abs=spread)


def test_a_budget_is_never_exceeded():
    half = fault('"gray"\nshare = 0.5\neffect = "error"\nstatus = 503', "{ share = 0.5 }", at=0)
    budget = "budget_ratio = 0.1\nbudget_min_per_s = 0\n"
    recorder = play(RETRIES + budget, half, strategy="round_robin", servers=10, duration=35)
    assert 0.08 < recorder.retries / recorder.begun <= 0.1


@pytest.mark.parametrize("strategy", ["least_latency", "round_robin"])
def test_when_all_fail_traffic_spreads_over_all_and_recovers_by_itself(strategy):
    all_fail = fault('"errors"\nstatus = 503', '"all"')
    budget = "budget_min_per_s = 0\n"
    # Ejecting at most half, as above, leaves the other half to carry everything, and to fail.
    ejection = EJECTION.replace("0.5", "1.0")
    recorder = play(RETRIES + budget, ejection, all_fail, strategy=strategy, servers=10)
    assert recorder.attempts / recorder.begun <= 1.2
    sent = sent_between(recorder, 25, 50, duration=60)
    # least_latency prefers who was last seen fast, and a failure says nothing about that.
    least = 0.5 if strategy == "round_robin" else 0.01
    assert min(sent) > least * sum(sent) / 10
    tenths = per_second(recorder.bad, 60)
    assert tenths[4] > 0.9 * per_second(recorder.good, 60)[1], "they did all fail"
    assert tenths[-1] == 0, "and it is over with the fault"


STORM = {"servers": 10, "mean": "100ms", "concurrency": 1, "rate": 50, "duration": 150}
SPIKE = '[[timeline]]\nat = "20s"\naction = "load"\nfactor = 4\nduration = "10s"\n'
STORMY = """
[balancer.retry]
max_attempts = 4
failures = ["refused", "connect_timeout", "no_response", "timeout"]
backoff_first_s = 0.0
"""


@pytest.mark.parametrize("strategy", ["least_latency", "random"])
def test_a_retry_storm_ends_thanks_to_the_budget(strategy):
    budget = "budget_ratio = 0.1\nbudget_min_per_s = 0\n"
    with_it = play(STORMY + budget, SPIKE, strategy=strategy, **STORM)
    tenths = per_second(with_it.good, 150)
    assert tenths[-3] > 0.9 * tenths[0]
    none = "budget_ratio = 1000\nbudget_min_per_s = 1000000\n"
    without = play(STORMY + none, SPIKE, strategy=strategy, **STORM)
    assert sum(per_second(without.good, 150)[4:]) == 0, "without a budget it stays down for good"


def test_hedging_cuts_the_tail_for_next_to_nothing():
    two_modes = 'time = { law = "two_modes", short = "10ms", long = "500ms", long_ratio = 0.01 }'
    plain = 'time = { law = "exponential", mean = "10ms" }'
    world = WORLD.format(**{**USUAL, "duration": 300, "servers": 20, "concurrency": 1000})
    text = world.replace(plain, two_modes).replace('timeout = "1s"', 'timeout = "30s"')
    runs = []
    for hedge in ("", "[balancer.hedge]\nquantile = 0.985\n"):
        run = simulate(Scenario.from_toml(text + hedge), strategy="random", seed=SEED)
        runs.append(run.recorder)
    before, after = (recorder.latency.quantile(0.999) for recorder in runs)
    assert after * 10 < before
    assert 1.005 < runs[1].attempts / runs[1].begun < 1.02
    assert runs[1].attempts == runs[1].begun + runs[1].retries


def test_probes_find_a_hanging_instance_within_the_bounds():
    interval_s, timeout_s, fall, hang_s = 2.0, 1.0, 3, 20.0
    probe = f"""
[balancer.probe]
check = "http:/health"
interval_s = {interval_s}
timeout_s = {timeout_s}
fall = {fall}
rise = 1
jitter_ratio = 0.0
"""
    recorder = play(probe, HANG, strategy="round_robin")
    bin_s = 60 / len(recorder.sent[0])
    hung = min(recorder.sent, key=lambda bins: sum(bins[round(30 / bin_s) : round(50 / bin_s)]))
    moments = [place * bin_s for place, count in enumerate(hung) if not count]
    avoided = [moment for moment in moments if hang_s < moment < 60 - 2 * bin_s]
    early_s, late_s = active_check_bounds(interval=interval_s, timeout=timeout_s, fall=fall)
    assert early_s - bin_s <= avoided[0] - hang_s <= late_s + 2 * bin_s
    # It answers again from 50 s on, and one probe that passes is enough.
    assert avoided[-1] <= 50 + interval_s + timeout_s


@pytest.mark.parametrize(
    "parts",
    [
        ('[balancer.probe]\ncheck = "tcp"\ninterval_s = 1.0\n', fault('"crash"', lasts=9)),
        (RETRIES, EJECTION, HANG),
        (RETRIES, FAST_503),
        ("[balancer.hedge]\nquantile = 0.9\n", HANG),
        ("[balancer]\ndeadline_s = 0.03\n", HANG),
        ("[balancer.concurrency]\nmax_in_flight = 1\nmax_pending = 3\nmax_wait_s = 0.05\n", HANG),
        ("[balancer.health.slow_start]\nwindow_s = 10.0\n", fault('"crash"', lasts=3)),
    ],
    ids=["probes", "retries", "statuses", "hedges", "deadline", "room", "slow start"],
)
def test_it_is_the_same_through_a_real_http_client(parts):
    runs = [
        play(*parts, depth=depth, duration=40, rate=100, strategy="least_latency")
        for depth in ("core", "client")
    ]
    assert runs[0].outcomes == runs[1].outcomes
    assert runs[0].digest() == runs[1].digest(), f"seed {SEED}"
