"""Clients enough: a few questions for each, one client where the transport is the user's."""

import ssl
from contextlib import ExitStack

import httpx
import pytest

from trimtab.registries.clients import Clients

pytestmark = pytest.mark.anyio


async def test_each_client_serves_a_few_at_a_time_and_is_used_again():
    clients = Clients(verify=False)
    with ExitStack() as held:
        used = [held.enter_context(clients.one()) for _ in range(40)]
        assert [used.count(each) for each in dict.fromkeys(used)] == [16, 16, 8]
    for _ in range(100):
        with clients.one() as client:
            assert client is used[0], "the first, whose connections are warm"
    assert len(clients) == 3
    await clients.aclose()
    assert all(each.is_closed for each in used)


async def test_a_question_that_fails_leaves_its_place():
    clients = Clients(verify=False)
    for _ in range(100):
        with pytest.raises(ZeroDivisionError), clients.one():
            _ = 1 / 0
    assert len(clients) == 1
    await clients.aclose()


async def test_all_share_one_context():
    clients = Clients(verify=True)
    with ExitStack() as held:
        made = {held.enter_context(clients.one()) for _ in range(17)}
    contexts = {each._transport._tls.context() for each in made}
    assert len(made) == 2
    assert len(contexts) == 1
    assert contexts.pop().verify_mode is ssl.CERT_REQUIRED
    await clients.aclose()


async def test_a_transport_of_the_users_own_is_closed_once():
    class Counting(httpx.MockTransport):
        closed = 0

        async def aclose(self):
            self.closed += 1

    transport = Counting(lambda _: httpx.Response(200))
    clients = Clients(verify=True, transport=transport)
    with ExitStack() as held:
        assert len({held.enter_context(clients.one()) for _ in range(100)}) == 1
    await clients.aclose()
    await clients.aclose()
    assert transport.closed == 1
