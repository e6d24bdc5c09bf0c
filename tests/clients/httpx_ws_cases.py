"""The package httpx-ws: https://frankie567.github.io/httpx-ws/usage/. It is for httpx only."""

from __future__ import annotations

import httpx
import pytest
from httpx_ws import WebSocketDisconnect, WebSocketNetworkError, aconnect_ws, connect_ws

pytestmark = pytest.mark.anyio
BROKEN = (WebSocketDisconnect, WebSocketNetworkError, httpx.TransportError)


@pytest.mark.parametrize("url", ["ws://chat/echo", "http://chat/echo"])
def test_a_session_is_in_flight_until_it_ends_and_the_next_goes_elsewhere(fleet, url):
    def talk(number):
        with connect_ws(url, client) as session:
            session.send_text(str(number))
            return session.receive_text()

    with fleet.balanced() as transport, httpx.Client(transport=transport) as client:
        with connect_ws(url, client) as session:
            session.send_text("hello")
            assert session.receive_text().endswith(": hello")
            assert transport.statistics()["chat"].in_flight == 1
        assert transport.statistics()["chat"].in_flight == 0
        assert [text[3:] for text in fleet.calls(retried(talk))] == [str(n) for n in range(240)]


def retried(talk):
    """Once more after a break: a session is the caller's to begin anew."""

    def call(number):
        try:
            return talk(number)
        except BROKEN:
            return talk(number)

    return call


async def test_asynchronous_sessions_on_the_instance_that_dies_say_so(fleet):
    with fleet.balanced(strategy="round_robin") as transport:
        async with httpx.AsyncClient(transport=transport) as client:
            ends = []
            for _ in range(3):
                async with aconnect_ws("http://chat/echo", client) as session:
                    await session.send_text("hello")
                    name = (await session.receive_text())[0]
                    if name != "b":
                        continue
                    assert transport.statistics()["chat"].in_flight == 1
                    fleet.kill()
                    with pytest.raises(BROKEN) as caught:
                        await session.receive_text()
                    ends.append(caught.type)
            assert len(ends) == 1
            for number in range(20):
                async with aconnect_ws("http://chat/echo", client) as session:
                    await session.send_text(str(number))
                    assert (await session.receive_text())[3:] == str(number)
            assert transport.statistics()["chat"].in_flight == 0
