"""Bounds on what is in flight at one instance: fixed, and such as find themselves."""

from math import inf
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab import ConcurrencyLimits, ConfigurationError, Instance, Pool, SaturatedError
from trimtab.member import Member
from trimtab.pool.concurrency import Limiter, units_of
from trimtab.strategies import STRATEGIES


def instances(ids):
    return [Instance(host="10.0.0.1", port=80, id=id_) for id_ in ids]


def pool_of(ids, *, strategy="round_robin", **limits):
    pool = Pool(
        strategy=strategy, rng=Random(1), service="orders", concurrency=ConcurrencyLimits(**limits)
    )
    pool.update(instances(ids), 0.0)
    return pool


def limiter_of(*, in_flight=0, **limits):
    """Make the limiter of one member; return both."""
    limiter = Limiter(ConcurrencyLimits(**limits))
    member = Member(instances("a")[0], 0.0)
    member.in_flight = in_flight
    limiter.update([member], [member])
    return limiter, member


# Settings


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"max_in_flight": 0}, "max_in_flight is 0; it must be 1 or more"),
        ({"initial_in_flight": 0}, "initial_in_flight is 0; it must be 1 or more"),
        ({"min_in_flight": 0}, "min_in_flight is 0; it must be 1 or more"),
        ({"max_pending": -1}, "max_pending is -1 and max_wait_s 1.0; neither may be negative"),
        ({"max_wait_s": -0.1}, "max_pending is 0 and max_wait_s -0.1; neither may be negative"),
        ({"max_wait_s": float("nan")}, "max_pending is 0 and max_wait_s nan"),
        ({"adaptation": "vegas"}, "adaptation is 'vegas'; known are aimd, gradient"),
    ],
)
def test_wrong_settings_are_refused_by_name(values, said):
    with pytest.raises(ConfigurationError, match=f"^{said}"):
        ConcurrencyLimits(**values)


def test_the_least_settings():
    limits = ConcurrencyLimits(
        max_in_flight=1, initial_in_flight=1, min_in_flight=1, max_pending=0, max_wait_s=0
    )
    assert limits.is_bounded
    assert not ConcurrencyLimits().is_bounded
    assert ConcurrencyLimits(adaptation="aimd").is_bounded
    assert (ConcurrencyLimits().max_pending, ConcurrencyLimits().max_wait_s) == (0, 1.0)
    assert (ConcurrencyLimits().initial_in_flight, ConcurrencyLimits().min_in_flight) == (20, 1)


def test_without_a_bound_a_pool_keeps_none():
    pool = pool_of("a", max_pending=5)
    for _ in range(2000):
        pool.pick(0.0)
    assert pool.has_room
    assert pool.statistics(0.0).members["a"].limit is None


# A fixed bound


def test_a_pool_picks_past_those_that_are_full():
    pool = pool_of("abc", max_in_flight=2)
    picks = [pool.pick(0.0) for _ in range(6)]
    assert sorted(pick.instance.id for pick in picks) == [*"aabbcc"]
    assert not pool.has_room
    with pytest.raises(SaturatedError) as caught:
        pool.pick(0.0)
    assert str(caught.value) == (
        "service 'orders': all 3 eligible instances have as many requests in flight as they may "
        "(6 together); see ConcurrencyLimits"
    )
    assert caught.value.service == "orders"
    b = next(pick for pick in picks if pick.instance.id == "b")
    b.answered(0.0)
    assert not pool.has_room  # until the body's end
    b.done(0.0, "success")
    assert pool.has_room
    assert pool.pick(0.0).instance.id == "b"


def test_full_ones_say_so():
    pool = pool_of("ab", max_in_flight=1)
    id_ = pool.pick(0.0).instance.id
    figures = pool.statistics(0.0).members
    assert figures[id_].reason == "saturated"
    assert [each.limit for each in figures.values()] == [1, 1]
    assert [each.reason for each in figures.values()].count(None) == 1


def test_one_that_was_tried_and_has_room_is_better_than_none():
    pool = pool_of("abc", max_in_flight=1)
    pool.pick(0.0, exclude="ab")
    assert pool.pick(0.0, exclude="ab").instance.id in "ab"
    assert pool.pick(0.0, exclude="abc").instance.id in "ab"
    with pytest.raises(SaturatedError):
        pool.pick(0.0, exclude="a")


def test_one_that_was_not_tried_comes_first():
    for seed in range(20):
        pool = Pool(
            strategy="random", rng=Random(seed), concurrency=ConcurrencyLimits(max_in_flight=1)
        )
        pool.update(instances("abcd"), 0.0)
        pool.pick(0.0, exclude="abc")
        assert pool.pick(0.0, exclude="ab").instance.id == "c"


