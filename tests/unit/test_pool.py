"""The pool: updates, picks, outcomes, figures."""

from functools import partial
from random import Random

import pytest

from trimtab import (
    ConcurrencyLimits,
    ConfigurationError,
    EnvoyOutliers,
    HealthSettings,
    Instance,
    NoEligibleInstanceError,
    NoInstancesError,
    PickDoneError,
    Pool,
    Status,
)


def instance(id_, **fields):
    return Instance(**{"host": "10.0.0.7", "port": 8080, "id": id_, **fields})


@pytest.fixture
def pool():
    pool = Pool(strategy="round_robin", rng=Random(1), service="orders")
    pool.update([instance("a"), instance("b")], 0.0)
    return pool


def test_an_update_adds_keeps_and_removes(pool):
    a, b = pool.members["a"], pool.members["b"]
    assert pool.update([instance("b", weight=3), instance("c")], 5.0) == [a]
    assert a.is_removed
    assert not b.is_removed
    assert pool.members["b"] is b
    assert (b.since, b.weight, pool.members["c"].since) == (0.0, 3.0, 5.0)
    assert len(pool) == 2
    assert [member.id for member in pool.eligible] == ["b", "c"]


def test_of_duplicates_the_last_counts(pool):
    pool.update([instance("a", weight=1), instance("b"), instance("a", weight=7)], 1.0)
    assert len(pool) == 2
    assert pool.members["a"].weight == 7.0


def test_who_leaves_and_comes_back_is_new(pool):
    old = pool.members["a"]
    pick = pool.pick(0.0, exclude=("b",))
    pool.update([instance("b")], 1.0)
    pool.update([instance("a"), instance("b")], 2.0)
    assert pool.members["a"] is not old
    pick.done(3.0, "success")
    assert (old.in_flight, old.successes, pool.members["a"].picks) == (0, 1, 0)


def test_survivors_keep_their_statistics(pool):
    pick = pool.pick(0.0, exclude=("b",))
    pool.update([instance("a", status=Status.WARNING)], 1.0)
    assert pool.members["a"].in_flight == 1
    pick.done(1.5, "success")
    assert pool.statistics(1.5).members["a"].latency_s == pytest.approx(1.5)


def test_an_update_without_a_change_leaves_the_turn_alone(pool):
    pool = Pool(strategy="weighted_round_robin", rng=Random(1))
    same = [instance("a", weight=2), instance("b"), instance("x", weight=0)]
    other = [*(each.with_(zone="z") for each in same[:2]), instance("x", status="critical")]
    pool.update(same, 0.0)
    word = ""
    for number in range(30):
        pool.update(other if number % 2 else same, float(number))
        word += pool.pick(0.0).instance.id
    assert word[:3] * 10 == word


def test_a_changed_weight_or_status_reaches_the_strategy(pool):
    pool.update([instance("a"), instance("b", status=Status.DRAINING)], 1.0)
    assert {pool.pick(1.0).instance.id for _ in range(5)} == {"a"}
    pool.update([instance("a", weight=0), instance("b")], 2.0)
    assert {pool.pick(2.0).instance.id for _ in range(5)} == {"b"}


def test_an_empty_pool_says_so():
    for pool in (Pool(), Pool(service="orders")):
        with pytest.raises(NoInstancesError, match="no instance is registered") as caught:
            pool.pick(0.0)
        assert caught.value.service == pool.service
    assert "'orders'" in str(caught.value)


def test_a_pool_of_filtered_instances_counts_the_reasons(pool):
    pool.update(
        [
            instance("a", status=Status.CRITICAL),
            instance("b", status=Status.CRITICAL, weight=0),
            instance("c", status=Status.DRAINING),
            instance("d", weight=0),
        ],
        1.0,
    )
    with pytest.raises(NoEligibleInstanceError) as caught:
        pool.pick(1.0)
    assert caught.value.reasons == {"critical": 2, "draining": 1, "weight 0": 1}
    assert "4 instances" in str(caught.value)
    assert "2 critical, 1 draining, 1 weight 0" in str(caught.value)
    figures = pool.statistics(1.0).members
    assert [figures[id_].reason for id_ in "abcd"] == [
        "critical",
        "critical",
        "draining",
        "weight 0",
    ]


