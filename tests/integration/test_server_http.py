"""The embedded registry's HTTP API, over real sockets."""

import concurrent.futures
import itertools
import socket
import threading
from urllib.parse import quote

import httpx
import pytest

from trimtab.server import EmbeddedRegistry

_names = (f"svc{number}" for number in itertools.count())


@pytest.fixture(scope="module")
def registry():
    with EmbeddedRegistry(max_body_bytes=4096) as registry:
        yield registry


@pytest.fixture(scope="module")
def client(registry):
    with httpx.Client(base_url=registry.http_url, trust_env=False, timeout=20) as client:
        yield client


@pytest.fixture
def name():
    return next(_names)


def register(client, name, **fields):
    body = {"Name": name, "Port": 80, **fields}
    answer = client.put("/v1/agent/service/register", json=body)
    assert answer.status_code == 200, answer.text


def ids(answer):
    assert answer.status_code == 200, answer.text
    return [entry["Service"]["ID"] for entry in answer.json()]


def index_of(answer):
    return int(answer.headers["X-Consul-Index"])


def in_background(function, *args, **kwargs):
    future = concurrent.futures.Future()

    def run():
        try:
            future.set_result(function(*args, **kwargs))
        except BaseException as error:  # noqa: BLE001 - raised again by result()
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future


def blocked(registry, wait_until, count=1):
    """Wait until so many queries block."""
    wait_until(lambda: registry._app.state.registry.waiters.count == count)


def test_the_life_of_an_instance(client, name):
    register(client, name, ID=f"{name}/1", Check={"TTL": "60s"})
    path = f"/v1/health/service/{name}"
    assert ids(client.get(path)) == [f"{name}/1"]
    assert ids(client.get(path, params={"passing": "1"})) == []
    check = f"service:{name}/1"
    for verb, status in (("pass", "passing"), ("warn", "warning"), ("fail", "critical")):
        assert client.put(f"/v1/agent/check/{verb}/{check}?note=hi").status_code == 200
        (found,) = client.get(f"/v1/health/checks/{name}").json()
        assert (found["Status"], found["Output"]) == (status, "hi")
    update = {"Status": "passing", "Output": "o"}
    assert client.put(f"/v1/agent/check/update/{check}", json=update).status_code == 200
    assert ids(client.get(path, params={"passing": ""})) == [f"{name}/1"]
    assert client.get(f"/v1/agent/service/{name}/1").json()["Service"] == name
    assert client.put(f"/v1/agent/service/deregister/{name}/1").status_code == 200
    assert ids(client.get(path)) == []
    assert client.put(f"/v1/agent/service/deregister/{name}/1").status_code == 200


def test_tags_and_weights_and_meta(client, name):
    register(client, name, ID=f"{name}-a", Tags=["x", "y"], Weights={"Passing": 3, "Warning": 1})
    register(client, name, ID=f"{name}-b", Tags=["x"], Meta={"zone": "z"}, Address="::1")
    path = f"/v1/health/service/{name}"
    assert ids(client.get(path, params={"tag": "x"})) == [f"{name}-a", f"{name}-b"]
    assert ids(client.get(path, params={"tag": ["x", "y"], "near": "_agent"})) == [f"{name}-a"]
    first, second = client.get(path).json()
    assert first["Service"]["Weights"] == {"Passing": 3, "Warning": 1}
    assert second["Service"]["Meta"] == {"zone": "z"}
    assert second["Service"]["TaggedAddresses"]["lan_ipv6"] == {"Address": "::1", "Port": 80}
    (flat,) = client.get(f"/v1/catalog/service/{name}", params={"tag": "y"}).json()
    assert flat["ServiceID"] == f"{name}-a"


