"""Golden rows of health, retries and hedging: what the field's own specifications say.

Each through the public face, a pool or a call, as it is used; the rules behind them, one by one,
have test modules of their own. Each test names its source.
"""

import pytest

from service_kit import Always, World, instance
from trimtab import (
    EnvoyOutliers,
    GrpcOutliers,
    HealthSettings,
    HedgePolicy,
    Pool,
    RetryPolicy,
    SlowStart,
)
from trimtab.calls import Backoff, RetryBudget
from trimtab.health.outliers import outlier_threshold

IDS = "abcdefghij"


def pool_of(count, **health):
    pool = Pool(strategy="round_robin", rng=Always(0.0), health=HealthSettings(**health))
    pool.update([instance(id_) for id_ in IDS[:count]], 0.0)
    return pool


def send(pool, id_, *statuses, now=0.0):
    for status in statuses:
        pick = pool.pick(now, exclude=set(IDS[: len(pool)]) - {id_})
        pick.answered(now, ok=status < 500, status=status)
        pick.done(now, "success")


def ejected(pool, now):
    figures = pool.statistics(now).members
    return [id_ for id_, each in figures.items() if each.reason == "ejected"]


# Ejection

BY_RATIO = GrpcOutliers(failure_ratio_min_hosts=1)


@pytest.mark.parametrize(
    ("variant", "count", "out"),
    [
        *[("envoy", count, out) for count, out in [(2, 0), (3, 0), (5, 0), (10, 1)]],
        *[(BY_RATIO, count, out) for count, out in [(2, 1), (3, 1), (5, 1), (10, 1)]],
        # Other limits: Envoy's is never passed, gRPC's is where it stops.
        *[
            (EnvoyOutliers(max_ejected_ratio=ratio), count, out)
            for ratio, count, out in [(0.2, 5, 1), (0.3, 5, 1), (0.5, 2, 1), (0.3, 10, 3)]
        ],
        *[
            (GrpcOutliers(failure_ratio_min_hosts=1, max_ejected_ratio=ratio), count, out)
            for ratio, count, out in [(0.2, 5, 1), (0.3, 5, 2), (0.5, 2, 1), (0.3, 10, 3)]
        ],
    ],
)
def test_the_limit(variant, count, out):
    """Envoy: `(ejected + 1) * 100 / hosts <= max`; gRPC: stop once `ejected % >= max`.

    All fail; panic is off, so that those who are out stay out.
    """
    pool = pool_of(count, outliers=variant, panic_ratio=0.0)
    for _ in range(50):
        for id_ in IDS[:count]:
            send(pool, id_, 500)
    assert ejected(pool, 10.0) == list(IDS[:out])


def test_by_default_grpc_judges_no_fewer_than_five():
    """A50: `minimum_hosts` 5, of both algorithms."""
    out = {}
    for count in (2, 3, 4, 5, 10):
        pool = pool_of(count, outliers="grpc_a50")
        send(pool, "a", *[500] * 100)
        out[count] = len(ejected(pool, 10.0))
    assert out == {2: 0, 3: 0, 4: 0, 5: 1, 10: 1}


def test_five_failures_in_a_row():
    """Envoy ejects at once; gRPC does not know the rule."""
    pool = pool_of(10, outliers="envoy")
    send(pool, "a", *[500] * 4, 200, *[500] * 4)
    assert ejected(pool, 0.0) == []
    send(pool, "a", 500)
    assert ejected(pool, 0.0) == ["a"]
    other = pool_of(10, outliers="grpc_a50")
    send(other, "a", *[500] * 49)
    assert ejected(other, 10.0) == []


def test_the_success_rate_threshold():
    """`mean - 1.9 * stdev` of the population; Envoy's own example: 52 of 50, 100, 100, 100, 100."""
    assert outlier_threshold([0.5, 1, 1, 1, 1], 1.9) == pytest.approx(0.52)