def test_exclusion_holds_while_another_is_eligible(pool):
    assert {pool.pick(0.0, exclude=["a"]).instance.id for _ in range(5)} == {"b"}
    assert {pool.pick(0.0, exclude={"a", "x"}).instance.id for _ in range(5)} == {"b"}
    assert {pool.pick(0.0, exclude=["a", "b"]).instance.id for _ in range(9)} == {"a", "b"}
    assert {pool.pick(0.0, exclude=["a", "a", "a"]).instance.id for _ in range(5)} == {"b"}


def test_has_other(pool):
    assert pool.has_other([])
    assert pool.has_other(["a"])
    assert not pool.has_other(["a", "b"])
    pool.update([instance("a"), instance("b", weight=0)], 1.0)
    assert not pool.has_other(["a"])
    pool.update([], 2.0)
    assert not pool.has_other([])


def counts(member):
    return (member.in_flight, member.successes, member.failures, member.cancelled)


@pytest.mark.parametrize(
    ("answer", "outcome", "wanted"),
    [
        (None, "success", (0, 1, 0, 0)),
        (None, "failure", (0, 0, 1, 0)),
        (None, "cancelled", (0, 0, 0, 1)),
        (True, "success", (0, 1, 0, 0)),
        (True, "failure", (0, 0, 1, 0)),
        (True, "cancelled", (0, 0, 0, 1)),
        (False, "success", (0, 0, 1, 0)),
        (False, "failure", (0, 0, 1, 0)),
        (False, "cancelled", (0, 0, 1, 0)),
    ],
)
def test_each_way_to_end(pool, answer, outcome, wanted):
    pick = pool.pick(1.0)
    assert (pick.started_at, pick.is_done, counts(pick.member)) == (1.0, False, (1, 0, 0, 0))
    if answer is not None:
        pick.answered(2.0, ok=answer)
        assert pick.member.in_flight == 1
    pick.done(4.0, outcome)
    assert pick.is_done
    assert counts(pick.member) == wanted
    failed = answer is False or outcome == "failure"
    assert (pick.member.failed_in_row > 0) is failed
    with pytest.raises(PickDoneError, match=pick.instance.id):
        pick.done(5.0, "success")
    assert counts(pick.member) == wanted


def test_only_the_first_answer_counts_and_none_after_the_end(pool):
    pick = pool.pick(0.0)
    pick.answered(1.0)
    pick.answered(9.0, ok=False)
    assert pick.member.latency.mean_s == pytest.approx(1.0)
    pick.done(9.0, "success")
    ended = pool.pick(9.0)
    ended.done(9.5, "success")
    ended.answered(99.0, ok=False)
    assert ended.member.failures == 0


def test_an_unknown_outcome_is_refused_and_the_pick_stays_open(pool):
    pick = pool.pick(0.0)
    with pytest.raises(
        ConfigurationError, match="'fine' is not one of cancelled, failure, success"
    ):
        pick.done(1.0, "fine")
    assert pick.member.in_flight == 1
    pick.done(1.0, "success")


def test_the_instance_of_a_pick_stays_what_it_was(pool):
    pick = pool.pick(0.0, exclude=("b",))
    pool.update([instance("a", port=9999)], 1.0)
    assert pick.instance.port == 8080
    assert pick.member.instance.port == 9999


def test_statistics(pool):
    pool.pick(0.0, exclude=("b",)).done(0.2, "success")
    pool.pick(0.2, exclude=("b",)).done(0.2, "failure")
    pool.pick(0.2, exclude=("a",))
    figures = pool.statistics(0.2)
    assert (figures.service, figures.strategy, figures.eligible) == ("orders", "round_robin", 2)
    assert (figures.in_flight, figures.picks, list(figures.members)) == (1, 3, ["a", "b"])
    a, b = figures.members["a"], figures.members["b"]
    assert (a.id, a.address, a.weight, a.status, a.reason) == (
        "a", "10.0.0.7:8080", 1.0, "passing", None,
    )  # fmt: skip
    assert (a.picks, a.successes, a.failures, a.cancelled, a.in_flight) == (2, 1, 1, 0, 0)
    assert a.latency_s == pytest.approx(0.2)
    assert a.failed_in_row == 1
    assert (b.latency_s, b.failed_in_row, b.in_flight) == (None, 0, 1)


