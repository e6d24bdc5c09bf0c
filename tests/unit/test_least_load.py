"""`least_load`: the pair's comparison by reports, and asking for them before a pick."""

from itertools import pairwise
from random import Random

import pytest

from service_kit import World, instance
from trimtab import ConcurrencyLimits, ConfigurationError, LeastLoad, Pool
from trimtab.calls import ANSWER, Ask, Fail
from trimtab.pool import Pick
from trimtab.strategies import LoadReport, ZoneAware, resolve

STEADY = LeastLoad(memory_s=1e6)


def pool_of(settings=STEADY, ids="ab", **weights):
    pool = Pool(strategy=settings, rng=Random(1))
    pool.update([instance(id_, weight=weights.get(id_, 1.0)) for id_ in ids], 0.0)
    return pool


def says(in_flight=None, utilization=0.0, qps=0.0):
    return LoadReport(qps=qps, utilization=utilization, in_flight=in_flight)


def chosen(pool, now=0.0, times=1):
    """The ids of so many picks, which stay in flight."""
    return "".join(pool.pick(now).instance.id for _ in range(times))


# -- the comparison ------------------------------------------------------------------------------


def test_the_shorter_queue_as_the_servers_count_it():
    pool = pool_of()
    pool.report("a", says(in_flight=5), 0.0)
    pool.report("b", says(in_flight=2), 0.0)
    # What this client has sent since counts, too.
    assert chosen(pool, times=3) == "bbb"
    assert sorted(chosen(pool, times=2)) == ["a", "b"]


def test_a_new_report_counts_what_was_sent_before():
    pool = pool_of()
    pool.report("a", says(in_flight=5), 0.0)
    pool.report("b", says(in_flight=1), 0.0)
    assert chosen(pool, times=3) == "bbb"
    pool.report("b", says(in_flight=3), 0.0)  # three of which are this client's own
    assert chosen(pool) == "b"


def test_own_requests_that_have_ended_do_not_count():
    pool = pool_of()
    pool.report("a", says(in_flight=3), 0.0)
    pool.report("b", says(in_flight=1), 0.0)
    for _ in range(5):
        pick = pool.pick(0.0)
        assert pick.instance.id == "b"
        pick.done(0.0, "success")


def test_own_requests_in_flight_are_the_least_that_counts():
    pool = pool_of()
    picks = [pool.pick(0.0, exclude=["b"]) for _ in range(4)]
    pool.report("a", says(in_flight=0), 0.0)
    pool.report("b", says(in_flight=3), 0.0)
    assert chosen(pool) == "b"
    assert len(picks) == 4


@pytest.mark.parametrize("settings", [LeastLoad(memory_s=1.0), LeastLoad()])
def test_an_old_report_loses_its_say(settings):
    pool = pool_of(settings, ids="abc")
    pool.report("a", says(in_flight=100), 0.0)
    pool.report("b", says(in_flight=0), 0.0)
    pool.report("c", says(in_flight=0), 0.0)
    assert "a" not in chosen(pool, now=0.5, times=10)
    assert "a" in chosen(pool, now=30.0, times=40)


def test_by_littles_law_a_report_lasts_as_long_as_a_request_stays():
    pool = pool_of(LeastLoad())
    # 39 and the one that brings the report at 4 per second: ten seconds.
    pool.report("a", says(in_flight=49, qps=4), 0.0)
    pool.report("b", says(in_flight=29, qps=4), 0.0)
    assert chosen(pool, now=10.0, times=7) == "bbbbbbb"  # 20 / e is 7.4
    assert "a" in chosen(pool, now=10.0, times=3)


def test_the_utilization_decides_between_equal_queues():
    pool = pool_of()
    pool.report("a", says(in_flight=2, utilization=0.9), 0.0)
    pool.report("b", says(in_flight=2, utilization=0.2), 0.0)
    assert chosen(pool) == "b"
    assert chosen(pool) == "a"


def test_without_queues_the_utilization_counts_per_own_request():
    pool = pool_of()
    pool.report("a", says(utilization=0.9), 0.0)
    pool.report("b", says(utilization=0.25), 0.0)
    assert chosen(pool, times=4) == "bbba"


