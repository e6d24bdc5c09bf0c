"""Two scenarios of palantir/dialogue, on the real pool in virtual time.

`black_hole`: two servers of 600 ms, one of which never answers from 3 s on; 200 requests per
second for 10 s; a request without an answer at 30 s has failed. dialogue's balanced score reaches
91.4 %, plain round robin 65 %.

`short_outage`: two servers of 2 s, one of which answers 500 at once from 30 to 50 s; 20 requests
per second for 80 s. Balanced 99.6 %, plain round robin 87.5 %.

Nothing is retried here, so these are floors: a transport would try the failures again.
"""

from heapq import heappop, heappush
from itertools import count, pairwise
from random import Random
from statistics import fmean

import pytest

from trimtab import Instance, Pool
from trimtab.member import TRIAL_PICKS

SEEDS = range(10)
A, B = (Instance(host="10.0.0.1", port=port) for port in (1, 2))


def black_hole(instance, now):
    """Return when the answer comes, and whether it is good; None for never."""
    return None if instance is B and now >= 3 else (now + 0.6, True)


def short_outage(instance, now):
    return (now, False) if instance is B and 30 <= now < 50 else (now + 2.0, True)


def success_ratio(answer, strategy, seed, *, per_s, until_s, abort_s=1e9):
    """Play a scenario: requests at even intervals, each answered as `answer` says."""
    pool = Pool(strategy=strategy, rng=Random(seed))
    pool.update([A, B], 0.0)
    events, order, good = [], count(), 0
    requests = per_s * until_s
    for number in range(requests):
        heappush(events, (number / per_s, next(order), None, True))
    while events and events[0][0] <= abort_s:
        now, _, pick, ok = heappop(events)
        if pick is not None:
            pick.answered(now, ok=ok)
            pick.done(now, "success" if ok else "failure")
            good += ok
            continue
        pick = pool.pick(now)
        if (coming := answer(pick.instance, now)) is not None:
            heappush(events, (coming[0], next(order), pick, coming[1]))
    return good / requests


def black_holes(strategy):
    return [
        success_ratio(black_hole, strategy, seed, per_s=200, until_s=10, abort_s=30)
        for seed in SEEDS
    ]


def short_outages(strategy):
    return [success_ratio(short_outage, strategy, seed, per_s=20, until_s=80) for seed in SEEDS]


def test_round_robin_gives_the_published_figures():
    assert fmean(black_holes("round_robin")) == pytest.approx(0.65, abs=0.001)
    assert fmean(short_outages("round_robin")) == pytest.approx(0.875, abs=0.001)


def test_least_latency_turns_away_from_a_black_hole():
    # 97.0 % is the most without foresight: until 3.6 s nothing is late. At 3.9 s the oldest request
    # is half as long again as an answer takes, which is more than chance.
    assert min(black_holes("least_latency")) >= 0.96


def test_least_latency_turns_away_from_failures_at_once():
    assert min(short_outages("least_latency")) >= 0.996


@pytest.mark.parametrize("instances", [2, 10])
@pytest.mark.parametrize("per_s", [0.1, 1, 20])
def test_long_fast_failures_never_calls_the_traffic_back(instances, per_s):
    pool = Pool(rng=Random(1))
    pool.update([Instance(host="10.0.0.1", port=1 + number) for number in range(instances)], 0.0)
    failures = []
    for number in range(int(per_s * min(3600, 20_000 / per_s))):
        now = number / per_s
        pick = pool.pick(now)
        failed = pick.instance.port == 1 and now >= 30
        pick.done(now + 0.001, "failure" if failed else "success")
        if failed:
            failures.append(now)
    settled = [(later - before) * per_s for before, later in pairwise(failures[3:])]
    assert failures
    # Less than half a percent of the requests are trials.
    assert min(settled, default=TRIAL_PICKS) >= TRIAL_PICKS
    back_at = now
    while pick.instance.port != 1 or now == back_at:
        now += 1 / per_s
        pick = pool.pick(now)
        pick.done(now + 0.001, "success")
    assert now <= back_at + 1.3 * TRIAL_PICKS / per_s
