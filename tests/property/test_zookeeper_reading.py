"""Whatever stands in a node, its reader skips it with its name or makes an instance of it."""

from __future__ import annotations

import contextlib
import json
from urllib.parse import quote_plus

from hypothesis import given
from hypothesis import strategies as st

from garbage import anything, garbled
from trimtab.errors import RegistryAnswerError
from trimtab.instance import Instance, Status
from trimtab.registries.zookeeper.layouts import CuratorLayout, DubboLayout, read_node, write_node

GOOD = b'{"address": "10.0.0.1", "port": 80, "id": "good"}'
NODE = {
    "name": "orders",
    "id": "a",
    "address": "10.0.0.1",
    "port": 80,
    "sslPort": None,
    "payload": {"@class": "a.B", "metadata": {"weight": "2", "instance_status": "UP"}},
    "registrationTimeUTC": 1,
    "serviceType": "DYNAMIC",
    "uriSpec": None,
    "enabled": True,
}
OWN = {"weight": 2.0, "zone": "z", "scheme": "http", "status": "warning", "metadata": {"k": "v"}}
NODES = (garbled(NODE) | garbled(NODE | {"trimtab": OWN}) | anything).map(json.dumps)
TORN = st.builds(lambda text, cut: text[: len(text) * cut // 8], NODES, st.integers(0, 8))
# Bytes where a payload should be: it is not decoded as a whole.
PAYLOADS = st.builds(
    lambda around, inner: b'{"address": "h", "port": 1, "payload": %s}' % (around % inner),
    st.sampled_from([b"%s", b'"%s"', b'{"a": %s}', b'{"a": "%s"}', b'{"metadata": {"%s": 1}}']),
    st.binary(max_size=9),
)
TEXTS = st.text('aZ07 ./:#@%-_+\\"\n\x00é€😀', max_size=9)
NAMES = TEXTS.filter(bool)
URLS = st.builds(
    "{}://{}/x?{}{}".format,
    st.sampled_from(["dubbo", "tri", "", "[", "http"]),
    st.sampled_from(["h:1", "h", ":1", "[::1]:5", "[::1", "h:99999999", "u:p@h:1"]),
    st.sampled_from(["weight=", "group=", "enabled=", "=", "&", ""]),
    TEXTS,
)


def check_the_rest_survives(layout, name, data, good):
    """Read it alone, which may fail in one way only, and beside a good one, which may not."""
    with contextlib.suppress(RegistryAnswerError):
        assert len(layout.read("here", "orders", {name: data})[0]) == 1
    instances, skipped = layout.read("here", "orders", {name: data} | good)
    assert len(instances) + len(skipped) == 2
    assert len(instances) >= 1


@given(NAMES, st.binary() | NODES.map(str.encode) | TORN.map(str.encode) | PAYLOADS)
def test_no_node_of_curators_harms_the_others(name, data):
    check_the_rest_survives(CuratorLayout("/services"), name, data, {"the good one": GOOD})


@given(TEXTS | URLS.map(quote_plus) | URLS)
def test_no_provider_of_dubbos_harms_the_others(name):
    good = {quote_plus("tri://10.9.9.9:7/x"): b""}
    check_the_rest_survives(DubboLayout("/dubbo"), name, b"", good)


@given(
    st.builds(
        Instance,
        id=NAMES,
        host=st.sampled_from(["h", "10.0.0.1", "::1", "a.b.example"]),
        port=st.integers(1, 65535),
        scheme=st.sampled_from([None, "http", "https"]),
        weight=st.floats(0, 1e300) | st.integers(0, 10**6),
        zone=TEXTS,
        metadata=st.dictionaries(TEXTS, TEXTS, max_size=3),
        status=st.sampled_from(Status),
    )
)
def test_what_is_written_is_read(instance):
    back = read_node("n", write_node("orders", instance, registered_at_ms=1))
    assert back == instance
    assert dict(back.metadata) == dict(instance.metadata)