def test_lists_of_everything(client, name):
    register(client, name, Tags=["t"], Checks=[{"TTL": "9s"}, {"TTL": "9s", "CheckID": name}])
    assert client.get("/v1/catalog/services").json()[name] == ["t"]
    assert client.get("/v1/agent/services").json()[name]["Port"] == 80
    checks = client.get("/v1/agent/checks").json()
    assert {name, f"service:{name}:1"} <= set(checks)
    assert "serfHealth" not in checks
    state = client.get("/v1/health/state/critical").json()
    assert name in {check["CheckID"] for check in state}
    assert client.get("/v1/health/state/banana").json() == []
    node = client.get("/v1/agent/self").json()["Config"]["NodeName"]
    assert node in {each["Node"] for each in client.get("/v1/catalog/nodes").json()}
    assert name in client.get(f"/v1/catalog/node/{node}").json()["Services"]
    assert client.get("/v1/catalog/node/nowhere").json() is None
    of_node = {check["CheckID"] for check in client.get(f"/v1/health/node/{node}").json()}
    assert {"serfHealth", name} <= of_node
    assert client.get("/v1/agent/members").json()[0]["Name"] == node
    assert client.get("/v1/catalog/datacenters").json() == ["dc1"]
    leader = client.get("/v1/status/leader").json()
    assert leader == f"{client.base_url.host}:{client.base_url.port}"
    assert client.get("/v1/status/peers").json() == [leader]


def test_checks_and_maintenance(client, name):
    register(client, name)
    body = {"Name": f"{name} more", "TTL": "9s", "ServiceID": name, "Status": "passing"}
    assert client.put("/v1/agent/check/register", json=body).status_code == 200
    path = f"/v1/health/service/{name}?passing=true"
    assert ids(client.get(path)) == [name]
    maintenance = f"/v1/agent/service/maintenance/{name}"
    assert client.put(maintenance, params={"enable": "true", "reason": "r"}).status_code == 200
    assert ids(client.get(path)) == []
    assert client.put(maintenance, params={"enable": "false"}).status_code == 200
    assert ids(client.get(path)) == [name]
    assert client.put(f"/v1/agent/check/deregister/{name} more").status_code == 200
    assert client.get(f"/v1/health/checks/{name}").json() == []


def test_replace_existing_checks(client, name):
    register(client, name, Check={"TTL": "9s"})
    body = {"Name": name, "Check": {"TTL": "9s", "CheckID": f"{name}-own"}}
    for query, expected in (("", 2), ("?replace-existing-checks", 1)):
        assert client.put(f"/v1/agent/service/register{query}", json=body).status_code == 200
        assert len(client.get(f"/v1/health/checks/{name}").json()) == expected


def test_external_nodes(client, name):
    body = {"Node": f"ext-{name}", "Address": "10.1.1.1", "Service": {"Service": name}}
    assert client.put("/v1/catalog/register", json=body).json() is True
    (entry,) = client.get(f"/v1/health/service/{name}").json()
    assert entry["Node"]["Address"] == "10.1.1.1"
    assert client.put("/v1/catalog/deregister", json={"Node": f"ext-{name}"}).json() is True
    assert client.get(f"/v1/health/service/{name}").json() == []
    own = client.get("/v1/agent/self").json()["Config"]["NodeName"]
    refused = client.put("/v1/catalog/register", json={**body, "Node": own})
    assert (refused.status_code, "use /v1/agent/service/register" in refused.text) == (400, True)


@pytest.mark.parametrize(
    ("method", "path", "status", "text"),
    [
        ("POST", "agent/service/register", 405, "method POST not allowed"),
        ("GET", "agent/check/pass/x", 405, "method GET not allowed"),
        ("POST", "health/service/x", 405, "method POST not allowed"),
        ("GET", "nope", 404, ""),
        ("PUT", "agent/check/pass/nope", 500, 'CheckID "nope" does not have associated TTL'),
        ("PUT", "agent/check/pass/", 500, 'CheckID "" does not have associated TTL'),
        ("PUT", "agent/service/deregister/", 500, "ServiceID missing"),
        ("PUT", "agent/service/maintenance/x", 400, "Missing value for enable"),
        ("PUT", "agent/service/maintenance/x?enable=no", 400, 'Invalid value for enable: "no"'),
        ("PUT", "agent/service/maintenance/?enable=1", 400, "Missing service ID"),
        ("GET", "agent/service/nope", 404, "unknown service ID: nope"),
        ("GET", "health/service/", 400, "Missing service name"),
        ("GET", "health/checks/", 400, "Missing service name"),
        ("GET", "health/state/", 400, "Missing check state"),
        ("GET", "health/node/", 400, "Missing node name"),
        ("GET", "catalog/service/", 400, "Missing service name"),
        ("GET", "health/service/x?passing=banana", 400, "Invalid value for ?passing"),
        ("GET", "health/service/x?index=-1", 400, "Invalid index"),
        ("GET", "health/service/x?index=abc", 400, "Invalid index"),
        ("GET", "health/service/x?wait=10", 400, "Invalid wait time"),
        ("GET", "health/service/x?stale&consistent", 400, "conflicting semantics"),
        ("GET", "health/service/x?node-meta=a:b", 400, "?node-meta is not supported"),
        ("GET", "health/service/x?dc=nope", 500, "No path to datacenter"),
    ],
)
def test_refuses_as_consul_does(client, method, path, status, text):
    answer = client.request(method, f"/v1/{path}")
    assert (answer.status_code, text in answer.text) == (status, True), answer.text
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"


