"""Whatever etcd, or what stands in its place, says: our words, or entries left out."""

from __future__ import annotations

import base64
import json

import httpx
from hypothesis import given
from hypothesis import strategies as st

from trimtab.errors import (
    InvalidInstanceError,
    RegistryAnswerError,
    RegistryError,
)
from trimtab.instance import Instance, Status
from trimtab.registries.asking import Answer
from trimtab.registries.etcd.entries import View, key_of, read_value, services_of, value_of
from trimtab.registries.etcd.wire import (
    KeepaliveAnswer,
    LeaseAnswer,
    RangeAnswer,
    TokenAnswer,
    WatchMessage,
    read,
    refused,
)

SHAPES = (KeepaliveAnswer, LeaseAnswer, RangeAnswer, TokenAnswer, WatchMessage)
GOOD = {
    "key": base64.b64encode(b"s/orders/good").decode(),
    "value": base64.b64encode(b'{"Addr":"10.0.0.1:80"}').decode(),
}

text = st.text(max_size=20)
atoms = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(min_value=-(10**400), max_value=10**400)
    | st.floats()
    | text
    | st.sampled_from(["10.0.0.1:80", "[::1]:80", "h:0", "-1", "9" * 5000, "1e999", "\ud800"])
    | st.binary(max_size=20).map(lambda data: base64.b64encode(data).decode())
)
names = text | st.sampled_from(
    [
        *("Op", "Addr", "addr", "Metadata", "id", "weight", "zone", "scheme", "status", "metadata"),
        *("header", "revision", "kvs", "key", "value", "lease", "mod_revision", "ID", "TTL"),
        *("token", "result", "created", "canceled", "compact_revision", "cancel_reason", "events"),
        *("kv", "type", "error", "code", "grpc_code", "message"),
    ]
)
anything = st.recursive(
    atoms,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=5),
    max_leaves=12,
)


def as_json(value):
    return json.dumps(value).encode()


bodies = (
    st.binary(max_size=60)
    | anything.map(as_json)
    | st.tuples(anything.map(as_json), st.integers(0, 100)).map(lambda each: each[0][: each[1]])
    | st.integers(1, 100_000).map(lambda depth: b"[" * depth)
    | st.integers(1, 3_000).map(lambda depth: b'{"Addr":"h:1","m":' * depth + b"1" + b"}" * depth)
)
values = bodies | st.builds(
    lambda addr, metadata: as_json({"Addr": addr, "Metadata": metadata}),
    st.just("10.0.0.1:80") | atoms,
    anything | st.dictionaries(names, anything, max_size=4),
)
instances = st.builds(
    Instance,
    id=st.text(st.characters(exclude_categories=["Cs"]), max_size=12),
    host=st.sampled_from(["10.0.0.1", "::1", "a.example"]),
    port=st.integers(1, 65535),
    scheme=st.sampled_from([None, "http", "https"]),
    weight=st.floats(0, 1e300),
    zone=st.text(st.characters(exclude_categories=["Cs"]), max_size=5),
    metadata=st.dictionaries(names, text.filter(str.isprintable), max_size=4),
    status=st.sampled_from(Status),
)


@given(bodies)
def test_an_answer_is_read_or_refused(body):
    for shape in SHAPES:
        try:
            found = read("here", body, shape)
        except RegistryAnswerError:
            continue
        assert isinstance(found, shape)


@given(values)
def test_a_value_is_an_instance_or_names_its_fault(value):
    try:
        found = read_value("name", value)
    except (InvalidInstanceError, RegistryAnswerError):
        return
    assert all(isinstance(each, str) for pair in found.metadata.items() for each in pair)


@given(st.lists(values, max_size=5), st.lists(anything, max_size=3))
def test_garbage_beside_a_good_instance_is_left_out_and_named(garbage, kvs):
    entries = [GOOD, *kvs]
    for number, value in enumerate(garbage):
        key = base64.b64encode(b"s/orders/%d" % number).decode()
        entries.append({"key": key, "value": base64.b64encode(value).decode()})
    try:
        answer = read("here", as_json({"header": {}, "kvs": entries}), RangeAnswer)
    except RegistryAnswerError:
        # As a whole it is no JSON: a number that is none.
        return
    listing = View("here", "s/orders/", answer, reset=False).listing()
    found = {each.id for each in listing.instances}
    assert "good" in found
    assert len(found) <= len(entries)
    assert len(listing.instances) == len(found)


@given(bodies)
def test_a_watch_and_the_names_of_services_survive_whatever_can_be_read(body):
    view = View("here", "s/orders/", read("here", b'{"header":{}}', RangeAnswer), reset=False)
    try:
        message = read("here", body, WatchMessage)
        if message.result is not None:
            view.apply(message.result)
            view.listing()
        services_of("s/", read("here", body, RangeAnswer))
    except RegistryAnswerError:
        pass


@given(st.integers(201, 599), bodies)
def test_every_refusal_has_an_error_of_ours(status, body):
    error = refused("here", Answer(status, httpx.Headers(), body))
    assert isinstance(error, RegistryError)
    assert str(error).startswith("here: ")
    assert len(str(error)) < 600


@given(instances)
def test_what_is_written_is_read(instance):
    key = key_of("s/", "orders", instance.id)
    assert key.count("/") == 2
    found = read_value(key.rpartition("/")[2], value_of(instance))
    assert found == instance
    assert found.metadata == instance.metadata
