"""Panic: when so few are left that all are used. Source: Envoy's panic threshold."""

from random import Random

import pytest

from trimtab import HealthSettings, Instance, Pool

IDS = "abcdefghij"


def instances(n, **fields):
    return [Instance(host="10.0.0.1", port=80, id=id_, **fields) for id_ in IDS[:n]]


def pool_of(n, **settings):
    pool = Pool(strategy="round_robin", rng=Random(1), health=HealthSettings(**settings))
    pool.update(instances(n), 0.0)
    return pool


def fail(pool, ids):
    for id_ in ids:
        pool.probed(id_, 0.0, is_well=False, why="HTTP 500")


@pytest.mark.parametrize(
    ("total", "unwell", "panics"),
    [
        # Strictly below one half of those there are.
        *[(2, 1, False), (2, 2, True), (3, 1, False), (3, 2, True), (4, 2, False), (4, 3, True)],
        *[(10, 5, False), (10, 6, True), (1, 0, False), (1, 1, True), (10, 0, False)],
    ],
)
def test_below_one_half_all_are_used(total, unwell, panics):
    pool = pool_of(total)
    fail(pool, IDS[:unwell])
    assert pool.is_panicking is panics
    assert len(pool.eligible) == (total if panics else total - unwell)
    picked = {pool.pick(0.0).instance.id for _ in range(2 * total)}
    assert picked == set(IDS[:total] if panics else IDS[unwell:total])
    figures = pool.statistics(0.0)
    assert figures.is_panicking is panics
    assert [figures.members[id_].reason for id_ in IDS[:unwell]] == [
        None if panics else "probe failed"
    ] * unwell
    # What is held against them is told all the same.
    assert [figures.members[id_].why for id_ in IDS[:unwell]] == ["HTTP 500"] * unwell


@pytest.mark.parametrize(
    ("ratio", "unwell", "panics"),
    [(0.0, 4, False), (0.0, 3, False), (0.25, 3, False), (0.3, 3, True), (1.0, 1, True),
     (1.0, 0, False)],
)  # fmt: skip
def test_the_share_is_configurable(ratio, unwell, panics):
    pool = pool_of(4, panic_ratio=ratio)
    fail(pool, IDS[:unwell])
    assert pool.is_panicking is panics


def test_it_ends_when_enough_are_well():
    pool = pool_of(4)
    fail(pool, "abc")
    assert pool.is_panicking
    pool.probed("a", 1.0, is_well=True)
    assert not pool.is_panicking
    assert [member.id for member in pool.eligible] == ["a", "d"]


def test_the_registrys_word_stands():
    pool = pool_of(4)
    pool.update(
        [
            *instances(2),
            *[each.with_(status="critical") for each in instances(3)[2:]],
            *[each.with_(status="draining") for each in instances(4)[3:]],
            *[each.with_(weight=0) for each in instances(5)[4:]],
        ],
        1.0,
    )
    assert not pool.is_panicking  # two of two are well: those that the registry left out are none
    fail(pool, "ab")
    assert pool.is_panicking
    assert [member.id for member in pool.eligible] == ["a", "b"]
    reasons = [pool.statistics(1.0).members[id_].reason for id_ in "abcde"]
    assert reasons == [None, None, "critical", "draining", "weight 0"]


def test_critical_ones_may_count_and_be_used_as_in_envoy():
    pool = pool_of(4, panic_includes_critical=True)
    critical = [each.with_(status="critical") for each in instances(3)]
    pool.update([*critical, instances(4)[3]], 1.0)
    assert pool.is_panicking
    assert len(pool.eligible) == 4
    pool.update([*critical[:2], *instances(4)[2:]], 2.0)
    assert not pool.is_panicking
    assert [member.id for member in pool.eligible] == ["c", "d"]
    assert pool.statistics(2.0).members["a"].reason == "critical"


def test_draining_ones_are_never_used():
    pool = pool_of(4, panic_includes_critical=True)
    gone = [each.with_(status="draining") for each in instances(2)]
    pool.update([*gone, instances(3)[2].with_(status="critical"), instances(4)[3]], 1.0)
    assert not pool.is_panicking  # one of two is well
    assert [member.id for member in pool.eligible] == ["d"]


def test_an_empty_list_is_no_panic():
    pool = pool_of(2)
    fail(pool, "ab")
    pool.update([], 1.0)
    assert not pool.is_panicking