def test_errors_carry_no_usable_index(client):
    answer = client.get("/v1/health/service/x?dc=nope")
    assert index_of(answer) == 1
    assert answer.headers["X-Consul-KnownLeader"] == "false"


def test_update_with_another_status(client):
    answer = client.put("/v1/agent/check/update/x", json={"Status": "banana"})
    assert (answer.status_code, answer.text) == (400, "Invalid check status: 'banana'")


@pytest.mark.parametrize("mode", ["leader", "stale", "consistent"])
def test_all_consistency_modes_answer(client, name, mode):
    answer = client.get(f"/v1/health/service/{name}", params={} if mode == "leader" else {mode: ""})
    assert answer.status_code == 200
    assert answer.headers["X-Consul-Effective-Consistency"] == mode
    assert answer.headers["X-Consul-KnownLeader"] == "true"
    assert answer.headers["X-Consul-LastContact"] == "0"


def test_pretty_is_indented(client, name):
    register(client, name)
    assert client.get("/v1/catalog/datacenters?pretty").text == '[\n    "dc1"\n]'


def test_a_query_blocks_until_its_service_changes(registry, client, name, wait_until):
    register(client, name)
    path = f"/v1/health/service/{name}"
    index = index_of(client.get(path))
    answer = in_background(client.get, path, params={"index": index, "wait": "60s"})
    blocked(registry, wait_until)
    register(client, f"{name}-other")
    assert not answer.done()
    register(client, name, Port=81)
    found = answer.result(timeout=10)
    assert index_of(found) > index
    assert found.json()[0]["Service"]["Port"] == 81


def test_a_query_for_an_unknown_service_blocks_until_it_appears(registry, client, name, wait_until):
    path = f"/v1/catalog/service/{name}"
    first = client.get(path)
    assert first.json() == []
    index = index_of(first)
    assert index == index_of(client.get(f"{path}-nor-this"))
    answer = in_background(client.get, path, params={"index": index, "wait": "60s"})
    blocked(registry, wait_until)
    register(client, name)
    assert index_of(answer.result(timeout=10)) > index


def test_the_wait_ends_with_the_same_index(client, name):
    register(client, name)
    path = f"/v1/health/service/{name}"
    index = index_of(client.get(path))
    answer = client.get(path, params={"index": index, "wait": "30ms"})
    assert (answer.status_code, index_of(answer)) == (200, index)
    far = client.get(path, params={"index": index + 1000, "wait": "30ms"})
    assert (far.status_code, index_of(far)) == (200, index)


@pytest.mark.parametrize("index", ["0", "1", ""])
def test_a_low_index_does_not_block(client, name, index):
    register(client, name)
    answer = client.get(f"/v1/health/service/{name}", params={"index": index, "wait": "60s"})
    assert ids(answer) == [name]


@pytest.mark.parametrize(
    "path", ["catalog/services", "catalog/nodes", "health/state/any", "health/node/x"]
)
def test_queries_for_tables_block_too(registry, client, name, path, wait_until):
    index = index_of(client.get(f"/v1/{path}"))
    answer = in_background(client.get, f"/v1/{path}", params={"index": index, "wait": "60s"})
    blocked(registry, wait_until)
    body = {"Node": f"ext-{name}", "Address": "a", "Service": {"Service": name}}
    body["Check"] = {"Name": "c", "ServiceID": name}
    assert client.put("/v1/catalog/register", json=body).status_code == 200
    assert index_of(answer.result(timeout=10)) > index


