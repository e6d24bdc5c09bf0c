"""Services kept: bounded in number and in idle time, on a clock moved by hand."""

import pytest

from trimtab.discovery.cache import ServiceCache
from trimtab.testing import ManualClock


class Kept:
    def __init__(self, name, now):
        self.name, self.used_at = name, now

    def __repr__(self):
        return self.name


@pytest.fixture
def clock():
    return ManualClock(1000.0)


@pytest.fixture
def gone():
    return []


@pytest.fixture
def cache(clock, gone):
    return ServiceCache(3, 100.0, clock=clock, let_go=lambda kept: gone.append(kept.name))


def put(cache, clock, *names):
    for name in names:
        cache[name] = Kept(name, clock())


def test_the_least_recently_used_goes_first(cache, clock, gone):
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


def test_use_keeps_them(cache, clock, gone):
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


def test_everything_can_be_taken_out(cache, clock, gone):
    put(cache, clock, "a", "b")
    clock.advance(50)
    put(cache, clock, "c")
    clock.advance(60)
    while cache:
        cache.popitem()
    assert sorted(gone) == ["a", "b", "c"]


def test_an_expired_one_is_replaced_and_let_go(cache, clock, gone):
    put(cache, clock, "a")
    clock.advance(100)
    put(cache, clock, "a")
    assert gone == ["a"]
    assert cache.use("a").used_at == 1100.0
