"""The async driver in virtual time, where attempts run side by side."""

import asyncio
from random import Random

import anyio
import httpx
import pytest

from trimtab import (
    BalancedTransport,
    Balancer,
    DiscoverySettings,
    HedgePolicy,
    Instance,
    RetryPolicy,
)
from trimtab.testing import FakeRegistry
from trimtab_sim.loop import run

THREE = [Instance(host="10.0.0.1", port=port) for port in (1, 2, 3)]
HEDGE = HedgePolicy(quantile=None, after_s=0.1)


def listing():
    registry = FakeRegistry()
    registry.set("orders", THREE)
    return registry


def balancer(**options):
    settings = DiscoverySettings(grace_s=0)
    return Balancer(listing(), hedge=HEDGE, discovery=settings, rng=Random(1), **options)


def in_flight(user):
    return user.statistics()["orders"].in_flight


def test_a_hedge_wins_and_the_loser_is_cancelled():
    async def main():
        ended, sent_to = [], []

        async def first_is_slow(instance):
            is_first = not sent_to
            sent_to.append(instance.port)
            try:
                await asyncio.sleep(9.0 if is_first else 0.05)
            except asyncio.CancelledError:
                ended.append("cancelled")
                raise
            return instance.port

        async with balancer() as user:
            answer = await user.call("orders", first_is_slow, idempotent=True)
            assert answer == sent_to[1] != sent_to[0]
            assert ended == ["cancelled"]
            assert asyncio.get_running_loop().time() == pytest.approx(0.15)
            assert in_flight(user) == 0

    run(main())


@pytest.mark.parametrize("mistaken", ["status", "failures"])
def test_a_mistake_in_the_users_functions_is_raised_as_it_is(mistaken):
    """And not in a group, though attempts run in a task group."""

    def mistake(_given):
        raise ZeroDivisionError("the user's")

    async def send(_instance):
        if mistaken == "failures":
            raise OSError("broken")

    async def main():
        async with balancer(**{mistaken: mistake}) as user:
            with pytest.raises(ZeroDivisionError, match="the user's"):
                await user.call("orders", send, idempotent=True)
            assert in_flight(user) == 0

    run(main())


def test_an_answer_is_given_although_the_deadline_comes_while_the_loser_ends():
    async def main():
        started = []

        async def send(_instance):
            started.append(True)
            if len(started) == 1:
                try:
                    await asyncio.sleep(9.0)
                finally:
                    with anyio.CancelScope(shield=True):  # it closes its connection, slowly
                        await asyncio.sleep(1.0)
            return "answer"

        async with balancer() as user:
            answer = await user.call("orders", send, idempotent=True, deadline_s=0.5)
            assert (answer, len(started), in_flight(user)) == ("answer", 2, 0)

    run(main())


def test_all_attempts_fail_and_the_last_error_names_them():
    async def main():
        async def send(instance):
            raise ConnectionResetError(f"by {instance.port}")

        retry = RetryPolicy(max_attempts=3, backoff_first_s=0.01)
        async with balancer(retry=retry) as user:
            with pytest.raises(ConnectionResetError) as caught:
                await user.call("orders", send, idempotent=True)
            (note,) = caught.value.__notes__
            assert "3 attempts failed" in note
            assert note.count("no response: by") == 3
            assert in_flight(user) == 0

    run(main())


@pytest.mark.parametrize("cancel_after_s", [0.05, 0.1, 0.15, 0.2, 0.25])
def test_a_whole_response_that_a_cancelled_race_has_won_is_given_back(cancel_after_s):
    """The loser takes its time to end, and the caller gives up meanwhile."""

    class Inner(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request):
            sent.append(request.url.port)
            if len(sent) == 1:
                try:
                    await asyncio.sleep(9.0)
                finally:
                    with anyio.CancelScope(shield=True):
                        await asyncio.sleep(0.3)
            await asyncio.sleep(0.1)
            return httpx.Response(200, content=b"whole")

    sent = []

    async def main():
        transport = BalancedTransport(
            listing(),
            inner=lambda _: Inner(),
            hedge=HEDGE,
            discovery=DiscoverySettings(grace_s=0),
            rng=Random(1),
        )
        async with httpx.AsyncClient(transport=transport, trust_env=False) as client:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(cancel_after_s):
                    await client.get("http://orders/")
            assert in_flight(transport) == 0
            (side,) = transport._sides()
            assert side.connections.in_use == 0

    run(main())