def test_two_hundred_queries_block_and_wake_together(registry, client, name, wait_until):
    register(client, name)
    path = f"/v1/health/service/{name}"
    index = index_of(client.get(path))
    request = (
        f"GET {path}?index={index}&wait=60s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    ).encode()
    host, port = registry.address.rsplit(":", 1)
    sockets = [socket.create_connection((host, int(port)), timeout=20) for _ in range(200)]
    try:
        for each in sockets:
            each.sendall(request)
        blocked(registry, wait_until, 200)
        assert client.get("/v1/status/leader").status_code == 200
        register(client, name, Port=81)
        for each in sockets:
            with each.makefile("rb") as stream:
                answer = stream.read()
            assert answer.startswith(b"HTTP/1.1 200")
            assert b'"Port":81' in answer
    finally:
        for each in sockets:
            each.close()
    blocked(registry, wait_until, 0)


def test_a_client_that_disconnects_stops_waiting(registry, client, name, wait_until):
    index = index_of(client.get(f"/v1/health/service/{name}"))
    with pytest.raises(httpx.ReadTimeout):
        client.get(
            f"/v1/health/service/{name}", params={"index": index, "wait": "60s"}, timeout=0.1
        )
    blocked(registry, wait_until, 0)


def test_a_heartbeat_without_a_change_wakes_no_query(registry, client, name, wait_until):
    register(client, name, Check={"TTL": "60s", "Status": "passing"})
    path = f"/v1/health/service/{name}"
    index = index_of(client.get(path))
    answer = in_background(client.get, path, params={"index": index, "wait": "60s"})
    blocked(registry, wait_until)
    for note in ("", "a", "b"):
        beat = client.put(f"/v1/agent/check/pass/service:{name}", params={"note": note})
        assert beat.status_code == 200
    assert index_of(client.get(path)) == index
    assert not answer.done()
    assert client.put(f"/v1/agent/check/fail/service:{name}").status_code == 200
    assert answer.result(timeout=10).json()[0]["Checks"][1]["Status"] == "critical"


@pytest.mark.parametrize("announced", [True, False])
def test_too_large_a_body_is_refused(client, announced):
    body = b'{"Name": "' + b"x" * 5000 + b'"}'
    answer = client.put(
        "/v1/agent/service/register",
        content=body if announced else iter([body[:4000], body[4000:]]),
    )
    assert answer.status_code == 413
    assert answer.text == "Request body too large: the limit is 4096 bytes"


def test_the_page_lists_and_escapes(client, name):
    register(client, name, ID="<b>", Tags=["<i>"], Address="::1", Check={"TTL": "9s"})
    page = client.get("/")
    assert page.headers["content-type"].startswith("text/html")
    assert f"<h2>{name}</h2>" in page.text
    assert "&lt;b&gt;<td>[::1]:80<td class=critical>critical" in page.text
    assert "<b>" not in page.text


def test_the_page_of_a_new_registry_and_of_a_large_one():
    with EmbeddedRegistry() as registry, httpx.Client(base_url=registry.http_url) as client:
        assert "No service is registered yet" in client.get("/").text
        for number in range(1001):
            register(client, "many", ID=f"m{number:04}")
        page = client.get("/").text
    assert "1001 instances" in page
    assert "the first 1000 instances are shown" in page
    assert page.count("<tr><td>") == 1000


def test_blocking_queries_above_the_limit_are_refused(wait_until):
    with (
        EmbeddedRegistry(max_waiting=1) as registry,
        httpx.Client(base_url=registry.http_url, timeout=20) as client,
    ):
        index = index_of(client.get("/v1/catalog/services"))
        params = {"index": index, "wait": "60s"}
        first = in_background(client.get, "/v1/catalog/services", params=params)
        blocked(registry, wait_until)
        second = client.get("/v1/catalog/services", params=params)
        assert (second.status_code, second.headers["Retry-After"]) == (429, "1")
        registry.stop()
        assert first.result(timeout=10).status_code == 200


@pytest.fixture(scope="module")
def guarded():
    with (
        EmbeddedRegistry(token="s3cret") as registry,
        httpx.Client(base_url=registry.http_url) as client,
    ):
        yield client


@pytest.mark.parametrize(
    "shown",
    [
        {"headers": {"X-Consul-Token": "s3cret"}},
        {"headers": {"Authorization": "Bearer s3cret"}},
        {"params": {"token": "s3cret"}},
    ],
)
def test_the_right_token_is_accepted_in_three_forms(guarded, shown):
    assert guarded.get("/v1/catalog/services", **shown).status_code == 200
    assert guarded.get("/", **shown).status_code == 200


@pytest.mark.parametrize(
    ("shown", "text"),
    [
        ({"headers": {"X-Consul-Token": "wrong"}}, "ACL not found"),
        ({"params": {"token": "wr\u00f6ng"}}, "ACL not found"),
        ({"headers": {"Authorization": "Basic s3cret"}}, "Permission denied"),
        ({}, "Permission denied"),
    ],
)
def test_all_other_tokens_are_403(guarded, shown, text):
    for path in ("/v1/catalog/services", "/v1/health/service/x", "/"):
        answer = guarded.get(path, **shown)
        assert (answer.status_code, answer.text) == (403, text)
    assert guarded.put("/v1/agent/service/register", **shown).status_code == 403


def test_status_is_open_without_a_token(guarded):
    assert guarded.get("/v1/status/leader").status_code == 200


@pytest.mark.parametrize("index", ["9" * 5000, "9" * 21, str(2**64), "-1", "+1", "1.5", "1e3", "٣"])
def test_an_index_that_is_no_number_of_64_bits_is_refused(client, index):
    answer = client.get("/v1/health/service/none", params={"index": index})
    assert (answer.status_code, answer.text) == (400, "Invalid index")


@pytest.mark.parametrize(
    "ttl",
    [
        *("9" * 400, f'"{"9" * 400}"', f'"{"9" * 400}s"', f'"{"9" * 60}h"', '"400"', "1e400"),
        *("-" + "9" * 4000, "9" * 4000, "[1]", "{}", "true", '"1d"', '"٣s"'),
    ],
    ids=lambda text: text[:12],
)
def test_a_ttl_that_is_no_duration_is_refused(client, name, ttl):
    body = f'{{"Name": "{name}", "Check": {{"TTL": {ttl}}}}}'
    answer = client.put("/v1/agent/service/register", content=body)
    assert answer.status_code == 400, answer.text


@pytest.mark.parametrize("length", ["9" * 5000, "9" * 21, "9" * 20])
def test_a_body_announced_with_too_many_digits_is_refused(registry, length):
    host, _, port = registry.address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=20) as sock:
        head = f"PUT /v1/agent/service/register HTTP/1.1\r\nHost: x\r\nContent-Length: {length}"
        sock.sendall(f"{head}\r\n\r\n".encode())
        assert int(sock.recv(4096).split()[1]) in {400, 413}