def test_without_reports_it_is_least_request():
    pool = pool_of()
    assert sorted(chosen(pool, times=2)) == ["a", "b"]
    assert sorted(chosen(pool, times=2)) == ["a", "b"]


def test_one_that_says_nothing_counts_as_the_mean_of_the_others():
    pool = pool_of(ids="abc")
    pool.report("a", says(in_flight=8), 0.0)
    pool.report("b", says(in_flight=2), 0.0)
    assert [pool.pick(0.0, exclude=["a"]).instance.id for _ in range(3)] == ["b", "b", "b"]
    assert [pool.pick(0.0, exclude=["b"]).instance.id for _ in range(3)] == ["c", "c", "c"]


def test_one_that_has_failed_is_avoided():
    pool = pool_of()
    pool.report("a", says(in_flight=0), 0.0)
    pool.report("b", says(in_flight=5), 0.0)
    for _ in range(3):
        pool.pick(0.0, exclude=["b"]).done(0.0, "failure")
    assert chosen(pool, 0.001, times=5) == "bbbbb"


def test_weights_divide_the_load():
    pool = pool_of(ids="ab", a=3.0)
    pool.report("a", says(in_flight=6), 0.0)
    pool.report("b", says(in_flight=3), 0.0)
    assert chosen(pool, times=3) == "aaa"


def test_reports_are_kept_while_an_instance_stays():
    pool = pool_of()
    pool.report("a", says(in_flight=9), 0.0)
    pool.report("b", says(in_flight=1), 0.0)
    pool.report("nobody", says(in_flight=1), 0.0)
    pool.update([instance(id_) for id_ in "abc"], 1.0)
    assert "a" not in chosen(pool, 1.0, times=6)
    pool.update([instance(id_) for id_ in "bc"], 2.0)
    pool.update([instance(id_) for id_ in "abc"], 3.0)
    assert "a" in chosen(pool, 3.0, times=9)


@pytest.mark.parametrize("name", ["memory_s", "ask_after_s", "ask_timeout_s"])
@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), "1s"])
def test_wrong_settings_are_refused(name, value):
    with pytest.raises(ConfigurationError, match=f"least_load: {name}"):
        LeastLoad(**{name: value})


def test_settings_in_words():
    text = "least_load(memory_s=2.5, ask_after_s=0.1)"
    assert resolve(text) == LeastLoad(memory_s=2.5, ask_after_s=0.1)
    assert resolve(text).__name__ == text
    with pytest.raises(ConfigurationError, match="ask_timeout_s"):
        LeastLoad(ask_timeout_s=None)


# -- asking before a pick ------------------------------------------------------------------------

ASKING = LeastLoad(memory_s=1e6, ask_after_s=1.0)


def world_of(ids="ab", settings=ASKING, **policies):
    return World(ids, strategy=settings, **policies)


def asked(step):
    assert isinstance(step, Ask), step
    return sorted(member.id for member in step.members)


def test_the_pair_is_asked_and_the_better_one_gets_the_request():
    world = world_of()
    call = world.begin()
    assert asked(call.step) == ["a", "b"]
    assert call.step.until == pytest.approx(world.now + 0.05)
    world.pool.report("a", says(in_flight=4), world.now)
    world.pool.report("b", says(in_flight=1), world.now)
    call.resume()
    assert call.pick.instance.id == "b"
    call.completed(200)
    assert call.step is ANSWER
    # Both are known now.
    assert isinstance(world.begin().step, Pick)


def test_only_the_one_whose_report_is_old_is_asked():
    world = world_of()
    for id_, at in (("a", 0.0), ("b", 0.5)):
        world.pool.report(id_, says(in_flight=1), world.now + at)
    world.advance(1.25)
    assert asked(world.begin().step) == ["a"]


def test_an_instance_is_asked_once_in_a_time_however_many_requests_there_are():
    world = world_of()
    assert asked(world.begin().step) == ["a", "b"]
    assert all(isinstance(world.begin().step, Pick) for _ in range(20))


