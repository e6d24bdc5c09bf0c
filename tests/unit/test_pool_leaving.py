"""Requests on members that have left the list still count as in flight."""

from random import Random

from trimtab import Instance, Pool


def test_what_is_in_flight_on_a_removed_member_counts_until_it_is_done():
    pool = Pool(strategy="round_robin", rng=Random(1))
    pool.update([Instance(host="10.0.0.7", port=8080)], 0.0)
    first, second = pool.pick(0.0), pool.pick(0.0)
    pool.update([], 1.0)
    assert pool.statistics(1.0).in_flight == 2
    first.done(2.0, "success")
    pool.update([], 2.0)
    assert pool.statistics(2.0).in_flight == 1
    second.done(3.0, "failure")
    assert pool.statistics(3.0).in_flight == 0
    assert pool.statistics(3.0).members == {}