@pytest.mark.parametrize(
    "odd", ["a\nb", "a\n", "\na", "a\rb", "a\r\nb", "a\x00b", "a\tb", "a\u2028b", "a\x85b", "a//b"]
)
def test_what_has_a_line_break_in_its_id_can_be_deregistered(client, odd):
    path = quote(odd, safe="")
    register(client, odd, ID=odd, Check={"CheckID": odd, "TTL": "1h"})
    assert ids(client.get(f"/v1/health/service/{path}")) == [odd]
    assert client.get(f"/v1/agent/service/{path}").json()["ID"] == odd
    for change in (f"check/pass/{path}", f"service/maintenance/{path}?enable=true"):
        assert client.put(f"/v1/agent/{change}").status_code == 200
    assert client.put(f"/v1/agent/check/deregister/{path}").status_code == 200
    assert client.put(f"/v1/agent/service/deregister/{path}").status_code == 200
    assert ids(client.get(f"/v1/health/service/{path}")) == []


@pytest.mark.parametrize("status", [None, "", "passing", "bogus", "maintenance", "<b>x</b>"])
def test_the_page_shows_external_instances_whatever_their_status(client, name, status):
    body = {"Node": name, "Address": "10.1.1.1", "Service": {"Service": name, "Port": 7}}
    if status is not None:
        body["Check"] = {"Name": "c", "Status": status, "ServiceID": name}
    assert client.put("/v1/catalog/register", json=body).status_code == 200
    page = client.get("/")
    assert page.status_code == 200
    row = page.text.partition(f"<h2>{name}</h2>")[2].partition("</table>")[0]
    assert "10.1.1.1:7" in row
    assert "<b>" not in row
    wanted = "passing" if status in {None, "passing"} else "critical"
    assert f"class={wanted}" in row
    client.put("/v1/catalog/deregister", json={"Node": name})