@pytest.mark.parametrize("strategy", sorted(STRATEGIES))
def test_every_strategy_keeps_to_the_bound(strategy):
    pool = pool_of("abcde", strategy=strategy, max_in_flight=3)
    picks = [pool.pick(0.0, key=str(n)) for n in range(15)]
    assert {member.in_flight for member in pool.members.values()} == {3}
    with pytest.raises(SaturatedError):
        pool.pick(0.0, key="x")
    picks[7].done(1.0, "cancelled")
    assert pool.pick(1.0, key="x").instance.id == picks[7].instance.id


def test_only_the_eligible_count_as_full():
    pool = pool_of("ab", max_in_flight=1)
    pick = pool.pick(0.0, exclude="b")
    pool.update([instances("a")[0].with_(status="draining"), *instances("b")], 1.0)
    assert pool.has_room
    assert pool.pick(1.0).instance.id == "b"
    assert not pool.has_room
    pick.done(2.0, "success")
    assert not pool.has_room  # "a" has room, and may not be picked
    pool.update(instances("ab"), 3.0)
    assert pool.has_room
    assert pool.pick(3.0).instance.id == "a"


def test_a_full_member_stays_full_over_an_update():
    pool = pool_of("ab", max_in_flight=1)
    picks = [pool.pick(0.0), pool.pick(0.0)]
    pool.update(instances("abc"), 1.0)
    assert pool.pick(1.0).instance.id == "c"
    assert not pool.has_room
    pool.update(instances("ab"), 2.0)
    assert not pool.has_room
    picks[0].done(2.0, "success")
    assert pool.has_room


def test_what_ends_on_a_departed_member_makes_no_room():
    pool = pool_of("ab", max_in_flight=1)
    a = pool.pick(0.0, exclude="b")
    pool.update(instances("b"), 1.0)
    pool.pick(1.0)
    a.done(2.0, "success")
    assert not pool.has_room


def test_what_ends_on_a_former_self_neither_fills_nor_frees_its_successor():
    pool = pool_of("a", max_in_flight=2, adaptation="aimd", initial_in_flight=2)
    old = [pool.pick(0.0), pool.pick(0.0)]
    pool.update([], 1.0)
    pool.update(instances("a"), 2.0)
    new = [pool.pick(2.0), pool.pick(2.0)]
    old[0].done(3.0, "success")
    assert not pool.has_room
    with pytest.raises(SaturatedError):
        pool.pick(3.0)
    old[1].done(3.0, "failure")
    assert pool.statistics(3.0).members["a"].limit == 2
    new[0].done(3.0, "success")
    assert pool.has_room


def test_before_the_first_list_nothing_is_bounded():
    limiter = Limiter(ConcurrencyLimits(max_in_flight=1))
    member = Member(instances("a")[0], 0.0)
    assert limiter.has_room(member)
    assert limiter.bound("a") == inf
    limiter.changed(member)
    limiter.learn(member, 1.0, ok=True)
    assert limiter.is_full


# AIMD


@pytest.mark.parametrize(
    ("settings", "bound"),
    [
        ({}, 20),
        ({"initial_in_flight": 7}, 7),
        ({"initial_in_flight": 50, "max_in_flight": 30}, 30),
        ({"initial_in_flight": 2, "min_in_flight": 5}, 5),
        ({"initial_in_flight": 5000}, 1000),
        ({"initial_in_flight": 20, "min_in_flight": 50, "max_in_flight": 30}, 30),
    ],
)
@pytest.mark.parametrize("kind", ["aimd", "gradient"])
def test_where_an_adaptive_bound_begins(kind, settings, bound):
    limiter, _ = limiter_of(adaptation=kind, **settings)
    assert limiter.bound("a") == bound


@pytest.mark.parametrize(
    ("begin", "in_flight", "ok", "then"),
    [
        (20, 20, True, 21),
        (20, 10, True, 21),
        (20, 9, True, 20),
        (21, 11, True, 22),
        (21, 10, True, 21),
        (20, 20, False, 18),
        (20, 1, False, 18),
        (19, 1, False, 17),
        (10, 1, False, 9),
        (2, 1, False, 1),
        (1, 1, False, 1),
        (1, 1, True, 2),
        (1000, 1000, True, 1000),
    ],
)
def test_aimd_adds_one_while_half_used_and_takes_a_tenth(begin, in_flight, ok, then):
    limiter, member = limiter_of(adaptation="aimd", initial_in_flight=begin, in_flight=in_flight)
    limiter.learn(member, 1.0, ok=ok)
    assert limiter.bound("a") == then


def test_aimd_keeps_to_its_bounds():
    limiter, member = limiter_of(
        adaptation="aimd", initial_in_flight=5, min_in_flight=4, max_in_flight=6, in_flight=9
    )
    seen = []
    for ok in (True, True, False, False, False):
        limiter.learn(member, 1.0, ok=ok)
        seen.append(limiter.bound("a"))
    assert seen == [6, 6, 5, 4, 4]


