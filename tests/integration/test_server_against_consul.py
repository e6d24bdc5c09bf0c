"""The embedded registry beside a real Consul: the same requests, the same answers.

Status codes, texts of errors, names and kinds of all JSON fields are compared; values are,
where they do not depend on who answers. What differs on purpose stands in `OURS`.
"""

import httpx
import pytest

from trimtab.server import EmbeddedRegistry

pytestmark = pytest.mark.real

OURS = {
    # Real answers name Go's types; ours say the same in other words.
    ("register", "Port"): "Request decode failed",
    ("register", "Meta number"): "Request decode failed",
    ("register", "array"): "Request decode failed",
    ("register", "garbage"): "Request decode failed",
    ("filter", ""): "Failed to create boolean expression evaluator",
}

REGISTER = "agent/service/register"
BAD_BODIES = {
    "unknown": {"Name": "x", "Bogus": 1},
    "unknown in check": {"Name": "x", "Check": {"Bogus": 1}},
    "no name": {},
    "Port": {"Name": "x", "Port": "abc"},
    "Meta number": {"Name": "x", "Meta": {"a": 1}},
    "Meta key": {"Name": "x", "Meta": {"a b": "c"}},
    "weight 0": {"Name": "x", "Weights": {"Passing": 0}},
    "weight -1": {"Name": "x", "Weights": {"Passing": -1, "Warning": 1}},
    "warning -1": {"Name": "x", "Weights": {"Passing": 1, "Warning": -1}},
    "weight large": {"Name": "x", "Weights": {"Passing": 70000, "Warning": 1}},
    "ttl": {"Name": "x", "Check": {"TTL": "banana"}},
    "no interval": {"Name": "x", "Check": {"HTTP": "http://x"}},
    "no ttl": {"Name": "x", "Check": {"Interval": "1s"}},
    "both": {"Name": "x", "Check": {"TTL": "1s", "Interval": "1s"}},
    "http and ttl": {"Name": "x", "Check": {"HTTP": "http://x", "TTL": "1s"}},
    "status": {"Name": "x", "Check": {"TTL": "1s", "Status": "banana"}},
    "name only": {"Name": "x", "Check": {"Name": "n"}},
    "script": {"Name": "x", "Check": {"Args": ["true"], "Interval": "1s"}},
    "old script": {"Name": "x", "Check": {"Script": "true", "Interval": "1s"}},
    "wildcard": {"Name": "x", "Address": "0.0.0.0"},
    "wildcard 6": {"Name": "x", "Address": "::"},
    "array": [],
}
BAD_REQUESTS = [
    ("POST", REGISTER),
    ("GET", "agent/check/pass/x"),
    ("POST", "health/service/x"),
    ("GET", "nope"),
    ("PUT", "agent/check/pass/nope"),
    ("PUT", "agent/check/pass/"),
    ("PUT", "agent/check/warn/nope"),
    ("PUT", "agent/check/fail/nope"),
    ("PUT", "agent/service/deregister/"),
    ("PUT", "agent/service/deregister/nope"),
    ("PUT", "agent/check/deregister/nope"),
    ("PUT", "agent/service/maintenance/nope"),
    ("PUT", "agent/service/maintenance/nope?enable=banana"),
    ("PUT", "agent/service/maintenance/nope?enable=true"),
    ("GET", "agent/service/nope"),
    ("GET", "health/service/"),
    ("GET", "health/checks/"),
    ("GET", "health/state/"),
    ("GET", "health/node/"),
    ("GET", "catalog/service/"),
    ("GET", "health/state/banana"),
    ("GET", "health/node/nowhere"),
    ("GET", "catalog/node/nowhere"),
    ("GET", "catalog/service/nope"),
    ("GET", "health/service/nope"),
    ("GET", "health/checks/nope"),
    ("GET", "health/service/x?passing=banana"),
    ("GET", "health/service/x?passing="),
    ("GET", "health/service/x?passing=T"),
    ("GET", "health/service/x?index=-1"),
    ("GET", "health/service/x?index=abc"),
    ("GET", "health/service/x?index="),
    ("GET", "health/service/x?wait=abc"),
    ("GET", "health/service/x?wait=10"),
    ("GET", "health/service/x?stale&consistent"),
    ("GET", "health/service/x?stale"),
    ("GET", "health/service/x?consistent"),
    ("GET", "health/service/x?dc=nope"),
    ("GET", "health/service/x?dc=dc1"),
    ("GET", "health/service/x?near=_agent"),
    ("GET", "catalog/datacenters"),
    ("PUT", "agent/check/update/nope"),
]
CHECK_BODIES = [
    {"Name": "c", "TTL": "15s", "ServiceID": "nope"},
    {"TTL": "15s"},
    {"Name": "c"},
    {"Name": "c", "Args": ["true"], "Interval": "1s"},
    {"Name": "c", "Bogus": 1},
]
UPDATES = [{"Status": "banana"}, {"Status": "passing"}, {"Status": "passing", "X": 1}, None]
CATALOG_BODIES = [
    ("catalog/register", {"Node": "ext"}),
    ("catalog/deregister", {}),
    ("catalog/deregister", {"Node": "nowhere"}),
]
FULL = {
    "ID": "cmp-1",
    "Name": "cmp",
    "Tags": ["a", "b"],
    "Address": "10.0.0.9",
    "Port": 80,
    "Meta": {"k": "v"},
    "Weights": {"Passing": 3, "Warning": 1},
    "EnableTagOverride": True,
    "Checks": [
        {"TTL": "60s", "Status": "passing", "Notes": "n"},
        {"CheckID": "cmp-own", "Name": "own", "TTL": "1m30s"},
        {"HTTP": "http://127.0.0.1:1/", "Interval": "1h"},
        {"TCP": "127.0.0.1:1", "Interval": "1h", "Timeout": "1s"},
    ],
}
BARE = {"ID": "cmp-2", "Name": "cmp"}
EXTERNAL = {
    "Node": "cmp-ext",
    "Address": "10.1.1.1",
    "Service": {"Service": "cmp-ext", "Port": 3},
    "Check": {"Node": "cmp-ext", "Name": "c", "Status": "passing", "ServiceID": "cmp-ext"},
}
READS = [
    "health/service/cmp",
    "health/service/cmp?passing",
    "health/service/cmp?tag=a&tag=b",
    "health/checks/cmp",
    "health/service/cmp-ext",
    "catalog/service/cmp",
    "catalog/service/cmp?tag=a",
    "agent/service/cmp-1",
    "agent/service/cmp-2",
]
# Fields that depend on the server or the time; a check's output has the result of a probe.
OWN_VALUES = {"Node", "ID", "CreateIndex", "ModifyIndex", "Output", "ContentHash", "Address"}


