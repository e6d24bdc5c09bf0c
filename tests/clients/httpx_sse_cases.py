"""The package httpx-sse: https://github.com/florimondmanca/httpx-sse#handling-reconnections."""

from __future__ import annotations

import httpx
import httpx2
import pytest
from httpx_sse import aconnect_sse, connect_sse

pytestmark = pytest.mark.anyio
FAMILIES = pytest.mark.parametrize("family", [httpx, httpx2], ids=["httpx", "httpx2"])
UNTIL = 60


class Reader:
    """Reads on from the last event after each break, as the page says."""

    def __init__(self, kill):
        self.seen, self.names, self.breaks = [], [], 0
        self._kill = kill

    @property
    def headers(self):
        return {"Last-Event-ID": str(self.seen[-1])} if self.seen else {}

    def take(self, event):
        number, name = event.data.split()
        assert event.id == number
        self.seen.append(int(number))
        self.names.append(name)
        if len(self.seen) > UNTIL // 3 and name == "b" and self._kill:
            self._kill()
            self._kill = None


@FAMILIES
def test_a_reader_goes_on_with_another_instance_and_misses_nothing(fleet, family):
    reader = Reader(fleet.kill)
    # By its turn, the second instance is the one that is killed.
    with (
        fleet.balanced(strategy="round_robin") as transport,
        family.Client(transport=transport) as client,
    ):
        while client.get("http://ticks/who").json()["name"] != "a":
            pass
        while len(reader.seen) < UNTIL:
            try:
                with connect_sse(
                    client, "GET", f"http://ticks/ticks?until={UNTIL}", headers=reader.headers
                ) as source:
                    for event in source.iter_sse():
                        reader.take(event)
            except family.TransportError:
                reader.breaks += 1
    assert reader.seen == list(range(1, UNTIL + 1))
    assert reader.breaks == 1
    assert len(set(reader.names)) == 2


@FAMILIES
async def test_many_asynchronous_readers(fleet, family):
    async def read(number):
        reader = Reader(None)
        while len(reader.seen) < 10:
            try:
                async with aconnect_sse(
                    client, "GET", "http://ticks/ticks?until=10", headers=reader.headers
                ) as source:
                    async for event in source.aiter_sse():
                        reader.take(event)
                        if number % 3 == 0:
                            return []
            except family.TransportError:
                reader.breaks += 1
        return reader.seen

    with fleet.balanced() as transport:
        async with family.AsyncClient(transport=transport) as client:
            got = await fleet.async_calls(read)
    assert all(seen in ([], list(range(1, 11))) for seen in got)