def test_aimd_within_a_pool_follows_answers_and_failures():
    pool = pool_of("a", adaptation="aimd", initial_in_flight=2)
    for status, bound in [(200, 3), (500, 4), (404, 5), (503, 4), (429, 3), (504, 2), (None, 1)]:
        picks = [pool.pick(0.0) for _ in range(int(pool.statistics(0.0).members["a"].limit))]
        with pytest.raises(SaturatedError):
            pool.pick(0.0)
        if status is None:
            picks[0].done(0.0, "failure")
        else:
            picks[0].answered(0.0, ok=status < 429, status=status)
        assert pool.statistics(0.0).members["a"].limit == bound, status
        for pick in picks:
            if not pick.is_done:
                pick.done(0.0, "cancelled")
        assert pool.statistics(0.0).members["a"].limit == bound, "a cancellation says nothing"


def test_a_bound_survives_an_update_and_not_a_departure():
    pool = pool_of("ab", adaptation="aimd", initial_in_flight=10)
    pool.pick(0.0, exclude="b").done(0.0, "failure")
    pool.update(instances("abc"), 1.0)
    limits = {id_: each.limit for id_, each in pool.statistics(1.0).members.items()}
    assert limits == {"a": 9, "b": 10, "c": 10}
    pool.update(instances("b"), 2.0)
    pool.update(instances("ab"), 3.0)
    assert pool.statistics(3.0).members["a"].limit == 10


def test_a_bound_that_grows_makes_room():
    pool = pool_of("a", adaptation="aimd", initial_in_flight=1)
    pick = pool.pick(0.0)
    assert not pool.has_room
    pick.answered(0.1)
    pick.done(0.1, "success")
    assert [pool.pick(0.2).instance.id for _ in range(2)] == ["a", "a"]
    assert not pool.has_room


# Gradient


def gradient(begin, *, in_flight=None, **limits):
    flight = begin if in_flight is None else in_flight
    return limiter_of(adaptation="gradient", initial_in_flight=begin, in_flight=flight, **limits)


def test_gradient_grows_by_its_queue_while_answers_are_as_fast_as_ever():
    """`0.8 * L + 0.2 * (L * 1 + 4)`: 0.8 more at each answer."""
    limiter, member = gradient(20)
    for number in range(1, 6):
        limiter.learn(member, 0.1, ok=True)
        assert limiter.bound("a") == pytest.approx(20 + 0.8 * number)


@pytest.mark.parametrize(
    ("rtt_s", "ratio"),
    # 0.2 s make the long-term latency 0.1 + 2/601 * 0.1, half as much again of which is allowed.
    [(0.05, 1.0), (0.1, 1.0), (0.15, 1.0), (0.2, 0.75249584), (1.0, 0.5)],
)
def test_gradient_follows_the_ratio_of_latencies(rtt_s, ratio):
    limiter, member = gradient(100)
    limiter.learn(member, 0.1, ok=True)
    limiter.learn(member, rtt_s, ok=True)
    assert limiter.bound("a") == pytest.approx(0.8 * 100.8 + 0.2 * (100.8 * ratio + 4))


def test_gradient_leaves_an_unused_bound_alone_and_remembers():
    limiter, member = gradient(20, in_flight=9)
    for _ in range(100):
        limiter.learn(member, 0.1, ok=True)
    assert limiter.bound("a") == 20
    member.in_flight = 10
    limiter.learn(member, 10.0, ok=True)
    assert limiter.bound("a") == pytest.approx(0.8 * 20 + 0.2 * (20 * 0.5 + 4))


def test_gradient_takes_a_tenth_at_a_failure():
    limiter, member = gradient(20)
    limiter.learn(member, 99.0, ok=False)
    assert limiter.bound("a") == pytest.approx(18)
    # The time of a failure is no latency.
    limiter.learn(member, 0.1, ok=True)
    assert limiter.bound("a") == pytest.approx(18.8)


def test_gradient_does_not_take_long_slowness_for_normal():
    limiter, member = gradient(20, in_flight=1)
    limiter.learn(member, 1.0, ok=True)
    long_s = 1.0
    for _ in range(30):
        limiter.learn(member, 0.1, ok=True)
        long_s += 2 / 601 * (0.1 - long_s)
        if long_s > 0.2:
            long_s *= 0.95
    member.in_flight = 20
    limiter.learn(member, 1.0, ok=True)
    long_s += 2 / 601 * (1.0 - long_s)
    ratio = max(0.5, 1.5 * long_s)
    assert ratio == 0.5
    assert limiter.bound("a") == pytest.approx(0.8 * 20 + 0.2 * (20 * ratio + 4))
    assert long_s < 0.3  # without it 0.91 of the second would be left


