"""The queue of requests that wait for room: first come, first served, bounded, nothing lost."""

from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st
from trimtab.discovery.waiting import Turn, Waiting


class Queue:
    """A queue, and who was called, by name."""

    def __init__(self, max_pending):
        self.waiting = Waiting(max_pending)
        self.called = []
        self.turns = {}

    def join(self, *names):
        return [self._join(name) for name in names]

    def _join(self, name):
        self.turns[name] = Turn(lambda: self.called.append(name), 0.0)
        return self.waiting.join(self.turns[name])


def test_first_come_first_served():
    queue = Queue(9)
    assert queue.join("a", "b", "c") == [True, True, True]
    for _ in range(5):
        queue.waiting.call()
    assert queue.called == ["a", "b", "c"]


@pytest.mark.parametrize("room", [0, 1, 3])
def test_it_is_bounded(room):
    queue = Queue(room)
    assert queue.join(*"abcd") == [n < room for n in range(4)]
    assert queue.waiting.count == room


def test_who_was_called_and_has_not_gone_still_takes_a_place():
    queue = Queue(1)
    queue.join("a")
    queue.waiting.call()
    assert queue.waiting.count == 1
    assert queue.join("b") == [False]
    assert queue.waiting.leave(queue.turns["a"])
    assert queue.waiting.count == 0
    assert queue.join("b") == [True]


def test_who_tried_in_vain_is_first_again():
    queue = Queue(9)
    queue.join("a", "b", "c")
    queue.waiting.call()
    queue.waiting.back(queue.turns["a"])
    assert queue.waiting.count == 3
    for _ in range(3):
        queue.waiting.call()
    assert queue.called == ["a", "a", "b", "c"]


def test_leaving_tells_whether_a_turn_is_to_be_passed_on():
    queue = Queue(9)
    queue.join("a", "b")
    assert not queue.waiting.leave(queue.turns["b"])
    queue.waiting.call()
    assert queue.waiting.leave(queue.turns["a"])
    assert not queue.waiting.leave(queue.turns["a"])
    assert not queue.waiting.count
    queue.waiting.call()
    assert queue.called == ["a"]


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
            queue.waiting.call()
            assert queue.called[before:] == ([model[0]] if model else [])
            out.extend([model.popleft()] if model else [])
        elif what == "b" and out:
            name = out.pop(place % len(out))
            queue.waiting.back(queue.turns[name])
            model.appendleft(name)
        elif what == "l" and (model or out):
            name = [*model, *out][place % (len(model) + len(out))]
            assert queue.waiting.leave(queue.turns[name]) is (name in out)
            (out if name in out else model).remove(name)
        assert queue.waiting.count == len(model) + len(out)
