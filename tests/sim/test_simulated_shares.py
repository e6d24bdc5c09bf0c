"""Shares with default settings: equal ones, those of the ill and of the healed, in virtual time.

Clients know nothing of each other, so a few show what a thousand do.
"""

from __future__ import annotations

import pytest
from test_resilience import failed_ratio, fault, play, sent_between

pytestmark = pytest.mark.untraced

AT_S, HEALED_S, END_S = 20, 26, 60
ILLNESSES = {
    "refused": fault('"refuse"', at=AT_S, lasts=HEALED_S - AT_S),
    "hung": fault('"hang"', at=AT_S, lasts=HEALED_S - AT_S),
    "503": fault('"errors"\nstatus = 503', at=AT_S, lasts=HEALED_S - AT_S),
}


def shares(recorder, start, end, duration):
    """Shares of the instances as parts of a fair one, in the order of the instances."""
    sent = sent_between(recorder, start, end, duration=duration)
    return [each * len(sent) / max(1, sum(sent)) for each in sent]


WINDOWS = [(5, 200, 0.5), (3, 20, 3.0), (20, 40, 10.0), (2, 1, 40.0)]


@pytest.mark.parametrize(
    ("servers", "rate", "window_s", "mean"),
    [(5, 1000, 0.1, "1ms"), *((*w, mean) for w in WINDOWS for mean in ("1ms", "20ms"))],
)
@pytest.mark.parametrize("law", ["constant", "exponential"])
def test_equal_instances_get_equal_shares_in_windows_of_20_requests_each(
    servers, rate, window_s, mean, law
):
    duration = 24 * window_s  # ten bins of the recorder per window
    world = {"servers": servers, "rate": rate, "mean": mean, "law": law, "warmup": 0}
    recorder = play(duration=duration, arrivals="constant", **world)
    windows = [shares(recorder, n * window_s, (n + 1) * window_s, duration) for n in range(24)]
    least, most = min(map(min, windows)), max(map(max, windows))
    print(f"{least:.2f} to {most:.2f} of fair")
    assert 0.5 <= least <= most <= 1.5


@pytest.mark.parametrize("retries", [True, False], ids=["retried", "plain"])
@pytest.mark.parametrize("illness", ILLNESSES)
def test_one_that_was_ill_for_six_seconds_is_back_soon(illness, retries):
    retried = '[balancer.retry]\nstatuses = [503]\nfailures = ["refused", "no_response", "timeout"]'
    recorder = play(ILLNESSES[illness], retried * retries, duration=END_S)
    ill = min(range(5), key=lambda n: sent_between(recorder, AT_S + 1, HEALED_S, duration=END_S)[n])
    if retries or illness == "refused":
        assert failed_ratio(recorder) == 0
    else:
        assert failed_ratio(recorder) < 0.0015
    used_within = 1.0 if illness == "refused" else 2.0
    assert shares(recorder, HEALED_S, HEALED_S + used_within, END_S)[ill] > 0
    assert shares(recorder, HEALED_S + 4.0, HEALED_S + 5.0, END_S)[ill] >= 0.5
    for second in range(HEALED_S, END_S - 1):
        assert shares(recorder, second, second + 1, END_S)[ill] <= 1.5


@pytest.mark.parametrize(
    ("clients", "rate", "lasts_s"), [(1, 100, 600), (20, 1, 3600)], ids=["100-per-s", "1-per-s"]
)
def test_a_hung_one_gets_less_than_half_a_percent(clients, rate, lasts_s):
    duration = lasts_s + 60
    hung = fault('"hang"', at=60, lasts=lasts_s)
    recorder = play(hung, rate=rate, count=clients, duration=duration)
    sent = sent_between(recorder, 60, duration, duration=duration)
    print(f"{min(sent) / sum(sent):.4%} of {sum(sent)}")
    assert min(sent) < 0.005 * sum(sent)


def test_one_thirty_times_slower_gets_little_and_its_share_when_it_is_well_again():
    slow = fault('"slow"\nfactor = 30', at=AT_S, lasts=20)
    recorder = play(slow, duration=END_S, mean="1ms", law="constant", rate=400)
    sent = sent_between(recorder, AT_S + 1, AT_S + 20, duration=END_S)
    ill = sent.index(min(sent))
    print(f"{min(sent) / sum(sent):.2%}, then {shares(recorder, 44, 45, END_S)}")
    assert min(sent) <= 0.02 * sum(sent)
    # A slow one's share of the time is 30 times its share of the requests.
    assert 1 + 29 * min(sent) / sum(sent) <= 2.5
    assert shares(recorder, AT_S + 24, AT_S + 25, END_S)[ill] >= 0.5
