"""Deadlines: against a naive model, and the O(1) that they promise."""

from hypothesis import given
from hypothesis import strategies as st

from trimtab.server.deadlines import Deadlines

NAMES = st.sampled_from("abcd")
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("set"), NAMES, st.integers(0, 50)),
        st.tuples(st.just("clear"), NAMES, st.just(0)),
        st.tuples(st.just("pass"), st.just(""), st.integers(0, 20)),
    ),
    max_size=60,
)


@given(STEPS)
def test_expires_exactly_what_is_due(steps):
    deadlines, model, now = Deadlines(), {}, 0
    for what, name, number in steps:
        if what == "set":
            deadlines.set(name, now + number)
            model[name] = now + number
        elif what == "clear":
            deadlines.clear(name)
            model.pop(name, None)
        else:
            now += number
            due = {each for each, at in model.items() if at <= now}
            expired = deadlines.pop_expired(now)
            assert sorted(expired) == sorted(due)
            assert [model[each] for each in expired] == sorted(model[each] for each in due)
            for each in due:
                del model[each]
        assert all((each in deadlines) == (each in model) for each in "abcd")
        if model:
            assert deadlines.next_at() <= min(model.values())


def test_heartbeats_do_not_grow_the_heap():
    deadlines = Deadlines()
    for now in range(1000):
        deadlines.set("a", now + 10.0)
    assert len(deadlines._heap) == 1


def test_a_deadline_that_came_nearer_is_reached_once():
    deadlines = Deadlines()
    deadlines.set("a", 50.0)
    deadlines.set("a", 10.0)
    assert deadlines.pop_expired(20.0) == ["a"]
    assert deadlines.pop_expired(60.0) == []


def test_an_empty_one_has_no_next():
    assert Deadlines().next_at() is None
