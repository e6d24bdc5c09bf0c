"""Instances are checked when made, and say which field of which instance is wrong."""

import copy
import math
import pickle

import httpx
import httpx2
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from trimtab import ConfigurationError, Instance, Status
from trimtab.errors import InvalidInstanceError
from trimtab.instance import Snapshot, merge_addresses


def test_defaults_and_identity():
    instance = Instance(host="10.0.0.7", port=8080)
    assert instance.id == instance.address == "10.0.0.7:8080"
    assert (instance.scheme, instance.weight, instance.zone) == (None, 1.0, "")
    assert instance.priority == 0
    assert (dict(instance.metadata), instance.status) == ({}, Status.PASSING)
    assert Instance(host="10.0.0.7", port=8080, id="orders-1").id == "orders-1"


@pytest.mark.parametrize(
    ("host", "kept", "address"),
    [
        ("10.0.0.7", "10.0.0.7", "10.0.0.7:80"),
        ("inventory.example", "inventory.example", "inventory.example:80"),
        ("::1", "::1", "[::1]:80"),
        ("[2001:db8::7]", "2001:db8::7", "[2001:db8::7]:80"),
        ("fe80::1%eth0", "fe80::1%eth0", "[fe80::1%eth0]:80"),
        ("a.b." * 63, "a.b." * 63, "a.b." * 63 + ":80"),
        ("Billing_API.local.", "Billing_API.local.", "Billing_API.local.:80"),
        ("é.example", "é.example", "é.example:80"),
    ],
)
def test_hosts(host, kept, address):
    instance = Instance(host=host, port=80)
    assert (instance.host, instance.address) == (kept, address)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("host", value) for value in ("", "a/b", "a b", "a\tb", "a\nb", "a\x00b", "a\x7fb")),
        *(("host", value) for value in ("a\u00a0b", "user@host", "a?b", "a#b", "a\\b", "[a", "a]")),
        *(("host", value) for value in ("a:80", "10.0.0.1:80", "1::2::3", "a" * 254, None, 7, [])),
        *(("port", value) for value in (0, -1, 65536, 80.0, "80", True, None, math.nan)),
        *(("weight", value) for value in (-1, -0.001, math.nan, math.inf, -math.inf, 10**400)),
        *(("weight", value) for value in (True, None, "2", [1])),
        *(("scheme", value) for value in ("ftp", "HTTP", "", 1, [])),
        *(("status", value) for value in ("up", None, 1)),
        *(("metadata", value) for value in (None, 7, "text", ["ab", "abc"])),
        *((field, value) for field in ("id", "zone") for value in (None, 7)),
        *(("priority", value) for value in (-1, 128, 10**400, 1.0, True, "1", None)),
    ],
)
def test_a_wrong_field_is_named_with_its_instance(field, value):
    fields = {"host": "10.0.0.7", "port": 80, "id": "orders-1", field: value}
    with pytest.raises(InvalidInstanceError) as caught:
        Instance(**fields)
    message = str(caught.value)
    assert f": {field} is " in message
    assert "must be" in message
    assert ("orders-1" in message) or field == "id"
    assert isinstance(caught.value, ConfigurationError)
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize(
    "host",
    [
        *("a..b", ".a", "a..", ".", "..", "é..b", "é.."),
        *("a" * 64, f"{'a' * 64}.b", f"b.{'a' * 64}", "é" * 60, "a.b." * 64),
        *(
            "256.1.1.1",
            "1.2.3.999",
            "01.2.3.4",
            "1.2.3.4.5..",
            "fe80::1%a/b",
            "fe80::1%",
            "::1%a b",
        ),
        *(
            "xn--a",
            "xn--",
            "xn--zz--",
            "☃",
            "\u200d",
            "١٢٣",
            "a\ud800b",
            "a%b",
            "a,b",
            "<a>",
            "a;b",
        ),
    ],
)
def test_a_host_that_cannot_be_called_is_refused_when_it_is_listed(host):
    with pytest.raises(InvalidInstanceError, match="host is"):
        Instance(host=host, port=80)


@given(st.text("aé☃_-.%xn1ß。:0 \ud800", max_size=70))
@example("xn--a")
@example("256.1.1.1")
def test_every_host_that_is_accepted_can_be_written_in_a_url_and_looked_up(host):
    try:
        instance = Instance(host=host, port=80)
    except InvalidInstanceError:
        return
    for family in (httpx, httpx2):
        url = family.URL("http://service/").copy_with(host=instance.host, port=instance.port)
        url.raw_host.decode().encode("idna")  # As sockets do before they look a name up.
        assert url.host


@pytest.mark.parametrize("field", ["id", "zone", "host", "scheme", "status"])
def test_a_message_about_a_long_value_is_short(field):
    with pytest.raises(InvalidInstanceError) as caught:
        Instance(**{"host": "a", "port": 0, field: "x" * 2**20})
    assert len(str(caught.value)) < 500


