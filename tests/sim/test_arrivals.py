"""Arrivals: the laws of open loops, and the closed loop."""

import math
from itertools import pairwise
from random import Random

import pytest

from trimtab_sim.scenario.arrivals import Bursty, Closed, Diurnal, Poisson, Steady, Trace
from trimtab_sim.simulation import simulate
from trimtab_sim.world.clients import source


def moments(arrivals, *, until, start=0.0, seed=1, factor=1.0):
    """All moments of a client up to a second."""
    made = source(arrivals, Random(seed), start)
    made.override("factor", factor)
    found, now = [], start
    while (now := made.after(now)) < until:
        found.append(now)
    return found


def test_poisson_has_its_rate_and_exponential_gaps():
    found = moments(Poisson(rate=100.0), until=500.0)
    assert len(found) == pytest.approx(50_000, abs=5 * math.sqrt(50_000))
    gaps = [later - sooner for sooner, later in pairwise(found)]
    mean = sum(gaps) / len(gaps)
    variance = sum((gap - mean) ** 2 for gap in gaps) / len(gaps)
    assert variance / mean**2 == pytest.approx(1.0, abs=0.05)


def test_constant_keeps_its_distance_from_a_phase_of_its_own():
    found = moments(Steady(rate=4.0), until=20.0, start=10.0)
    assert len(found) == 40
    assert 10.0 < found[0] < 10.25
    assert all(later - sooner == pytest.approx(0.25) for sooner, later in pairwise(found))
    assert found[0] != moments(Steady(rate=4.0), until=20.0, start=10.0, seed=2)[0]


def test_bursty_has_the_mean_rate_and_more_variance_than_poisson():
    law = Bursty(rate=10.0, burst_rate=200.0, calm=9.0, burst=1.0)
    found = moments(law, until=20_000.0)
    assert len(found) / 20_000 == pytest.approx(law.mean_rate, rel=0.1)
    per_second = [0] * 20_000
    for moment in found:
        per_second[int(moment)] += 1
    mean = len(found) / 20_000
    variance = sum((count - mean) ** 2 for count in per_second) / 20_000
    assert variance > 10 * mean


def test_diurnal_follows_its_sine():
    law = Diurnal(rate=50.0, swing=0.8, period=100.0, peak=25.0)
    found = moments(law, until=2000.0)
    assert len(found) == pytest.approx(100_000, abs=5 * math.sqrt(100_000))
    near_peak = sum(20 <= moment % 100 < 30 for moment in found) / (20 * 10)
    near_trough = sum(70 <= moment % 100 < 80 for moment in found) / (20 * 10)
    assert near_peak == pytest.approx(90, rel=0.05)
    assert near_trough == pytest.approx(10, rel=0.15)


def test_a_trace_keeps_its_moments_from_the_start():
    assert moments(Trace(times=(0.5, 0.5, 2.0)), until=99, start=10.0) == [10.5, 10.5, 12.0]


def test_a_closed_loop_has_no_moments_of_its_own():
    assert source(Closed(concurrency=3), Random(1), 0.0).after(0.0) == math.inf


@pytest.mark.parametrize(
    "law",
    [Poisson(rate=20.0), Steady(rate=20.0), Diurnal(rate=20.0, period=10.0)],
    ids=["poisson", "constant", "diurnal"],
)
def test_a_load_factor_multiplies_the_rate(law):
    plain, triple = (len(moments(law, until=500.0, factor=factor)) for factor in (1.0, 3.0))
    assert plain == pytest.approx(10_000, rel=0.06)
    assert triple == pytest.approx(30_000, rel=0.06)


def test_a_closed_loop_sends_the_next_request_after_the_answer_and_some_thought(scenario):
    run = simulate(
        scenario(
            "[service]\nservers = 10\ntime = {law='constant', mean=0.2}",
            duration=100,
            clients="arrivals = {kind='closed', concurrency=4, think={law='constant', mean=0.3}}",
        ),
        strategy="least_request",
    )
    # Each of the four users needs half a second a round, and a moment more when two meet.
    assert run.recorder.begun == pytest.approx(4 * 200, abs=8)
    assert run.recorder.latency.quantile(0.5) == pytest.approx(0.2, rel=0.01)


def test_a_closed_loop_without_thought_survives_that_all_are_dead(scenario):
    run = simulate(
        scenario(
            "[[timeline]]\nat = 5\naction = 'crash'\ntargets = 'all'\nduration = 3",
            duration=10,
            clients="arrivals = {kind='closed', concurrency=2}",
        )
    )
    assert run.in_flight_left == run.recorder.in_flight == 0
    assert run.recorder.good[-2] > 0


def test_clients_may_start_later(scenario):
    run = simulate(scenario(clients="arrivals = {kind='constant', rate=10}\nstart = 60"))
    assert run.recorder.begun == 400