@pytest.mark.parametrize(
    ("variant", "good", "out"),
    [
        ("envoy", 15, True), ("envoy", 16, False),
        ("grpc", 15, False), ("grpc", 14, True),
    ],
)  # fmt: skip
def test_the_failure_percentage(variant, good, out):
    """Envoy: at least 85 %, off by default; gRPC: above 85 %, on."""
    settings = {
        "envoy": EnvoyOutliers(
            failure_ratio=True, success_rate=False, consecutive_failures=0, max_ejected_ratio=0.2
        ),
        "grpc": GrpcOutliers(success_rate=False),
    }
    pool = pool_of(5, outliers=settings[variant])
    for id_ in IDS[:5]:
        send(pool, id_, *[200] * (good if id_ == "a" else 100))
    send(pool, "a", *[500] * (100 - good))
    assert ejected(pool, 10.0) == (["a"] if out else [])


def test_the_length_of_ejections():
    """`min(30 * n, 300)`, n less one per healthy interval of 10 s."""
    pool = pool_of(10, outliers="envoy")
    now, lengths = 0.0, []
    for healthy in (0, 0, 0, 2, 9, *[0] * 12):
        for _ in range(healthy):
            now += 10.0
            pool.review(now)
        send(pool, "a", *[500] * 5, now=now)
        pool.review(now)
        began = now
        while ejected(pool, now):
            now += 10.0
        lengths.append(now - began)
    assert lengths[:7] == [30, 60, 90, 60, 30, 60, 90]
    assert lengths[-3:] == [300, 300, 300]


def test_survivors_keep_what_is_known_of_them():
    """Stork issue #233: identities made anew at each refresh destroyed the statistics."""
    pool = pool_of(10, outliers="envoy")
    send(pool, "a", 200, *[500] * 5)
    before = pool.statistics(1.0).members["a"]
    pool.update([instance(id_, zone="elsewhere") for id_ in IDS], 1.0)
    assert pool.statistics(1.0).members["a"] == before
    assert (before.reason, before.successes, before.failures) == ("ejected", 1, 5)


# Panic, slow start


@pytest.mark.parametrize(("well", "panics"), [(5, False), (4, True), (0, True)])
def test_panic_begins_below_one_half(well, panics):
    """Envoy's healthy panic threshold, 50 %."""
    pool = pool_of(10)
    for id_ in IDS[well:]:
        pool.probed(id_, 0.0, is_well=False)
    assert pool.is_panicking is panics
    assert len(pool.eligible) == (10 if panics else well)


@pytest.mark.parametrize(
    ("age_s", "aggression", "share"),
    [(0, 1, 0.1), (1, 1, 0.1), (6, 1, 0.1), (15, 1, 0.25), (15, 2, 0.5), (60, 1, 1.0), (99, 2, 1)],
)
def test_slow_start(age_s, aggression, share):
    """Envoy: `weight * max(0.10, (max(t, 1) / 60)^(1 / aggression))`."""
    pool = pool_of(1, slow_start=SlowStart(aggression=aggression))
    pool.update([instance("a"), instance("b", weight=4.0)], 100.0)
    weights = [each.weight for each in pool.statistics(100.0 + age_s).members.values()]
    assert weights == pytest.approx([1.0, 4.0 * share])


# Retries


@pytest.mark.parametrize(("requests", "retries"), [(0, 100), (5, 101), (100, 120), (1000, 300)])
def test_the_retry_budget(requests, retries):
    """Finagle: 20 % of the requests of ten seconds, and 10 per second."""
    budget = RetryBudget()
    for _ in range(requests):
        budget.request(5.0)
    assert sum(budget.take(5.0) for _ in range(500)) == retries
    assert sum(budget.take(14.9) for _ in range(500)) == 0
    assert sum(budget.take(15.0) for _ in range(500)) == 100