def test_requests_in_flight_on_a_removed_member_count_until_they_are_done():
    pool = Pool(strategy="round_robin", rng=Random(1))
    pool.update([instance("a")], 0.0)
    first, second = pool.pick(0.0), pool.pick(0.0)
    pool.update([], 1.0)
    assert pool.statistics(1.0).in_flight == 2
    first.done(2.0, "success")
    pool.update([], 2.0)
    assert pool.statistics(2.0).in_flight == 1
    second.done(3.0, "failure")
    assert pool.statistics(3.0).in_flight == 0
    assert pool.statistics(3.0).members == {}


def test_pools_and_picks_have_a_readable_form(pool):
    pool.update([instance("a"), instance("b", weight=0)], 1.0)
    assert repr(pool) == "<Pool 'orders' round_robin, 1 of 2 eligible>"
    assert repr(Pool(strategy="random")) == "<Pool random, 0 of 0 eligible>"
    pick = pool.pick(1.5)
    assert repr(pick) == "<Pick a in flight started_at=1.5>"
    pick.done(2.0, "success")
    assert repr(pick) == "<Pick a done started_at=1.5>"


def test_the_default_is_least_latency():
    assert Pool().strategy_name == "least_latency"


# What a strategy is told


class Recorder:
    """Takes the first that is not excluded, and remembers what it was told."""

    def __init__(self, rng):
        self.members, self.told = [], []

    def update(self, members):
        self.members = list(members)

    def choose(self, now, key, exclude):
        self.told.append(("choose", now, key, sorted(exclude)))
        return next(member for member in self.members if member.id not in exclude)


class Counting(Recorder):
    def begun(self, member):
        self.told.append(("begun", member.id))

    def ended(self, member):
        self.told.append(("ended", member.id))

    def report(self, id_, report, now):
        self.told.append(("report", id_, report, now))


def recorded(kind=Recorder, **settings):
    made = []

    def factory(rng):
        made.append(kind(rng))
        return made[0]

    pool = Pool(strategy=factory, rng=Random(1), **settings)
    pool.update([instance("a"), instance("b"), instance("c")], 0.0)
    return pool, made[0]


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"health": HealthSettings(outliers="envoy")},
        {"concurrency": ConcurrencyLimits(max_in_flight=9)},
    ],
)
def test_a_strategy_is_told_the_time_the_key_and_who_was_tried(settings):
    pool, strategy = recorded(**settings)
    assert pool.pick(5.0, key="customer-7", exclude=["a"]).instance.id == "b"
    assert pool.pick(6.0).instance.id == "a"
    assert strategy.told == [("choose", 5.0, "customer-7", ["a"]), ("choose", 6.0, None, [])]


def test_full_ones_are_excluded_one_after_the_other():
    pool, strategy = recorded(concurrency=ConcurrencyLimits(max_in_flight=1))
    pool.pick(1.0)
    pool.pick(2.0, key="k")
    assert strategy.told[1:] == [("choose", 2.0, "k", []), ("choose", 2.0, "k", ["a"])]
    strategy.told.clear()
    assert pool.pick(3.0, exclude=["c"]).instance.id == "c"
    # All but "c" are full, which was tried; so what is full is excluded, and nothing else.
    assert strategy.told[-1] == ("choose", 3.0, None, ["a", "b"])


def test_a_strategy_that_counts_is_told_of_begins_and_ends():
    pool, strategy = recorded(Counting)
    pool.pick(1.0, exclude=["a"]).done(2.0, "success")
    assert strategy.told[1:] == [("begun", "b"), ("ended", "b")]


def test_a_strategy_that_weighs_reports_is_handed_them():
    pool, strategy = recorded(Counting)
    assert pool.takes_reports
    report = object()
    pool.report("b", report, 7.0)
    assert strategy.told == [("report", "b", report, 7.0)]
    other, _ = recorded()
    assert not other.takes_reports
    other.report("b", report, 7.0)


