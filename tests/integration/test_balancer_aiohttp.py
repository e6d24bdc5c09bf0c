"""`Balancer` with aiohttp: real servers, one of them killed in traffic and started again."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest

from balancer_kit import STRATEGY, Traffic, kill_and_revive, registry_of, three
from trimtab import Balancer, DeadlineError, HedgePolicy, RetryPolicy

FAILURES = {
    aiohttp.ClientConnectorError: "refused",
    aiohttp.ConnectionTimeoutError: "connect_timeout",
    aiohttp.ServerTimeoutError: "timeout",
    aiohttp.ClientConnectionError: "no_response",
    aiohttp.ClientPayloadError: "no_response",
}
"""As docs/balancer.md has it."""


@pytest.fixture(scope="module")
def servers(tmp_path_factory):
    with three("aiohttp", tmp_path_factory.mktemp("servers")) as servers:
        yield servers


def balancer_of(servers, **options):
    options = {"strategy": STRATEGY} | options
    return Balancer(registry_of(servers), failures=FAILURES, **options)


def getter(session, path="/who"):
    async def send(instance):
        async with session.get(f"http://{instance.address}{path}") as response:
            return await response.text()

    return send


@pytest.mark.parametrize("hedge", [None, HedgePolicy(after_s=0.05)], ids=["plain", "hedged"])
def test_no_call_fails_when_a_server_is_killed_and_it_is_used_again(servers, hedge):
    traffic = Traffic()

    async def main():
        async with (
            balancer_of(servers, hedge=hedge) as balancer,
            aiohttp.ClientSession() as session,
        ):
            send = getter(session)
            await traffic.by_tasks(lambda: balancer.call("orders", send, idempotent=True))
            assert balancer.statistics()["orders"].in_flight == 0

    traffic.beside(kill_and_revive(servers), main)
    assert traffic.errors == []


def test_a_refused_post_goes_to_another_server(servers):
    async def main():
        async with balancer_of(servers) as balancer, aiohttp.ClientSession() as session:

            async def send(instance):
                async with session.post(f"http://{instance.address}/who", data=b"x") as response:
                    return await response.text()

            servers[0].kill()
            try:
                answers = [await balancer.call("orders", send) for _ in range(30)]
            finally:
                servers[0].start()
            assert set(answers) == {str(server.port) for server in servers[1:]}

    asyncio.run(main())


def test_statuses_are_tried_again_on_request(servers):
    async def main():
        seen = []

        async def send(instance):
            seen.append(instance.address)
            status = 503 if len(seen) < 3 else 200
            async with session.get(f"http://{instance.address}/status/{status}") as response:
                return response.status, await response.text()

        async with (
            balancer_of(
                servers, status=lambda result: result[0], retry=RetryPolicy(statuses={503})
            ) as balancer,
            aiohttp.ClientSession() as session,
        ):
            status, _ = await balancer.call("orders", send, idempotent=True)
            assert (status, len(set(seen))) == (200, 3)

    asyncio.run(main())


def test_a_wrong_answer_is_the_callers(servers):
    async def main():
        async def send(instance):
            async with session.get(f"http://{instance.address}/who") as response:
                return await response.json()  # It is text.

        async with balancer_of(servers) as balancer, aiohttp.ClientSession() as session:
            with pytest.raises(aiohttp.ContentTypeError) as caught:
                await balancer.call("orders", send, idempotent=True)
            assert not hasattr(caught.value, "__notes__")
            members = balancer.statistics()["orders"].members.values()
            assert sum(each.failures for each in members) == 0

    asyncio.run(main())


def test_a_server_that_hangs_ends_with_the_deadline(servers):
    async def main():
        async with balancer_of(servers[:1]) as balancer, aiohttp.ClientSession() as session:
            servers[0].freeze()
            try:
                with pytest.raises(DeadlineError, match=r"0\.3 s"):
                    await balancer.call("orders", getter(session), idempotent=True, deadline_s=0.3)
            finally:
                servers[0].thaw()
            assert await balancer.call("orders", getter(session)) == str(servers[0].port)

    asyncio.run(main())