def test_all_that_fails_makes_little_more_than_a_fifth_more():
    """With no reserve, attempts per request stay within 1.2 whatever fails."""
    world = World("abc", retry=RetryPolicy(budget_min_per_s=0.0, backoff_first_s=0.0))
    attempts = 0
    for _ in range(1000):
        call, wait_s = world.begin(), 0.0
        while wait_s is not None:
            attempts += 1
            wait_s = call.failed("no_response")
    assert attempts == 1200


def test_full_jitter():
    """Brooker: evenly from nothing to a bound that doubles."""
    most = Backoff(Always(1.0), first_s=0.025, max_s=0.25)
    assert [most.next_s() for _ in range(6)] == pytest.approx([0.025, 0.05, 0.1, 0.2, 0.25, 0.25])
    least = Backoff(Always(0.0), first_s=0.025, max_s=0.25)
    assert [least.next_s() for _ in range(6)] == [0.0] * 6


@pytest.mark.parametrize("ids", ["ab", "abc", "abcdefghij"])
def test_a_retry_goes_elsewhere_while_it_can(ids):
    call = World(ids, retry=RetryPolicy(max_attempts=len(ids))).begin()
    tried = []
    for _ in ids:
        tried.append(call.pick.instance.id)
        call.failed("no_response")
    assert sorted(tried) == sorted(ids)


@pytest.mark.parametrize(
    ("method", "replayable", "again"),
    [
        *[(method, True, True) for method in ("GET", "HEAD", "OPTIONS", "PUT", "DELETE", "TRACE")],
        *[(method, True, False) for method in ("POST", "PATCH", "CONNECT", "QUERY")],
        *[(method, False, False) for method in ("GET", "PUT", "POST")],
    ],
)
def test_only_what_may_and_can_be_sent_twice(method, replayable, again):
    """RFC 9110, 9.2.2: the idempotent methods."""
    call = World("ab").begin(method=method, replayable=replayable)
    assert (call.failed("no_response") is not None) is again


@pytest.mark.parametrize(("asks_s", "wait_s"), [(0.5, 0.5), (5.0, 5.0), (6.0, None)])
def test_retry_after_overrides_the_backoff(asks_s, wait_s):
    """RFC 9110, 10.2.3."""
    policy = RetryPolicy(statuses={503}, retry_after="service")
    assert World("ab", retry=policy).begin().answered(503, asks_s) == wait_s


# Hedging, deadline


def test_a_hedge_follows_the_percentile_from_the_retry_budget():
    """The Tail at Scale: after the 95th percentile, so that a twentieth is asked twice."""
    world = World(
        "abc", hedge=HedgePolicy(), retry=RetryPolicy(budget_ratio=0.05, budget_min_per_s=0.0)
    )
    for n in range(1, 101):
        call = world.begin()
        world.advance(n / 1000)
        call.completed(200)
    assert 0.095 <= world.calls.hedge_delay_s() <= 0.095 * 1.05
    calls = [world.begin() for _ in range(20)]
    first, second = calls[0].pick, calls[0].hedge()
    assert second.instance.id != first.instance.id
    hedges = [call.hedge() for call in calls[1:]]
    assert sum(hedge is not None for hedge in hedges) == 5  # six of 120 requests, in all
    calls[0].completed(200, pick=second)
    member = first.member
    assert (first.is_done, member.failures) == (True, 0)
    assert member.in_flight == sum(
        pick.instance.id == member.id
        for pick in (*(call.step for call in calls[1:]), *hedges)
        if pick is not None
    )


def test_one_deadline_for_the_whole_request():
    world = World("abc", retry=RetryPolicy(backoff_first_s=0.4, backoff_max_s=9.0))
    call = world.begin(deadline_s=1.0)
    world.advance(0.3)
    assert call.failed("no_response") == 0.4
    assert call.pick is not None
    world.advance(0.2)
    assert call.failed("no_response") is None  # 0.8 s would be too long
