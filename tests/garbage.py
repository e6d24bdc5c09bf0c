"""JSON with something wrong somewhere, for Hypothesis."""

from __future__ import annotations

from hypothesis import strategies as st

# A small alphabet: the tables behind the whole of Unicode take ten seconds to make.
_texts = st.text('aZ07 ./:#@%-_\\"\n\x00é€😀', max_size=9)
_scalars = st.none() | st.booleans() | st.integers() | st.floats() | _texts
anything = st.recursive(
    _scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_texts, inner, max_size=3),
    max_leaves=9,
)


def garbled(value):
    """A strategy: `value` with one part of it, or the whole, replaced by anything."""
    return st.builds(changed, st.just(value), st.sampled_from(list(paths(value))), anything)


def paths(value, at=()):
    """Give the way to each part of a value, the whole first."""
    yield at
    inner = value.items() if isinstance(value, dict) else ()
    inner = enumerate(value) if isinstance(value, list) else inner
    for key, each in inner:
        yield from paths(each, (*at, key))


def changed(value, path, new):
    """Give a copy in which what lies at the end of the path is `new`."""
    if not path:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = changed(value[path[0]], path[1:], new)
    return copy
