"""HTTP/2's frames between httpcore and the network: a GOAWAY refuses what was not processed."""

from __future__ import annotations

import h2.config
import h2.connection
import h2.events
import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.http import family_of
from trimtab.http.http2 import Frames, failure_of

HEADERS = [(":method", "GET"), (":authority", "a"), (":scheme", "https"), (":path", "/")]


class Pair:
    """A client and a server of h2, with our frames between them."""

    def __init__(self):
        self.leaving = 0
        self.frames = Frames(self._leave)
        self.client = h2.connection.H2Connection()
        self.server = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
        self.client.initiate_connection()
        self.server.initiate_connection()
        self.send()
        self.receive()
        self.send()

    def _leave(self):
        self.leaving += 1

    def send(self):
        """Carry what the client has written to the server."""
        data = self.frames.outgoing(self.client.data_to_send())
        return self.server.receive_data(data) if data else []

    def receive(self, data=None, sizes=()):
        """Carry what the server has written to the client, in pieces."""
        data = self.server.data_to_send() if data is None else data
        events = []
        for size in (*sizes, len(data)):
            piece, data = data[:size], data[size:]
            events += self.client.receive_data(self.frames.incoming(piece))
        return events

    def ask(self, *streams):
        for stream in streams:
            self.client.send_headers(stream, HEADERS, end_stream=True)
        return self.send()

    def answer(self, stream, body=b"hello"):
        self.server.send_headers(stream, [(":status", "200")])
        self.server.send_data(stream, body, end_stream=True)


def goaway(last, error=0):
    payload = last.to_bytes(4) + error.to_bytes(4) + b"bye"
    return len(payload).to_bytes(3) + b"\x07\x00" + (0).to_bytes(4) + payload


def resets(events):
    return [each.stream_id for each in events if isinstance(each, h2.events.StreamReset)]


def ended(events):
    return [each.stream_id for each in events if isinstance(each, h2.events.StreamEnded)]


sizes = st.lists(st.integers(0, 40), max_size=40)


@given(sizes, st.booleans(), st.sampled_from([0, 1, 11]))
def test_streams_up_to_the_last_are_answered_and_later_ones_refused(sizes, early, error):
    pair = Pair()
    pair.ask(1, 3, 5, 7)
    if not early:
        pair.answer(1)
    data = pair.server.data_to_send() + goaway(3, error)
    pair.answer(3, b"x" * 100)
    if early:
        pair.answer(1)
    events = pair.receive(data + pair.server.data_to_send(), sizes)
    assert sorted(ended(events)) == [1, 3]
    assert resets(events) == [5, 7]
    assert {e.error_code for e in events if isinstance(e, h2.events.StreamReset)} == {7}
    assert (pair.frames.last, pair.leaving) == (3, 1)
    assert [pair.frames.is_refused(stream) for stream in (1, 3, 5, 7, 9)] == [False] * 2 + [
        True
    ] * 3


@given(sizes)
def test_without_goaway_nothing_changes(sizes):
    pair = Pair()
    pair.ask(1, 3)
    pair.answer(1)
    pair.answer(3)
    data, events = pair.server.data_to_send(), []
    seen = b""
    for size in (*sizes, len(data)):
        piece, data = data[:size], data[size:]
        seen += pair.frames.incoming(piece)
    events = pair.client.receive_data(seen)
    assert (ended(events), resets(events)) == ([1, 3], [])
    assert (pair.frames.last, pair.leaving) == (None, 0)


def test_a_stream_that_begins_after_goaway_is_refused_and_not_sent():
    pair = Pair()
    pair.ask(1)
    pair.receive(goaway(1))
    assert pair.ask(3) == []
    assert resets(pair.client.receive_data(pair.frames.refusals())) == [3]
    assert pair.frames.refusals() == b""
    pair.answer(1)
    assert ended(pair.receive()) == [1]


def test_no_refusal_comes_in_the_middle_of_a_frame():
    pair = Pair()
    pair.ask(1)
    pair.receive(goaway(1))
    pair.answer(1, b"x" * 50)
    data = pair.server.data_to_send()
    pair.receive(data[:-20])
    pair.ask(3)
    assert pair.frames.refusals() == b""
    events = pair.receive(data[-20:])
    assert (ended(events), resets(events)) == ([1], [3])


def test_a_server_may_say_first_that_it_will_close_and_later_what_it_has_processed():
    pair = Pair()
    pair.ask(1, 3)
    assert resets(pair.receive(goaway(2**31 - 1))) == []
    assert pair.leaving == 1
    pair.ask(5)
    assert resets(pair.receive(goaway(3))) == [5]
    assert resets(pair.receive(goaway(1))) == [3]
    # It may not go up again.
    assert resets(pair.receive(goaway(5))) == []
    assert pair.frames.last == 1


def test_a_server_that_has_processed_nothing_refuses_all():
    pair = Pair()
    pair.ask(1, 3)
    assert resets(pair.receive(goaway(0, 11))) == [1, 3]


def core_error(cause):
    return family_of(httpx.Request("GET", "http://a/")).core.LocalProtocolError(cause)


def test_a_header_that_no_connection_takes_is_the_callers():
    complaint = core_error(h2.exceptions.ProtocolError("x"))
    bad = httpx.Request("GET", "https://orders/", headers={"te": "gzip"})
    assert failure_of(complaint, bad) == "caller"
    good = httpx.Request("POST", "https://orders/a?b=1", headers={"te": "trailers"}, content=b"x")
    assert failure_of(complaint, good) == "no_response"


@pytest.mark.parametrize(
    ("code", "failure"), [(7, "unprocessed"), (0, None), (8, None), (11, None)]
)
def test_a_stream_that_is_reset_was_processed_unless_it_was_refused(code, failure):
    event = h2.events.StreamReset(stream_id=1, error_code=code)
    family = family_of(httpx.Request("GET", "http://a/"))
    request = httpx.Request("POST", "https://orders/")
    beneath = family.core.RemoteProtocolError(event)
    assert failure_of(beneath, request) == failure
    raised = family.translated(beneath)
    raised.__cause__ = beneath
    assert family.failure(raised, request) == (failure or "no_response")


def test_an_error_of_http_1_1_is_none_of_them():
    complaint = core_error("Illegal header value b'a\\n'")
    assert failure_of(complaint, httpx.Request("GET", "https://orders/")) is None
