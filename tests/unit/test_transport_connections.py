"""The inner transports' bookkeeping: made once, closed once, exactly when nothing uses them."""

from __future__ import annotations

from random import Random

import pytest

from trimtab import Instance
from trimtab.member import Member
from trimtab.testing import ManualClock
from trimtab.transports.connections import Ages, Connections

HERE, THERE = Instance(host="h", port=1, id="x"), Instance(host="h", port=2, id="x")


class Book:
    """Connections, and what they have done."""

    def __init__(self, max_age_s=None):
        self.made, self.closed, self.idle = [], [], 0
        self.clock = ManualClock()
        ages = Ages(max_age_s, clock=self.clock, rng=Random(1))
        self.connections = Connections(self._make, self.closed.extend, ages)
        self.connections.on_idle = self._on_idle

    def _make(self, instance):
        self.made.append(instance.address)
        return self.pool_of(f"to {instance.address}")

    @staticmethod
    def pool_of(name):
        return name

    def _on_idle(self):
        self.idle += 1


@pytest.fixture
def book():
    return Book()


def test_one_transport_per_member_while_it_stays(book):
    member, other = Member(HERE, 0.0), Member(Instance(host="h", port=3), 0.0)
    uses = [book.connections.use(each, each.instance) for each in (member, member, other)]
    assert book.made == ["h:1", "h:3"]
    assert (book.connections.in_use, len(book.connections)) == (3, 2)
    for use in uses:
        book.connections.give_back(use)
    assert (book.connections.in_use, book.idle, book.closed) == (0, 1, [])


def test_an_unused_member_is_closed_at_once_and_a_used_one_at_its_last_use(book):
    used, unused = Member(HERE, 0.0), Member(Instance(host="h", port=3), 0.0)
    uses = [book.connections.use(used, HERE) for _ in range(2)]
    book.connections.give_back(book.connections.use(unused, unused.instance))
    book.connections.retire([used, unused, Member(THERE, 0.0)])
    assert book.closed == ["to h:3"]
    book.connections.give_back(uses[0])
    assert book.closed == ["to h:3"]
    book.connections.give_back(uses[1])
    assert book.closed == ["to h:3", "to h:1"]


def test_another_address_is_another_transport(book):
    member = Member(HERE, 0.0)
    old = book.connections.use(member, HERE)
    new = book.connections.use(member, THERE)
    assert (book.made, book.closed) == (["h:1", "h:2"], [])
    book.connections.give_back(new)
    book.connections.give_back(old)
    assert book.closed == ["to h:1"]
    assert book.connections.use(member, THERE).transport == "to h:2"


def test_a_member_that_left_after_its_pick_is_used_once_and_closed(book):
    member = Member(HERE, 0.0)
    member.is_removed = True
    use = book.connections.use(member, HERE)
    assert len(book.connections) == 0
    book.connections.give_back(use)
    assert book.closed == ["to h:1"]


def test_transports_that_finalizers_drop_are_given_back_at_the_next_use(book):
    member = Member(HERE, 0.0)
    for settled_by in (
        book.connections.settle,
        lambda: book.connections.give_back(book.connections.use(member, HERE)),
        lambda: book.connections.retire([member]),
    ):
        book.connections.drop(book.connections.use(member, HERE))
        assert book.connections.in_use == 1
        settled_by()
        assert book.connections.in_use == 0
    assert book.closed == ["to h:1"]


def test_abandon_returns_the_transports_that_are_left_and_none_is_closed_twice(book):
    kept, left = Member(HERE, 0.0), Member(Instance(host="h", port=3), 0.0)
    uses = [book.connections.use(each, each.instance) for each in (kept, left)]
    book.connections.retire([left])
    assert book.connections.abandon() == ["to h:1", "to h:3"]
    for use in uses:
        book.connections.give_back(use)
    assert (book.closed, len(book.connections), book.idle) == ([], 0, 1)
    assert book.connections.abandon() == []


def test_a_transport_made_after_abandon_is_closed_after_its_use(book):
    book.connections.abandon()
    book.connections.give_back(book.connections.use(Member(HERE, 0.0), HERE))
    assert (book.closed, len(book.connections)) == (["to h:1"], 0)


