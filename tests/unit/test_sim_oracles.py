"""The closed forms, compared with figures computed elsewhere."""

import math

import pytest

from trimtab_sim import oracles
from trimtab_sim.laws import Hyperexponential


def test_mm1():
    assert oracles.mm1_mean(0.8) == pytest.approx(5)
    assert oracles.mm1_mean(0.8, service=0.01) == pytest.approx(0.05)
    assert oracles.mm1_quantile(0.8, 0.99) == pytest.approx(23.03, abs=0.005)


@pytest.mark.parametrize(("load", "mean"), [(0.8, 1.2046), (0.9, 1.6687)])
def test_mmc_with_ten_servers(load, mean):
    assert oracles.mmc_mean(10, load) == pytest.approx(mean, abs=5e-5)


def test_mmc_agrees_with_mm1_and_the_sum_of_erlang():
    assert oracles.mmc_mean(1, 0.7) == pytest.approx(oracles.mm1_mean(0.7))
    servers, load = 5, 0.6
    offered = servers * load
    last = offered**servers / math.factorial(servers) / (1 - load)
    rest = sum(offered**k / math.factorial(k) for k in range(servers))
    assert oracles.erlang_c(servers, load) == pytest.approx(last / (rest + last))
    assert 0 < oracles.erlang_c(5000, 0.99) < 1


def test_mg1():
    assert oracles.mg1_mean(0.8, 1.0) == pytest.approx(oracles.mm1_mean(0.8))
    assert oracles.mg1_mean(0.8, 0.0) == pytest.approx(3)
    assert oracles.mg1_mean(0.5, 4.0, service=2) == pytest.approx(7)


@pytest.mark.parametrize(
    ("load", "choices", "mean"),
    [(0.5, 2, 1.2657), (0.7, 2, 1.6145), (0.9, 2, 2.6141), (0.9, 3, 2.0279), (0.8, 2, 1.947)],
)
def test_supermarket(load, choices, mean):
    # The reference is truncated after four digits, not rounded.
    assert oracles.supermarket_mean(load, choices) == pytest.approx(mean, abs=6e-4)


def test_supermarket_with_one_choice_is_random():
    assert oracles.supermarket_mean(0.9, 1) == oracles.mm1_mean(0.9)
    assert oracles.supermarket_mean(0.0, 2) == 1


def test_polling():
    assert oracles.poll_staleness_mean(10) == 5
    assert oracles.poll_staleness_mean(10, 0.3) == pytest.approx(5.15)
    assert oracles.poll_staleness_max(10, 0.1, rtt=0.5) == pytest.approx(11.5)
    assert oracles.all_converged_mean(10, 9) == 9


def test_crash_to_view():
    assert oracles.crash_view_bound(ttl=10, sweep=1, poll=5) == 16
    assert oracles.crash_view_bound(ttl=10, sweep=1, poll=5, jitter_ratio=0.1, rtt=1) == 17.5
    assert oracles.crash_view_mean(heartbeat=3, ttl=10, sweep=1, poll=5) == 11.5


def test_active_checks():
    assert oracles.active_check_bounds(interval=5, timeout=2, fall=3) == (12, 17)


def test_little():
    assert oracles.littles_law(80, 0.05) == pytest.approx(4)


def test_hedging():
    plain = oracles.mixture_survival([(0.99, 10), (0.01, 500)])
    hedged = oracles.hedged_survival(plain, 50)
    assert oracles.hedged_load(plain, 50) == pytest.approx(1.016, abs=5e-4)
    assert oracles.quantile_of(plain, 0.999) == pytest.approx(1151, abs=0.5)
    assert oracles.quantile_of(hedged, 0.999) == pytest.approx(73, abs=0.5)
    assert oracles.mean_of(plain) == pytest.approx(14.9, rel=1e-4)
    assert oracles.mean_of(hedged) < 11


def test_the_survival_of_a_law_has_its_mean():
    law = Hyperexponential(mean=2.0, cv2=5.0)
    survival = oracles.mixture_survival(law.branches)
    assert survival(-1) == 1
    assert oracles.mean_of(survival) == pytest.approx(2, rel=1e-4)


@pytest.mark.parametrize("load", [-0.1, 1.0, 1.5, math.nan])
def test_a_load_without_a_steady_state_is_refused(load):
    for oracle in (
        lambda: oracles.mm1_mean(load),
        lambda: oracles.mmc_mean(3, load),
        lambda: oracles.mg1_mean(load, 1),
        lambda: oracles.supermarket_mean(load, 2),
    ):
        with pytest.raises(ValueError, match="steady state"):
            oracle()
