"""Services kept: bounded in number and in idle time, on a clock moved by hand."""

import pytest

from trimtab.discovery.lists import ServiceCache
from trimtab.testing import ManualClock


class Kept:
    def __init__(self, name, now):
        self.name, self.used_at, self.is_in_use = name, now, False

    def __repr__(self):
        return self.name


def leave(kept, gone):
    if not kept.is_in_use:
        gone.append(kept.name)
    return not kept.is_in_use


@pytest.fixture
def clock():
    return ManualClock(1000.0)


@pytest.fixture
def gone():
    return []


@pytest.fixture
def cache(clock, gone):
    return ServiceCache(3, 100.0, clock=clock, release=lambda kept: leave(kept, gone))


def put(cache, clock, *names):
    for name in names:
        cache.add(name, Kept(name, clock()))


def test_the_least_recently_used_is_dropped_first(cache, clock, gone):
    put(cache, clock, "a", "b", "c")
    assert cache.use("a").name == "a"
    put(cache, clock, "d")
    assert gone == ["b"]
    assert cache.use("b") is None
    assert sorted(cache) == ["a", "c", "d"]


def test_idle_ones_go_once_each(cache, clock, gone):
    put(cache, clock, "a")
    clock.advance(60)
    put(cache, clock, "b")
    clock.advance(40)
    assert cache.use("a") is None
    cache.expire()
    assert gone == ["a"]
    cache.expire()
    assert gone == ["a"]
    clock.advance(60)
    cache.expire()
    assert gone == ["a", "b"]


def test_used_services_are_kept(cache, clock, gone):
    put(cache, clock, "a")
    for _ in range(10):
        clock.advance(60)
        assert cache.use("a").name == "a"
    assert gone == []


def test_a_use_shortly_after_another_does_not_move_the_expiry(cache, clock):
    put(cache, clock, "a")
    clock.advance(5)
    assert cache.use("a").used_at == 1000.0
    clock.advance(6)
    assert cache.use("a").used_at == 1011.0


def test_all_that_is_here_can_be_listed_without_counting_as_a_use(cache, clock, gone):
    put(cache, clock, "a", "b")
    clock.advance(50)
    put(cache, clock, "c")
    clock.advance(60)
    assert [kept.name for kept in cache.kept()] == ["a", "b", "c"]  # idle ones included
    assert gone == []
    put(cache, clock, "d", "e")
    assert gone == ["a", "b"]
    cache.kept()
    put(cache, clock, "f")
    assert gone == ["a", "b", "c"]


def test_one_in_use_stays_beyond_its_age_and_beyond_the_number(cache, clock, gone):
    put(cache, clock, "a", "b", "c")
    cache["a"].is_in_use = cache["b"].is_in_use = cache["c"].is_in_use = True
    put(cache, clock, "d")
    assert sorted(cache) == ["a", "b", "c", "d"]
    clock.advance(1000)
    cache.expire()
    assert sorted(cache) == ["a", "b", "c"]
    assert gone == ["d"]
    for name in "ab":
        cache[name].is_in_use = False
    put(cache, clock, "e", "f")
    assert (sorted(cache), gone) == (["c", "e", "f"], ["d", "a", "b"])


def test_one_that_is_idle_and_in_use_is_found_and_not_replaced(cache, clock, gone):
    put(cache, clock, "a")
    cache["a"].is_in_use = True
    clock.advance(1000)
    assert cache.use("a").name == "a"
    assert cache.use("a").used_at == clock()
    assert gone == []


def test_a_full_cache_of_idle_ones_takes_a_new_one(cache, clock, gone):
    put(cache, clock, "a", "b", "c")
    clock.advance(1000)
    put(cache, clock, "d")
    assert (sorted(cache), sorted(gone)) == (["d"], ["a", "b", "c"])


def test_an_expired_service_is_released_and_replaced(cache, clock, gone):
    put(cache, clock, "a")
    clock.advance(100)
    put(cache, clock, "a")
    assert gone == ["a"]
    assert cache.use("a").used_at == 1100.0