def test_a_transport_that_cannot_be_made_does_not_count_as_used():
    def make(instance):
        raise RuntimeError("cannot be made")

    connections = Connections(make, list, Ages(None, clock=ManualClock(), rng=Random(1)))
    with pytest.raises(RuntimeError):
        connections.use(Member(HERE, 0.0), HERE)
    assert (connections.in_use, len(connections)) == (0, 0)


def test_an_old_transport_gets_no_new_request_and_is_closed_at_its_last_use():
    book, member = Book(max_age_s=100.0), Member(HERE, 0.0)
    streaming = book.connections.use(member, HERE)
    book.connections.give_back(book.connections.use(member, HERE))
    book.clock.advance(89.9)
    book.connections.give_back(book.connections.use(member, HERE))
    assert (len(book.made), book.closed) == (1, [])
    book.clock.advance(20.2)
    fresh = book.connections.use(member, HERE)
    assert (len(book.made), book.closed) == (2, [])
    assert fresh is not streaming
    book.connections.give_back(streaming)
    assert book.closed == ["to h:1"]
    book.connections.give_back(fresh)
    assert len(book.closed) == 1


def test_an_old_idle_transport_is_closed_at_the_next_use_of_any():
    book = Book(max_age_s=100.0)
    idle, busy = Member(HERE, 0.0), Member(Instance(host="h", port=3), 0.0)
    book.connections.give_back(book.connections.use(idle, HERE))
    book.clock.advance(60.0)
    book.connections.give_back(book.connections.use(busy, busy.instance))
    book.clock.advance(60.0)
    book.connections.give_back(book.connections.use(busy, busy.instance))
    assert (book.closed, len(book.connections)) == (["to h:1"], 1)


def test_the_age_of_a_replaced_transport_is_not_that_of_its_successor():
    book, member = Book(max_age_s=100.0), Member(HERE, 0.0)
    book.connections.give_back(book.connections.use(member, HERE))
    book.clock.advance(80.0)
    book.connections.give_back(book.connections.use(member, THERE))
    book.clock.advance(40.0)
    book.connections.give_back(book.connections.use(member, THERE))
    assert (book.made, book.closed) == (["h:1", "h:2"], ["to h:1"])


def test_an_old_transport_whose_member_is_gone_stays_closed_once():
    book, member = Book(max_age_s=100.0), Member(HERE, 0.0)
    use = book.connections.use(member, HERE)
    book.connections.retire([member])
    book.clock.advance(120.0)
    other = Member(Instance(host="h", port=3), 0.0)
    book.connections.give_back(book.connections.use(other, other.instance))
    assert book.closed == []
    book.connections.give_back(use)
    assert book.closed == ["to h:1"]


class Pooled(str):
    """An inner transport that knows whether something is under way on its connections."""

    __slots__ = ("is_quiet",)


def pooled(name, *, is_quiet=True):
    transport = Pooled(name)
    transport.is_quiet = is_quiet
    return transport


def test_a_transport_that_a_cancellation_left_busy_is_replaced_once_it_is_unused(book):
    member = Member(HERE, 0.0)
    book.pool_of = lambda name: pooled(name, is_quiet=False)
    one, two = (book.connections.use(member, HERE) for _ in range(2))
    book.connections.give_back(one, is_clean=False)
    assert book.closed == []
    book.connections.give_back(two, is_clean=True)
    assert book.closed == ["to h:1"]
    assert len(book.connections) == 0
    book.connections.use(member, HERE)
    assert book.made == ["h:1", "h:1"]


@pytest.mark.parametrize("kind", [pooled, str], ids=["quiet", "of the user's own"])
def test_a_transport_that_is_quiet_or_cannot_say_so_is_kept(book, kind):
    member = Member(HERE, 0.0)
    book.pool_of = kind
    for _ in range(2):
        book.connections.give_back(book.connections.use(member, HERE), is_clean=False)
    assert (book.made, book.closed) == (["h:1"], [])


def test_a_transport_after_regular_ends_is_not_checked(book):
    member = Member(HERE, 0.0)
    book.pool_of = lambda name: pooled(name, is_quiet=False)
    book.connections.give_back(book.connections.use(member, HERE), is_clean=True)
    assert book.closed == []


def test_an_abandoned_transport_is_not_closed_again_because_it_is_busy(book):
    member = Member(HERE, 0.0)
    book.pool_of = lambda name: pooled(name, is_quiet=False)
    use = book.connections.use(member, HERE)
    book.connections.abandon()
    book.connections.give_back(use, is_clean=False)
    assert book.closed == []