def test_gradient_copes_with_answers_in_no_time():
    limiter, member = gradient(20)
    for _ in range(3):
        limiter.learn(member, 0.0, ok=True)
    assert limiter.bound("a") <= 22.4


def test_a_bound_counts_whole_requests():
    limiter, member = gradient(20)
    limiter.learn(member, 0.1, ok=True)
    assert limiter.bound("a") == pytest.approx(20.8)
    member.in_flight = 19
    assert limiter.has_room(member)
    member.in_flight = 20
    assert not limiter.has_room(member)


@given(
    kind=st.sampled_from(["aimd", "gradient"]),
    least=st.integers(1, 30),
    more=st.integers(0, 50),
    begin=st.integers(1, 2000),
    steps=st.lists(st.tuples(st.floats(0, 100), st.integers(0, 100), st.booleans()), max_size=60),
)
def test_adaptive_bounds_stay_in_range(kind, least, more, begin, steps):
    limiter, member = limiter_of(
        adaptation=kind,
        min_in_flight=least,
        max_in_flight=least + more,
        initial_in_flight=begin,
    )
    assert least <= limiter.bound("a") <= least + more
    for rtt_s, in_flight, ok in steps:
        member.in_flight = in_flight
        limiter.learn(member, rtt_s, ok=ok)
        assert least <= limiter.bound("a") <= least + more


# Costs


@pytest.mark.parametrize(
    ("cost", "units"),
    [(1, 1), (50, 50), (12.0, 12), (0.5, 0.5), (1e-300, 2**-16), (1e300, 10**9), (10**400, 10**9)],
)
def test_what_a_request_counts(cost, units):
    assert units_of(cost) == units


@pytest.mark.parametrize("cost", [0, -1, inf, float("nan"), "12", None, True])
def test_what_is_no_cost_is_refused_by_name(cost):
    with pytest.raises(
        ConfigurationError, match=r"^the cost of a call is .* finite number above 0"
    ):
        units_of(cost, "the cost of a call")


def test_a_pool_takes_no_wrong_cost():
    pool = pool_of("a")
    with pytest.raises(ConfigurationError, match=r"^cost is -1"):
        pool.pick(0.0, cost=-1)
    assert pool.statistics(0.0).picks == 0


@given(
    st.lists(
        st.tuples(
            st.floats(1e-4, 1e6) | st.integers(1, 1000) | st.sampled_from([0.1, 0.7]), st.booleans()
        )
    )
)
def test_what_is_in_flight_is_the_sum_of_the_costs_and_nothing_is_left(steps):
    pool, out = pool_of("ab", strategy="least_request"), []
    for cost, also_ends in steps:
        out.append(pool.pick(0.0, cost=cost))
        if also_ends:
            out.pop(len(out) // 2).done(0.0, "success")
        figures = pool.statistics(0.0)
        assert figures.requests_in_flight == len(out)
        assert figures.in_flight == sum(pick.cost for pick in out)
        assert sum(each.in_flight for each in figures.members.values()) == figures.in_flight
    for pick in out:
        pick.done(0.0, "cancelled")
    assert [(each.in_flight, each.requests_in_flight) for each in pool.members.values()] == [
        (0, 0),
        (0, 0),
    ]


def test_a_bound_counts_costs():
    pool = pool_of("ab", max_in_flight=10)
    a = pool.pick(0.0, cost=7)
    b = pool.pick(0.0, cost=6)
    assert {a.instance.id, b.instance.id} == {"a", "b"}
    assert pool.pick(0.0, cost=4).instance.id == b.instance.id
    with pytest.raises(SaturatedError, match=r"none of 2 .* room for a request of cost 4 \(17 tog"):
        pool.pick(0.0, cost=4)
    assert pool.has_room  # for a smaller one
    assert pool.pick(0.0, cost=3).instance.id == a.instance.id
    assert not pool.has_room
    a.done(0.0, "success")
    assert pool.statistics(0.0).members[a.instance.id].requests_in_flight == 1


def test_one_that_costs_more_than_the_bound_has_an_instance_to_itself():
    pool = pool_of("a", max_in_flight=10)
    pick = pool.pick(0.0, cost=50)
    assert not pool.has_room
    pick.done(0.0, "success")
    pool.pick(0.0, cost=0.5)
    with pytest.raises(SaturatedError):
        pool.pick(0.0, cost=50)


@pytest.mark.parametrize("strategy", ["least_request", "least_latency", "least_request_full_scan"])
def test_the_busiest_is_the_one_with_the_highest_costs(strategy):
    pool = pool_of("ab", strategy=strategy)
    dear = pool.pick(0.0, cost=50)
    others = [pool.pick(0.0) for _ in range(20)]
    assert dear.instance.id not in {pick.instance.id for pick in others}