def test_a_number_too_large_to_be_shown_is_refused_like_others():
    for field in ("port", "weight"):
        with pytest.raises(InvalidInstanceError, match="too large to be shown"):
            Instance(**{"host": "a", "port": 80, field: 10**5000})


def test_without_an_id_the_message_names_host_and_port():
    with pytest.raises(InvalidInstanceError, match=r"at host '10\.0\.0\.7', port 0"):
        Instance(host="10.0.0.7", port=0)


def test_instances_are_frozen_and_own_their_metadata():
    metadata = {"rack": "r7"}
    instance = Instance(host="a", port=1, metadata=metadata)
    metadata["rack"] = "r8"
    assert dict(instance.metadata) == {"rack": "r7"}
    with pytest.raises(AttributeError):
        instance.port = 2
    with pytest.raises(TypeError):
        instance.metadata["rack"] = "r9"


def test_with_makes_a_checked_copy():
    instance = Instance(host="a", port=1, id="x")
    assert instance.with_(weight=3).weight == 3.0
    assert instance.with_(status="critical").status is Status.CRITICAL
    with pytest.raises(InvalidInstanceError):
        instance.with_(port=0)


def text(max_size=12):
    # A short alphabet: the whole of Unicode takes seconds to load.
    return st.text("ab0.:/[]%\\ \x00\n\u00e9\u2028\U0001f600", max_size=max_size)


instances = st.builds(
    Instance,
    host=st.one_of(
        st.from_regex(r"[a-z_-]{1,9}(\.[a-z0-9-]{1,9})?\.?", fullmatch=True),
        st.ip_addresses().map(str),
    ),
    port=st.integers(1, 65535),
    id=text(max_size=10),
    scheme=st.sampled_from([None, "http", "https"]),
    weight=st.one_of(st.floats(0, allow_nan=False, allow_infinity=False), st.integers(0, 10**9)),
    zone=text(max_size=5),
    priority=st.integers(0, 127),
    metadata=st.dictionaries(text(max_size=5), text(max_size=5), max_size=3),
    status=st.sampled_from([*Status, "passing", "draining"]),
)


@given(instances)
def test_what_is_made_hashes_compares_copies_and_pickles(instance):
    for again in (pickle.loads(pickle.dumps(instance)), copy.deepcopy(instance), instance.with_()):
        assert again == instance
        assert hash(again) == hash(instance)
    assert isinstance(instance.weight, float)
    assert isinstance(instance.status, Status)


@given(
    st.dictionaries(
        st.sampled_from(["host", "port", "id", "weight", "metadata", "status"]),
        st.one_of(
            st.none(),
            text(),
            st.integers(),
            st.floats(),
            st.booleans(),
            st.lists(text()),
            st.binary(),
        ),
    )
)
def test_any_input_makes_an_instance_or_a_clear_error(fields):
    try:
        instance = Instance(**{"host": "a", "port": 1, **fields})
    except InvalidInstanceError as error:
        assert " is " in str(error)  # noqa: PT017 - both ends are fine
    else:
        assert 1 <= instance.port <= 65535


def test_a_snapshot_is_a_frozen_whole():
    snapshot = Snapshot(service="orders", instances=(Instance(host="a", port=1),))
    assert (snapshot.version, snapshot.fetched_at, snapshot.source) == ("", 0.0, "registry")
    with pytest.raises(AttributeError):
        snapshot.version = "2"


# One address under several ids


def at(id_, host="h", port=1, **fields):
    return Instance(id=id_, host=host, port=port, **fields)


@pytest.mark.parametrize(
    ("host", "other"),
    [
        ("h", "H"),
        ("h.example", "h.Example."),
        ("::1", "0:0:0:0:0:0:0:1"),
        ("2001:DB8::1", "2001:db8::1"),
        ("10.0.0.1", "10.0.0.1"),
    ],
)
def test_entries_of_one_address_are_one_instance(host, other):
    found, merged = merge_addresses([at("a", host), at("b", other), at("c", port=2)])
    assert [each.id for each in found] == ["a", "c"]
    assert [[each.id for each in group] for group in merged] == [["a", "b"]]


def test_another_scheme_host_or_port_is_another_instance():
    several = [at("a"), at("b", scheme="https"), at("c", scheme="http"), at("d", port=2)]
    several += [at("e", "::2"), at("f", "::1"), at("g", "i")]
    assert merge_addresses(several) == (tuple(several), [])


@pytest.mark.parametrize(
    ("statuses", "known", "counts"),
    [
        (("critical", "passing"), ("a",), "b"),
        (("draining", "passing"), ("a",), "b"),
        (("critical", "draining"), ("a",), "b"),
        (("warning", "passing"), (), "b"),
        (("passing", "passing"), (), "a"),
        (("passing", "passing"), ("b",), "b"),
        (("passing", "passing"), ("a", "b"), "a"),
    ],
)
def test_the_best_entry_of_an_address_counts_and_then_the_known_one(statuses, known, counts):
    entries = [at(id_, status=status) for id_, status in zip("ab", statuses, strict=True)]
    (found,), _ = merge_addresses(entries, known=known)
    assert found.id == counts
