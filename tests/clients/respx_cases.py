"""The package respx: https://lundberg.github.io/respx/guide/. It is for httpx only."""

from __future__ import annotations

import httpx
import pytest
import respx

from trimtab import BalancedTransport

pytestmark = pytest.mark.anyio
URL = "static://10.9.9.1:80,10.9.9.2:80"


@respx.mock(using="httpx")
def test_mocks_of_the_client_see_the_name_of_the_service(respx_mock):
    route = respx_mock.get("http://orders/items/7").respond(json={"id": 7})
    with httpx.Client(transport=BalancedTransport(URL)) as client:
        assert client.get("http://orders/items/7").json() == {"id": 7}
    assert route.call_count == 1


@respx.mock
def test_by_default_they_see_the_instance(respx_mock):
    one = respx_mock.get(host="10.9.9.1", path="/items/7").respond(json={"id": 7})
    other = respx_mock.get(host="10.9.9.2", path="/items/7").respond(json={"id": 7})
    with httpx.Client(transport=BalancedTransport(URL, strategy="round_robin")) as client:
        for _ in range(4):
            response = client.get("http://orders/items/7")
            assert response.json() == {"id": 7}
            assert response.extensions["trimtab"].service == "orders"
        with client.stream("GET", "http://orders/items/7") as response:
            assert response.read() == b'{"id":7}'
    assert (one.call_count, other.call_count) in {(2, 3), (3, 2)}


@respx.mock
def test_a_mocked_fault_is_a_fault_of_the_instance(respx_mock):
    respx_mock.get(host="10.9.9.1").mock(side_effect=httpx.ConnectError)
    respx_mock.get(host="10.9.9.2").respond(json={"id": 7})
    transport = BalancedTransport(URL, strategy="round_robin")
    with httpx.Client(transport=transport) as client:
        assert all(client.get("http://orders/").json() == {"id": 7} for _ in range(20))
        figures = transport.statistics()["orders"]
        assert figures.in_flight == 0
        assert figures.members["10.9.9.1:80"].failures >= 1


@respx.mock
async def test_asynchronously(respx_mock):
    respx_mock.get(host="10.9.9.1").mock(side_effect=httpx.ReadError)
    respx_mock.get(host="10.9.9.2").respond(json={"id": 7})
    transport = BalancedTransport(URL, strategy="round_robin")
    async with httpx.AsyncClient(transport=transport) as client:
        for _ in range(20):
            assert (await client.get("http://orders/")).json() == {"id": 7}
        assert transport.statistics()["orders"].in_flight == 0


def test_a_router_in_place_of_inner_transports():
    router = respx.Router()
    router.get(path="/items/7").respond(json={"id": 7})
    router.post(path="/items").mock(side_effect=lambda request: httpx.Response(201))
    inner = httpx.MockTransport(router.handler)
    transport = BalancedTransport(URL, inner=lambda instance: inner)
    with httpx.Client(transport=transport) as client:
        assert client.get("http://orders/items/7").json() == {"id": 7}
        assert client.post("http://orders/items", json={}).status_code == 201
    assert router.calls.call_count == 2


@respx.mock
def test_what_is_let_pass_reaches_the_real_instance(respx_mock, fleet):
    respx_mock.route(host="127.0.0.1").pass_through()
    with fleet.balanced() as transport, httpx.Client(transport=transport) as client:
        names = fleet.calls(lambda _: client.get("http://orders/who").json()["name"])
    assert set(names) == {"a", "b", "c"}
