"""The queue of requests that wait for room: first come, first served, bounded, complete."""

from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.calls.shared import RoomQueue


class Waiter:
    """What the queue needs of a request."""

    def __init__(self, wake):
        self.wake = wake


class Queue:
    """A queue, and which requests got their turn, by name."""

    def __init__(self, max_pending):
        self.queue = RoomQueue(max_pending)
        self.called = []
        self.waiters = {}

    def join(self, *names):
        return [self._join(name) for name in names]

    def _join(self, name):
        self.waiters[name] = Waiter(lambda: self.called.append(name))
        return self.queue.join(self.waiters[name])


def test_first_come_first_served():
    queue = Queue(9)
    assert queue.join("a", "b", "c") == [True, True, True]
    for _ in range(5):
        queue.queue.call()
    assert queue.called == ["a", "b", "c"]


@pytest.mark.parametrize("room", [0, 1, 3])
def test_it_is_bounded(room):
    queue = Queue(room)
    assert queue.join(*"abcd") == [n < room for n in range(4)]
    assert queue.queue.count == room


def test_a_request_whose_turn_it_is_still_takes_a_place():
    queue = Queue(1)
    queue.join("a")
    queue.queue.call()
    assert queue.queue.count == 1
    assert queue.join("b") == [False]
    assert queue.queue.leave(queue.waiters["a"])
    assert queue.queue.count == 0
    assert queue.join("b") == [True]


def test_a_request_that_tried_in_vain_is_first_again():
    queue = Queue(9)
    queue.join("a", "b", "c")
    queue.queue.call()
    queue.queue.back()
    assert queue.queue.count == 3
    for _ in range(3):
        queue.queue.call()
    assert queue.called == ["a", "a", "b", "c"]


def test_of_several_whose_turn_it_is_the_first_comes_first_again():
    """Else the second would get the room that the first has not found."""
    queue = Queue(9)
    queue.join("a", "b", "c")
    queue.queue.call()
    queue.queue.call()
    queue.queue.back()
    assert not queue.queue.has_called
    queue.queue.call()
    assert queue.called == ["a", "b", "a"]


def test_leaving_tells_whether_a_turn_is_to_be_passed_on():
    queue = Queue(9)
    queue.join("a", "b")
    assert not queue.queue.leave(queue.waiters["b"])
    queue.queue.call()
    assert queue.queue.leave(queue.waiters["a"])
    assert not queue.queue.leave(queue.waiters["a"])
    assert not queue.queue.count
    queue.queue.call()
    assert queue.called == ["a"]


def test_closing_wakes_all_that_wait_and_those_whose_turn_it_is():
    queue = Queue(9)
    queue.join("a", "b", "c")
    queue.queue.call()
    queue.waiters["b"].wake = None
    queue.queue.wake_all()
    assert queue.called == ["a", "a", "c"]
    assert queue.queue.is_called(queue.waiters["a"])
    assert queue.queue.has_called
    assert not queue.queue.is_called(queue.waiters["c"])


@given(st.integers(0, 4), st.lists(st.tuples(st.sampled_from("jcbl"), st.integers(0, 9))))
def test_it_equals_a_naive_queue(room, steps):
    queue, model, out = Queue(room), deque(), []
    for number, (what, place) in enumerate(steps):
        if what == "j":
            fits = len(model) + len(out) < room
            assert queue.join(number) == [fits]
            model.extend([number] if fits else [])
        elif what == "c":
            before = len(queue.called)
            queue.queue.call()
            assert queue.called[before:] == ([model[0]] if model else [])
            out.extend([model.popleft()] if model else [])
        elif what == "b":
            queue.queue.back()
            model.extendleft(reversed(out))
            out = []
        elif what == "l" and (model or out):
            name = [*model, *out][place % (len(model) + len(out))]
            assert queue.queue.leave(queue.waiters[name]) is (name in out)
            (out if name in out else model).remove(name)
        assert queue.queue.count == len(model) + len(out)
