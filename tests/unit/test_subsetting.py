"""Subsets: how evenly, how stable, and what exactly."""

from collections import Counter
from fractions import Fraction
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab import ConfigurationError, Instance, Pool
from trimtab.subsetting import DeterministicAperture, DeterministicSubset, RandomSubset


def fleet(count, start=0):
    return [
        Instance(host=f"10.0.{n // 250}.{n % 250}", port=80, id=f"i{n}", weight=2.0)
        for n in range(start, start + count)
    ]


def ids(instances):
    return [each.id for each in instances]


KINDS = [
    DeterministicSubset(client_id=3, size=5),
    RandomSubset(size=5, seed=7),
    DeterministicAperture(client_id=3, clients=9, size=5),
]


@pytest.mark.parametrize("subset", KINDS)
@pytest.mark.parametrize("count", [0, 1, 4, 5, 6, 30])
def test_a_subset_has_distinct_members_in_the_order_of_the_list(subset, count):
    everyone = fleet(count)
    chosen = ids(subset(everyone))
    assert chosen == [id_ for id_ in ids(everyone) if id_ in chosen]
    assert min(count, 5) <= len(chosen) <= count
    assert set(ids(subset(everyone[::-1]))) == set(chosen)


@pytest.mark.parametrize("subset", KINDS)
def test_pools_take_subsets(subset):
    pool = Pool(subset=subset)
    everyone = fleet(30)
    pool.update(everyone, 0.0)
    assert [member.id for member in pool.eligible] == ids(subset(everyone))


# Deterministic


@pytest.mark.parametrize(("count", "size", "rounds"), [(12, 3, 5), (300, 10, 10), (10, 5, 1)])
def test_whole_rounds_of_clients_are_exactly_even(count, size, rounds):
    everyone = fleet(count)
    subsets = count // size
    counts = Counter()
    for client in range(subsets * rounds):
        chosen = DeterministicSubset(client_id=client, size=size)(everyone)
        assert len(chosen) == size
        counts.update(ids(chosen))
    assert set(counts.values()) == {rounds}
    assert len(counts) == count


def test_a_round_in_part_differs_by_one_client():
    everyone = fleet(12)
    counts = Counter(dict.fromkeys(ids(everyone), 0))
    for client in range(10):  # two rounds of four, and two clients
        counts.update(ids(DeterministicSubset(client_id=client, size=3)(everyone)))
    assert sorted(counts.values()) == [2] * 6 + [3] * 6


def test_rounds_deal_differently():
    everyone = fleet(12)
    dealt = {
        tuple(ids(DeterministicSubset(client_id=client, size=3)(everyone)))
        for client in range(0, 40, 4)
    }
    assert len(dealt) == 10


def test_what_does_not_divide_is_left_out_of_a_round():
    everyone = fleet(14)
    counts = Counter()
    for client in range(4):
        counts.update(ids(DeterministicSubset(client_id=client, size=3)(everyone)))
    assert len(counts) == 12
    assert set(counts.values()) == {1}


# Random


@given(st.integers(0, 2**64 - 1), st.integers(1, 8), st.integers(0, 25), st.data())
def test_a_change_of_one_instance_changes_at_most_one_member(seed, size, count, data):
    everyone = fleet(count)
    subset = RandomSubset(size=size, seed=seed)
    before = set(ids(subset(everyone)))
    newcomer = fleet(1, start=1000)
    after = set(ids(subset([*everyone, *newcomer])))
    assert len(before - after) <= 1
    assert len(after - before) <= 1
    if count:
        gone = data.draw(st.sampled_from(everyone))
        left = set(ids(subset([each for each in everyone if each is not gone])))
        assert before - left <= {gone.id}
        assert len(left - before) <= 1


def test_seeds_differ_unless_given():
    assert RandomSubset(size=3).seed != RandomSubset(size=3).seed
    assert RandomSubset(size=3, seed=1) == RandomSubset(size=3, seed=1)
    everyone = fleet(50)
    chosen = {tuple(ids(RandomSubset(size=5, seed=seed)(everyone))) for seed in range(20)}
    assert len(chosen) == 20


def test_with_all_instances_nothing_is_chosen():
    assert RandomSubset(size=5, seed=1)(fleet(5)) == fleet(5)


# Aperture


@given(st.integers(1, 20), st.integers(1, 30), st.integers(1, 15), st.sampled_from(["", "web"]))
def test_all_clients_together_cover_every_instance_exactly_alike(clients, count, size, group):
    covered = [Fraction(0)] * count
    for client in range(clients):
        aperture = DeterministicAperture(client_id=client, clients=clients, size=size, group=group)
        shares = aperture.shares(count)
        assert all(0 <= share <= 1 for share in shares)
        width = sum(Fraction(round(share * clients), clients) for share in shares)
        # As wide as asked for, and less than a client's part more.
        least = min(size, count)
        assert least <= width < least + Fraction(count, clients)
        assert len([share for share in shares if share]) >= least
        for place, share in enumerate(shares):
            covered[place] += Fraction(round(share * clients), clients)
    assert len(set(covered)) == 1


def test_the_edges_come_with_part_of_their_weight():
    # 4 clients, 6 instances: a client's part is 1.5 instances; two of these cover three.
    chosen = DeterministicAperture(client_id=0, clients=4, size=2)
    assert chosen.shares(6) == [1, 1, 1, 0, 0, 0]
    assert DeterministicAperture(client_id=1, clients=4, size=2).shares(6) == [0, 0.5, 1, 1, 0.5, 0]
    assert DeterministicAperture(client_id=3, clients=4, size=2).shares(6) == [1, 0.5, 0, 0, 0.5, 1]
    weights = [
        each.weight for each in DeterministicAperture(client_id=1, clients=4, size=2)(fleet(6))
    ]
    assert sorted(weights) == [1.0, 1.0, 2.0, 2.0]


def test_an_instance_at_both_ends_of_a_wide_slice_counts_twice():
    # 3 clients, 2 instances, both wanted: the slice is the whole ring, from within one of them.
    assert DeterministicAperture(client_id=1, clients=3, size=2).shares(2) == [1, 1]


def test_one_client_has_all():
    assert DeterministicAperture(client_id=0, clients=1)(fleet(40)) == fleet(40)


def test_the_default_is_twelve_at_least():
    everyone = fleet(100)
    for client in range(50):
        assert len(DeterministicAperture(client_id=client, clients=50)(everyone)) >= 12


def test_groups_begin_at_different_places():
    firsts = [
        DeterministicAperture(client_id=0, clients=10, group=group).shares(100)
        for group in ("", "web", "jobs", "mail")
    ]
    assert all(one != other for one, other in combinations(firsts, 2))


# Settings


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: DeterministicSubset(client_id=-1, size=3), "client_id is -1; it must be a whole"),
        (lambda: DeterministicSubset(client_id=0, size=0), "size is 0"),
        (lambda: DeterministicSubset(client_id=0.5, size=3), "client_id is 0.5"),
        (lambda: RandomSubset(size=True), "size is True"),
        (lambda: RandomSubset(size=3, seed=2**64), "seed is 18446744073709551616"),
        (lambda: DeterministicAperture(client_id=0, clients=0), "clients is 0"),
        (lambda: DeterministicAperture(client_id=4, clients=4), "there are 4 clients; number them"),
    ],
)
def test_values_out_of_range_are_refused(make, said):
    with pytest.raises(ConfigurationError, match=said):
        make()
