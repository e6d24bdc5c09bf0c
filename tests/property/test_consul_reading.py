"""Whatever Consul or a proxy may say: unreadable as a whole, or one entry is skipped and named."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress

import httpx
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from consul_kit import URL, consul_registry, entry
from trimtab.errors import RegistryAnswerError, RegistryError, RegistryUnavailableError
from trimtab.instance import Instance, Status
from trimtab.registries.asking import Answer
from trimtab.registries.consul.agent import check_age, index_of
from trimtab.registries.consul.entries import read_executed, read_health, status_of

HUGE = 10**400
NUMBERS = st.one_of(st.integers(), st.sampled_from([HUGE, -HUGE, 2**63, 2**64, 0, -1]), st.floats())
LEAVES = st.one_of(st.none(), st.booleans(), NUMBERS, st.text(max_size=8))
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)
CHECKS = [("serfHealth", "passing"), ("service:a", "warning")]
GOOD = [entry(id_, checks=CHECKS) for id_ in ("a", "b", "c")]
IDS = {"a", "b", "c"}


def paths(value, so_far=()):
    """Every place in an entry, the entry itself included."""
    yield so_far
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, each in items:
        if isinstance(each, (dict, list)):
            yield from paths(each, (*so_far, key))
        else:
            yield (*so_far, key)


FULL = entry(
    "d",
    service={"Meta": {"zone": "z", "weight": "0.5", "scheme": "https"}, "Tags": ["t"]},
    node={"Meta": {"zone": "y"}},
    checks=CHECKS,
)
PATHS = sorted(paths(FULL), key=str)


def replaced(value, path, new):
    if not path:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = replaced(copy[path[0]], path[1:], new)
    return copy


def spoken(value):
    return json.dumps(value).encode()  # NaN and infinities included, which are no JSON


@given(st.sampled_from(PATHS), VALUES, st.integers(0, 3))
@example(("Service", "Weights", "Passing"), HUGE, 0)
@example(("Service", "Weights", "Warning"), -1, 3)
@example(("Service", "Port"), HUGE, 1)
@example(("Service", "Meta", "weight"), "1e999", 1)
@example(("Node", "Address"), "10.0.0.1/..", 1)
@example((), None, 2)
def test_one_bad_instance_is_skipped_and_named_never_the_list(path, value, place):
    assume(value not in IDS if isinstance(value, str) else True)  # An id is a node's own.
    body = spoken([*GOOD[:place], replaced(FULL, path, value), *GOOD[place:]])
    try:
        json.loads(body, parse_constant=_refuse)
    except ValueError:
        with pytest.raises(RegistryAnswerError, match="here: the answer cannot be read"):
            read_health("here", body)
        return
    found, skipped = read_health("here", body)
    assert {each.id.partition("@")[0] for each in found} >= IDS
    assert len(found) + len(skipped) == 4
    assert all(message.startswith(f"here: entry {place} skipped: ") for message in skipped)
    assert all(isinstance(each, Instance) for each in found)


@given(st.integers(0, len(spoken(GOOD)) - 1))
def test_a_torn_answer_is_no_list(length):
    with pytest.raises(RegistryAnswerError, match="here: the answer cannot be read"):
        read_health("here", spoken(GOOD)[:length])


@given(st.one_of(st.binary(max_size=60), VALUES.map(spoken)))
@example(b"[" * 100_000)
@example(b'{"Nodes":' + b"[" * 100_000)
@example(spoken([HUGE]))
@example(b"\xef\xbb\xbf[]")
def test_garbage_is_an_unreadable_answer(body):
    for read in (read_health, read_executed):
        with suppress(RegistryAnswerError):
            read("here", body)


@given(st.lists(st.tuples(st.text(max_size=5), st.text(max_size=9))))
def test_checks_of_any_kind_sum_up(checks):
    assert status_of(checks) in Status


TEXTS = st.one_of(
    st.from_regex(r"\A[!-~]{0,30}\Z"),
    st.integers().map(str),
    st.integers(0, 9).map(lambda digit: str(digit) * 5000),
)
NAMES = ("x-consul-index", "x-consul-lastcontact", "x-consul-knownleader")
HEADERS = st.fixed_dictionaries({}, optional=dict.fromkeys(NAMES, TEXTS))


@given(HEADERS)
def test_headers_of_any_kind_mean_something_or_nothing(headers):
    answer = Answer(200, httpx.Headers(headers), b"")
    index = index_of(answer)
    assert index is None or 0 <= index < 10**20
    with suppress(RegistryUnavailableError):
        check_age("here", answer, max_stale_s=30)


@given(
    st.sampled_from([200, 200, 200, 204, 301, 400, 401, 403, 404, 429, 500, 503]),
    st.lists(st.tuples(HEADERS, st.one_of(st.binary(max_size=60), VALUES.map(spoken)))),
    st.sampled_from(["poll", "prepared"]),
)
def test_only_errors_of_registries_come_out(status, answers, follow):
    said = iter(answers)

    def answer(_):
        headers, body = next(said, ({}, b"[]"))
        return httpx.Response(status, headers=headers, content=body)

    async def ask():
        registry = consul_registry(URL, follow=follow, transport=httpx.MockTransport(answer))
        for asked in (registry.fetch("orders"), registry.services()):
            with suppress(RegistryError):
                await asked
        await registry.aclose()

    asyncio.run(ask())


def _refuse(name):
    raise ValueError(name)