def test_one_that_does_not_answer_is_passed_over_and_asked_again_less_often():
    world = world_of()
    moments = []
    for _ in range(100):
        call = world.begin()
        if isinstance(call.step, Ask):
            if "b" in asked(call.step):
                moments.append(world.now)
                world.pool.silent("b", world.now)
            world.pool.report("a", says(in_flight=50), world.now)
            call.resume()
        assert call.pick.instance.id == "a"
        call.completed(200)
        world.advance(0.25)
    waits = [later - before for before, later in pairwise(moments)]
    assert waits[0] == pytest.approx(1.0)
    assert all(wait == pytest.approx(2.0) for wait in waits[1:])
    world.pool.silent("nobody", world.now)
    world.pool.report("b", says(in_flight=0), world.now)
    assert world.begin().pick.instance.id == "b"


def test_a_request_ends_while_it_asks():
    world = world_of()
    call = world.begin(deadline_s=0.02)
    assert call.step.until == pytest.approx(world.now + 0.02)
    world.advance(0.02)
    call.resume()
    assert isinstance(call.step, Fail)
    assert (call.step.reason, call.step.doing) == ("deadline", "asking instances for their load")
    world = world_of()
    call = world.begin()
    call.request.cancelled(world.now)
    assert world.calls.under_way == 0
    world = world_of()
    call = world.begin()
    world.calls.close()
    call.resume()
    assert call.step.reason == "error"


def test_one_that_leaves_while_it_is_asked_gets_nothing():
    world = world_of("abc")
    call = world.begin()
    gone = asked(call.step)
    world.list(*[id_ for id_ in "abc" if id_ not in gone])
    call.resume()
    assert call.pick.instance.id not in gone


def test_one_that_is_full_after_it_was_asked_gets_nothing():
    world = world_of(concurrency=ConcurrencyLimits(max_in_flight=1, max_pending=1))
    first, second = world.begin(), world.begin()
    taken = second.pick.instance.id
    other = "ab".replace(taken, "")
    world.pool.report(taken, says(in_flight=0), world.now)
    world.pool.report(other, says(in_flight=9), world.now)
    first.resume()
    assert first.pick.instance.id == other
    waiting = world.begin()
    second.completed(200)
    waiting.resume()
    assert waiting.pick.instance.id == taken


def test_a_retry_asks_others_and_a_single_instance_is_not_asked():
    world = world_of("abc")
    call = world.begin()
    for id_ in asked(call.step):
        world.pool.report(id_, says(in_flight=1), world.now)
    call.resume()
    tried = call.pick.instance.id
    call.failed("refused")
    if isinstance(call.step, Ask):
        assert tried not in asked(call.step)
        call.resume()
    assert call.pick.instance.id != tried
    assert isinstance(world_of("a").begin().step, Pick)


def test_without_an_instance_nothing_is_asked():
    world = world_of("")
    assert world.begin().step.reason == "error"
    assert Pool().to_ask(0.0) == ((), ())


def test_a_pick_among_members_by_a_strategy_that_does_not_ask():
    pool = Pool(strategy="random", rng=Random(1))
    pool.update([instance("a"), instance("b")], 0.0)
    pool.silent("a", 0.0)
    assert not pool.asks_first
    assert pool.to_ask(0.0) == ((), ())
    assert pool.pick(0.0, among=[pool.members["b"]]).instance.id == "b"


def test_zones_ask_within_the_zone():
    world = World(
        [instance(id_, zone=zone) for id_, zone in (("a", "z"), ("b", "z"), ("c", "y"))],
        strategy=ZoneAware("z", inside=ASKING),
    )
    call = world.begin()
    assert asked(call.step) == ["a", "b"]
    world.pool.report("a", says(in_flight=4), world.now)
    world.pool.silent("b", world.now)
    world.pool.silent("nobody", world.now)
    call.resume()
    assert call.pick.instance.id == "a"
    assert not Pool(strategy=ZoneAware("z")).takes_reports
    assert Pool(strategy=ZoneAware("z", inside="least_load")).takes_reports