@pytest.fixture(scope="module")
def both(consul):
    with (
        EmbeddedRegistry() as registry,
        httpx.Client(base_url=f"{registry.http_url}/v1/", trust_env=False) as ours,
        httpx.Client(base_url=f"{consul.http}/v1/", trust_env=False) as real,
    ):
        for client in (ours, real):
            for body in (FULL, BARE):
                assert client.put(REGISTER, json=body).status_code == 200
            assert client.put("catalog/register", json=EXTERNAL).json() is True
        yield ours, real
        for ident in ("cmp-1", "cmp-2"):
            real.put(f"agent/service/deregister/{ident}")
        real.put("catalog/deregister", json={"Node": "cmp-ext"})


def shape(value):
    """The names and kinds of all fields; empty things are alike, as null is to Go."""
    if value in ({}, None, [], ""):
        return "empty"
    if isinstance(value, dict):
        return {name: shape(each) for name, each in value.items()}
    if isinstance(value, list):
        return [shape(each) for each in value]
    return type(value).__name__


def plain(value, name=""):
    """The values that do not depend on who answers."""
    if name in OWN_VALUES and not isinstance(value, dict):
        return "own"
    if isinstance(value, dict):
        # What is empty here may be null there.
        return {each: plain(value[each], each) or None for each in value if each != "Node"}
    if isinstance(value, list):
        return [plain(each) for each in value]
    return value


def same(ours, real, *, text=None):
    assert ours.status_code == real.status_code, (ours.text, real.text)
    if real.status_code != 200:
        kind = "content-type"
        assert ours.headers.get(kind) in {real.headers.get(kind), "text/plain; charset=utf-8"}
        if text is None:
            assert ours.text.strip() == real.text.strip()
        else:
            assert text in ours.text
            assert text in real.text
    elif real.content:
        assert ours.headers["content-type"] == real.headers["content-type"]
        assert shape(ours.json()) == shape(real.json())
        consul_headers = {name for name in real.headers if name.startswith("x-consul")}
        assert consul_headers <= set(ours.headers)
    else:
        assert not ours.content


@pytest.mark.parametrize("what", BAD_BODIES)
def test_bad_registrations(both, what):
    ours, real = (client.put(REGISTER, json=BAD_BODIES[what]) for client in both)
    same(ours, real, text=OURS.get(("register", what)))
    assert real.status_code in {400, 500}


@pytest.mark.parametrize("body", [b"", b'{"Name":', b'{"Name": "x"'])
def test_bad_json(both, body):
    ours, real = (client.put(REGISTER, content=body) for client in both)
    same(ours, real)


def test_garbage(both):
    ours, real = (client.put(REGISTER, content=b"garbage") for client in both)
    same(ours, real, text=OURS["register", "garbage"])


@pytest.mark.parametrize(("method", "path"), BAD_REQUESTS)
def test_bad_and_odd_requests(both, method, path):
    ours, real = (client.request(method, path) for client in both)
    same(ours, real)


def test_a_filter(both):
    ours, real = (client.get("health/service/x?filter=banana") for client in both)
    same(ours, real, text=OURS["filter", ""])


@pytest.mark.parametrize("body", CHECK_BODIES)
def test_bad_checks(both, body):
    ours, real = (client.put("agent/check/register", json=body) for client in both)
    same(ours, real)


