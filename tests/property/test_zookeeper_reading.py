"""Whatever stands in a node, its reader skips it with its name or makes an instance of it."""

from __future__ import annotations

import contextlib
import json
from urllib.parse import quote_plus

from hypothesis import given
from hypothesis import strategies as st

from trimtab.errors import RegistryAnswerError
from trimtab.instance import Instance, Status
from trimtab.registries.zookeeper.curator import CuratorLayout, read_node, write_node
from trimtab.registries.zookeeper.dubbo import DubboLayout

GOOD = b'{"address": "10.0.0.1", "port": 80, "id": "good"}'
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(10**400), 10**400)
    | st.floats()
    | st.text()
    | st.sampled_from(["h", "10.0.0.1", "::1", 80, 443, 1.5, "passing", "draining", "https"])
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=12,
)
FIELDS = (
    *("name", "id", "address", "port", "sslPort", "payload", "registrationTimeUTC"),
    *("serviceType", "uriSpec", "enabled", "trimtab"),
)
OWN = ("weight", "zone", "scheme", "status", "metadata")
NODES = st.dictionaries(
    st.sampled_from(FIELDS) | st.text(max_size=3),
    VALUES | st.dictionaries(st.sampled_from(OWN), VALUES),
)
TORN = st.tuples(NODES, st.integers(0, 40)).map(
    lambda pair: json.dumps(pair[0]).encode()[: -pair[1] or None]
)
# Bytes where a payload should be: it is not decoded as a whole.
PAYLOADS = st.tuples(
    st.sampled_from([b"%s", b'"%s"', b'{"a": %s}', b'{"a": "%s"}', b'{"metadata": {"%s": 1}}']),
    st.binary(),
).map(lambda pair: b'{"address": "h", "port": 1, "payload": %s}' % pair[0].replace(b"%s", pair[1]))
NAMES = st.text(st.characters(codec="utf-8"), min_size=1)
METADATA = st.dictionaries(NAMES, NAMES | st.just(""), max_size=3)


def check_rest_survives(layout, name, data, good):
    """Read it alone, which may fail in one way only, and beside a good one, which may not."""
    with contextlib.suppress(RegistryAnswerError):
        assert len(layout.read("here", "orders", {name: data})[0]) == 1
    instances, skipped = layout.read("here", "orders", {name: data} | good)
    assert len(instances) + len(skipped) == 2
    assert len(instances) >= 1


@given(NAMES, st.binary() | NODES.map(json.dumps).map(str.encode) | TORN | PAYLOADS)
def test_no_node_of_curators_harms_the_others(name, data):
    check_rest_survives(CuratorLayout("/services"), name, data, {"the good one": GOOD})


@given(
    st.text(st.characters(codec="utf-8"))
    | st.tuples(
        st.sampled_from(["dubbo", "tri", "", "[", "http"]),
        st.sampled_from(["h:1", "h", ":1", "[::1]:5", "[::1", "h:99999999", "u:p@h:1"]),
        st.text(st.characters(codec="utf-8")),
    ).map(lambda parts: quote_plus("{}://{}/x?{}".format(*parts)))
)
def test_no_provider_of_dubbos_harms_the_others(name):
    good = {quote_plus("dubbo://10.9.9.9:7/x"): b""}
    if name not in good:
        check_rest_survives(DubboLayout("/dubbo"), name, b"", good)


@given(
    st.builds(
        Instance,
        id=NAMES,
        host=st.sampled_from(["h", "10.0.0.1", "::1", "a.b.example"]),
        port=st.integers(1, 65535),
        scheme=st.sampled_from([None, "http", "https"]),
        weight=st.floats(0, 1e300) | st.integers(0, 10**6),
        zone=NAMES | st.just(""),
        metadata=METADATA,
        status=st.sampled_from(Status),
    )
)
def test_what_is_written_is_read(instance):
    back = read_node("n", write_node("orders", instance, registered_at_ms=1))
    assert back == instance
    assert dict(back.metadata) == dict(instance.metadata)