class Knowing(Recorder):
    def update(self, members):
        raise AssertionError("it is told of all, or of nothing")

    def update_all(self, members, eligible, well):
        self.members = list(eligible)
        self.told.append(
            ["".join(member.id for member in each) for each in (members, eligible, well)]
        )


def test_a_strategy_that_knows_all_is_told_who_is_there_eligible_and_well():
    pool, strategy = recorded(Knowing, subset=lambda all_: [*all_[1:]])
    pool.update([*[instance(id_) for id_ in "abc"], instance("d", weight=0)], 1.0)
    assert strategy.told == [["abc", "bc", "abc"], ["abcd", "bc", "abc"]]
    assert pool.pick(1.0).instance.id == "b"


def test_a_subset_may_weigh_anew():
    def half(all_):
        return [each.with_(weight=each.weight / 2) for each in all_]

    pool = Pool(strategy="random", rng=Random(1), subset=half)
    pool.update([instance("a", weight=3), instance("b")], 0.0)
    assert [member.weight for member in pool.eligible] == [1.5, 0.5]


def test_strategies_are_named_after_what_makes_them():
    def my_own(rng):
        return Recorder(rng)

    assert Pool(strategy=my_own).strategy_name == "my_own"
    assert Pool(strategy=Recorder).strategy_name == "Recorder"
    assert Pool(strategy=partial(Recorder)).strategy_name == "partial"
    assert Pool(strategy="random").strategy_name == "random"


# What outcomes tell


def test_counts_add_up(pool):
    for outcome in ("success", "failure", "cancelled"):
        for _ in range(3):
            pool.pick(0.0, exclude=("b",)).done(0.0, outcome)
    for _ in range(3):
        pick = pool.pick(0.0, exclude=("b",))
        pick.answered(0.0, ok=False)
        pick.done(0.0, "success")
    assert counts(pool.members["a"]) == (0, 3, 6, 3)


def test_a_status_not_given_stands_for_200_or_500():
    health = HealthSettings(outliers=EnvoyOutliers(consecutive_failures=2, always_eject_one=True))
    pool = Pool(strategy="round_robin", rng=Random(1), health=health)
    pool.update([instance("a"), instance("b"), instance("c")], 0.0)
    for ok in (False, True, False):
        pick = pool.pick(0.0, exclude=("b", "c"))
        pick.answered(0.0, ok=ok)
        pick.done(0.0, "success")
    assert pool.statistics(0.0).members["a"].reason is None
    pick = pool.pick(0.0, exclude=("b", "c"))
    pick.answered(0.0, ok=False)
    assert pool.statistics(0.0).members["a"].reason == "ejected"


def test_adaptive_bounds_learn_how_long_answers_took():
    limits = ConcurrencyLimits(adaptation="gradient", initial_in_flight=1)
    pool = Pool(strategy="round_robin", rng=Random(1), concurrency=limits)
    pool.update([instance("a")], 1000.0)
    pool.pick(1000.0).done(1000.1, "success")
    assert pool.statistics(1000.1).members["a"].limit == pytest.approx(1.8)
    pool.pick(2000.0).done(2001.0, "success")
    assert pool.statistics(2001.0).members["a"].limit == pytest.approx(0.8 * 1.8 + 0.2 * 4.9)


# What refusals say


def test_refusals_name_the_service(pool):
    pool.update([instance("a", weight=0)], 0.0)
    with pytest.raises(
        NoEligibleInstanceError, match=r"^service 'orders': none of its 1 "
    ) as caught:
        pool.pick(0.0)
    assert caught.value.service == "orders"
    with pytest.raises(NoInstancesError, match=r"^the service: no instance is registered$"):
        Pool().pick(0.0)


def test_those_outside_a_subset_say_so():
    pool = Pool(strategy="round_robin", rng=Random(1), subset=lambda all_: all_[:1])
    pool.update([instance("a"), instance("b"), instance("c", weight=0)], 0.0)
    reasons = [each.reason for each in pool.statistics(0.0).members.values()]
    assert reasons == [None, "outside the subset", "weight 0"]
    pool.update([instance("a", status="critical"), instance("b"), instance("c")], 1.0)
    reasons = [each.reason for each in pool.statistics(1.0).members.values()]
    assert reasons == ["critical", None, None]  # nobody inside is well