@pytest.mark.parametrize("body", UPDATES)
def test_bad_updates(both, body):
    ours, real = (client.put("agent/check/update/nope", json=body) for client in both)
    same(ours, real)


@pytest.mark.parametrize(("path", "body"), CATALOG_BODIES)
def test_bad_catalog_writes(both, path, body):
    ours, real = (client.put(path, json=body) for client in both)
    same(ours, real)


@pytest.mark.parametrize("path", READS)
def test_reads_have_the_same_fields_and_values(both, path, wait_until):
    # The agent of a real Consul tells its catalog a little later.
    wait_until(lambda: len(both[1].get("health/service/cmp").json()) == 2)
    ours, real = (client.get(path) for client in both)
    same(ours, real)
    assert plain(ours.json()) == plain(real.json())


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("agent/services", "cmp-1"),
        ("agent/services", "cmp-2"),
        ("agent/checks", "cmp-own"),
        ("agent/checks", "service:cmp-1:3"),
        ("catalog/services", "cmp"),
    ],
)
def test_entries_of_lists(both, path, name):
    ours, real = (client.get(path).json()[name] for client in both)
    if path == "catalog/services":
        real.sort()  # Consul gives the tags in any order
    assert shape(ours) == shape(real)
    assert plain(ours) == plain(real)


@pytest.mark.parametrize("path", ["health/state/any", "health/node/{}", "catalog/nodes"])
def test_the_node_itself(both, path):
    def own(client):
        node = client.get("agent/self").json()["Config"]["NodeName"]
        return [
            each
            for each in client.get(path.format(node)).json()
            if each["Node"] == node and each.get("CheckID", "serfHealth") == "serfHealth"
        ]

    ours, real = map(own, both)
    assert shape(ours) == shape(real)
    assert plain(ours) == plain(real)


def test_the_node_with_its_instances(both):
    def own(client):
        node = client.get("agent/self").json()["Config"]["NodeName"]
        found = client.get(f"catalog/node/{node}").json()
        return {**found, "Services": {i: found["Services"][i] for i in ("cmp-1", "cmp-2")}}

    ours, real = map(own, both)
    assert shape(ours) == shape(real)


def test_what_clients_read_in_self_and_members(both):
    ours, real = (client.get("agent/self").json() for client in both)
    assert shape(ours["Config"]) == shape(real["Config"])
    assert set(ours["Member"]) == set(real["Member"])
    assert set(ours) <= set(real)
    ours, real = (client.get("agent/members").json()[0] for client in both)
    assert set(ours) == set(real)
    for path in ("status/leader", "status/peers"):
        ours, real = (client.get(path) for client in both)
        same(ours, real)


def test_the_same_steps_change_the_index_as_in_consul(both, wait_until):
    """What moves a service's index, and what does not, is the same in both."""
    story = [
        ("agent/service/register", {"ID": "s1", "Name": "story", "Check": {"TTL": "60s"}}),
        ("agent/service/register", {"ID": "s1", "Name": "story", "Check": {"TTL": "60s"}}),
        ("agent/check/pass/service:s1", None),
        ("agent/check/pass/service:s1", None),
        ("agent/check/pass/service:s1?note=other", None),
        ("agent/check/warn/service:s1", None),
        ("agent/service/register", {"ID": "s1", "Name": "story", "Port": 8}),
        ("agent/service/register", {"ID": "s2", "Name": "story"}),
        ("agent/service/register", {"ID": "o1", "Name": "story-other"}),
        ("agent/service/maintenance/s2?enable=true", None),
        ("agent/service/maintenance/s2?enable=false", None),
        ("agent/check/deregister/service:s1", None),
        ("agent/check/deregister/service:s1", None),
        ("agent/service/deregister/s2", None),
        ("agent/service/deregister/s2", None),
        ("agent/service/deregister/o1", None),
        ("agent/service/deregister/s1", None),
    ]

    def read(client):
        answer = client.get("health/service/story")
        shown = [
            (e["Service"]["ID"], e["Service"]["Port"], [c["Status"] for c in e["Checks"]])
            for e in answer.json()
        ]
        return int(answer.headers["X-Consul-Index"]), shown

    ours, real = both
    our_index, real_index = read(ours)[0], read(real)[0]
    for path, body in story:
        for client in both:
            assert client.put(path, json=body).status_code == 200
        index, shown = read(ours)
        # The agent of a real Consul tells its catalog a little later.
        found, _ = wait_until(lambda shown=shown: (now := read(real))[1] == shown and now)
        assert (index > our_index) == (found > real_index), path
        assert min(index - our_index, found - real_index) >= 0, path
        our_index, real_index = index, found


def test_blocking_ends_in_time_and_with_the_same_index(both):
    for client in both:
        path = "health/service/cmp"
        index = client.get(path).headers["X-Consul-Index"]
        for asked in (index, str(int(index) + 1000)):
            answer = client.get(path, params={"index": asked, "wait": "100ms"})
            assert (answer.status_code, answer.headers["X-Consul-Index"]) == (200, index)
