"""Deadlines, hedges and cancellations of a `Balancer`'s calls; sync, on asyncio and on trio."""

from __future__ import annotations

import asyncio
import functools
import math
import threading

import anyio
import anyio.lowlevel
import pytest

from calling_kit import (
    THREE,
    WAIT_S,
    WAYS,
    Backend,
    figures,
    listing,
    make,
    only_async,
)
from trimtab import (
    ConcurrencyLimits,
    DeadlineError,
    DiscoveryTimeoutError,
    HedgePolicy,
    SaturatedError,
    TrimtabError,
)
from trimtab.testing import FakePolledRegistry


@pytest.fixture(params=WAYS, ids=repr)
def way(request):
    return request.param


@pytest.fixture
def registry():
    return listing()


# -- deadlines -----------------------------------------------------------------------------------


@only_async
@pytest.mark.parametrize("where", ["call", "balancer"])
@pytest.mark.parametrize("hedge", [None, HedgePolicy(after_s=0.001)], ids=["plain", "hedged"])
def test_a_deadline_cancels_the_function(way, registry, where, hedge):
    async def main():
        cancelled = []

        async def hang(instance):
            try:
                await anyio.sleep_forever()
            except BaseException:
                cancelled.append(instance.id)
                raise

        of_balancer, of_call = (
            ({}, {"deadline_s": 0.1}) if where == "call" else ({"deadline_s": 0.1}, {})
        )
        async with way.made(registry, hedge=hedge, **of_balancer) as balancer:
            await way.ready(balancer, "orders")
            with pytest.raises(DeadlineError, match=r"'orders'.*0.1 s.*waiting") as caught:
                await balancer.call("orders", hang, idempotent=True, **of_call)
            assert isinstance(caught.value, TimeoutError)
            assert isinstance(caught.value, TrimtabError)
            assert len(cancelled) == (1 if hedge is None else 2)
            # It had all the time there was, so it counts; a hedge had almost all.
            assert figures(balancer) == (0, len(cancelled), 0)

    way.run(main)


@only_async
def test_a_deadline_that_comes_after_a_failure_names_it(way, registry):
    async def main():
        calls = []

        async def send(instance):
            calls.append(instance.id)
            if len(calls) > 1:
                await anyio.sleep_forever()
            raise ConnectionRefusedError("not here")

        async with way.made(registry) as balancer:
            with pytest.raises(DeadlineError, match=r"before: .*refused: not here") as caught:
                await balancer.call("orders", send, deadline_s=0.1)
            assert isinstance(caught.value.__cause__, ConnectionRefusedError)

    way.run(main)


def test_the_answer_of_a_function_that_blocks_too_long_is_given_all_the_same(registry):
    with make(registry) as balancer:
        balancer.ready_sync("orders")  # The first list has its own time.
        late = threading.Event()
        answer = balancer.call("orders", lambda _: late.wait(0.05), deadline_s=0.01)
        assert answer is False
        assert figures(balancer) == (1, 0, 0)


def test_a_function_that_blocks_too_long_is_not_called_again(registry):
    calls = []

    def send(instance):
        calls.append(instance.id)
        threading.Event().wait(0.05)
        raise calls_raise[0]

    with make(registry) as balancer:
        balancer.ready_sync("orders")
        for error, raised in (
            (ConnectionResetError("gone"), ConnectionResetError),
            (TimeoutError("late"), DeadlineError),
        ):
            calls_raise = [error]
            with pytest.raises(raised):
                balancer.call("orders", send, idempotent=True, deadline_s=0.01)
        assert len(calls) == 2
        assert figures(balancer) == (0, 2, 0)


def test_a_deadline_can_be_lifted(way, registry):
    async def main():
        async with way.made(registry, deadline_s=1e-9) as balancer:
            await way.ready(balancer, "orders")
            assert await way.call(balancer, Backend(), deadline_s=math.inf)

    way.run(main)


def test_a_first_list_that_does_not_come_is_an_error_within_the_deadline(way):
    async def main():
        registry = FakePolledRegistry(delay_s=WAIT_S)
        backend = Backend()
        async with way.made(registry) as balancer:
            with pytest.raises(DiscoveryTimeoutError, match=r"0.05 s"):
                await way.call(balancer, backend, deadline_s=0.05)
            assert backend.called == []

    way.run(main)


# -- hedging -------------------------------------------------------------------------------------


class Hanging:
    """An async function that hangs on its first call, and answers on later ones."""

    def __init__(self):
        self.called, self.cancelled = [], []

    async def __call__(self, instance):
        self.called.append(instance.id)
        if len(self.called) > 1:
            return "second"
        try:
            await anyio.sleep_forever()
        except BaseException:
            self.cancelled.append(instance.id)
            raise


@only_async
def test_a_late_answer_is_hedged_if_idempotent_and_the_loser_is_cancelled(way, registry):
    async def main():
        async with way.made(registry, hedge=HedgePolicy(after_s=0.01, methods=())) as balancer:
            send = Hanging()
            assert await balancer.call("orders", send, idempotent=True) == "second"
            assert len(set(send.called)) == 2
            assert send.cancelled == send.called[:1]
            assert figures(balancer) == (1, 0, 1)
            once = Hanging()
            with pytest.raises(DeadlineError):
                await balancer.call("orders", once, deadline_s=0.1)
            assert len(once.called) == 1

    way.run(main)


def test_a_function_that_blocks_is_not_hedged(registry):
    with make(registry, hedge=HedgePolicy(after_s=0.0)) as balancer:
        backend = Backend()
        assert balancer.call("orders", backend, idempotent=True) == f"answer of {backend.called[0]}"
        assert len(backend.called) == 1


@only_async
def test_a_deadline_that_comes_after_the_answer_changes_nothing(way, registry):
    async def main():
        calls = []

        async def send(instance):
            calls.append(instance.id)
            if len(calls) > 1:
                return "second"
            try:
                await anyio.sleep_forever()
            finally:  # The loser takes its time to end.
                with anyio.CancelScope(shield=True):
                    await anyio.sleep(0.2)

        async with way.made(registry, hedge=HedgePolicy(after_s=0.01)) as balancer:
            await way.ready(balancer, "orders")
            answer = await balancer.call("orders", send, idempotent=True, deadline_s=0.1)
            assert answer == "second"
            assert figures(balancer) == (1, 0, 1)

    way.run(main)


@only_async
def test_a_failure_while_another_attempt_is_out_waits_for_it(way, registry):
    async def main():
        called = []

        async def send(instance):
            called.append(instance.id)
            if len(called) == 1:
                await anyio.sleep(0.05)
                return "first"
            raise ConnectionResetError("gone")

        async with way.made(registry, hedge=HedgePolicy(after_s=0.01)) as balancer:
            assert await balancer.call("orders", send, idempotent=True) == "first"
            assert len(called) >= 2
            assert figures(balancer)[0] == 1

    way.run(main)


def test_a_client_that_cancels_itself_cancels_the_call(registry):
    # As gRPC does with the calls of a channel that is closed.
    async def main():
        async def send(instance):
            raise asyncio.CancelledError("the channel was closed")

        for hedge in (None, HedgePolicy(after_s=WAIT_S), HedgePolicy(after_s=0.0)):
            async with make(registry, hedge=hedge) as balancer:
                with pytest.raises(asyncio.CancelledError, match="channel was closed"):
                    await balancer.call("orders", send, idempotent=True)
                assert figures(balancer) == (0, 0, 1)

    asyncio.run(asyncio.wait_for(main(), WAIT_S))


async def replaces_cancellation(instance):
    """Raise a cancellation of its own in place of the one it gets, as grpc.aio does."""
    try:
        await asyncio.sleep(WAIT_S)
    except asyncio.CancelledError:
        is_cancelled = True
    if is_cancelled:
        raise asyncio.CancelledError


@pytest.mark.parametrize("hedge", [None, HedgePolicy(after_s=0.001)], ids=["plain", "hedged"])
def test_a_client_that_replaces_cancellations_obeys_deadlines_all_the_same(registry, hedge):
    async def main():
        task = asyncio.current_task()
        async with make(registry, hedge=hedge) as balancer:
            with pytest.raises(DeadlineError):
                await balancer.call(
                    "orders", replaces_cancellation, idempotent=True, deadline_s=0.05
                )
            assert task.cancelling() == 0
            with anyio.move_on_after(0.05) as scope:
                await balancer.call("orders", replaces_cancellation, idempotent=True)
            assert scope.cancelled_caught
            assert task.cancelling() == 0
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await balancer.call(
                        "orders", replaces_cancellation, idempotent=True, deadline_s=WAIT_S
                    )
            assert task.cancelling() == 0
            figures(balancer)

    asyncio.run(main())


def test_a_client_that_replaces_cancellations_can_lose_to_a_hedge(registry):
    async def main():
        calls = []

        async def send(instance):
            calls.append(instance.id)
            if len(calls) == 1:
                await replaces_cancellation(instance)
            return "second"

        async with make(registry, hedge=HedgePolicy(after_s=0.01)) as balancer:
            assert await balancer.call("orders", send, idempotent=True) == "second"
            assert figures(balancer) == (1, 0, 1)
        assert asyncio.current_task().cancelling() == 0

    asyncio.run(main())


# -- cancellation --------------------------------------------------------------------------------


@only_async
@pytest.mark.parametrize("hedge", [None, HedgePolicy(after_s=0.001)], ids=["plain", "hedged"])
@pytest.mark.parametrize("deadline_s", [None, WAIT_S])
def test_a_cancelled_call_gives_everything_back(way, registry, hedge, deadline_s):
    async def main():
        began = anyio.Event()
        wanted = 1 if hedge is None else 2
        called = []

        async def send(instance):
            called.append(instance.id)
            if len(called) == wanted:
                began.set()
            await anyio.sleep_forever()

        async with way.made(registry, hedge=hedge, deadline_s=deadline_s) as balancer:
            async with anyio.create_task_group() as group:
                group.start_soon(functools.partial(balancer.call, "orders", send, idempotent=True))
                await began.wait()
                assert balancer.statistics()["orders"].in_flight == wanted
                group.cancel_scope.cancel()
            assert figures(balancer) == (0, 0, wanted)

    way.run(main)


@only_async
def test_a_call_cancelled_before_the_first_list_leaves_nothing(way):
    async def main():
        registry = FakePolledRegistry(delay_s=0.1)
        registry.set("orders", THREE)
        backend = Backend()
        async with way.made(registry) as balancer:
            with anyio.move_on_after(0.01) as scope:
                await way.call(balancer, backend)
            assert scope.cancelled_caught
            assert backend.called == []
            assert await way.call(balancer, backend)
            assert figures(balancer) == (1, 0, 0)

    way.run(main)


@only_async
def test_a_call_cancelled_while_it_waits_for_room_leaves_its_place(way, registry):
    async def main():
        limits = ConcurrencyLimits(max_in_flight=1, max_pending=1, max_wait_s=WAIT_S)
        gate = anyio.Event()

        async def send(instance):
            await gate.wait()
            return instance.id

        async with (
            way.made(registry, concurrency=limits) as balancer,
            anyio.create_task_group() as group,
        ):
            for _ in range(3):
                group.start_soon(balancer.call, "orders", send)
            await anyio.sleep(0.05)
            with anyio.move_on_after(0.01):
                await balancer.call("orders", send)
            waiting = anyio.Event()

            async def last():
                waiting.set()
                return await balancer.call("orders", send)

            group.start_soon(last)
            await waiting.wait()
            await anyio.sleep(0.01)
            with pytest.raises(SaturatedError):
                await balancer.call("orders", send)
            gate.set()

    way.run(main)


def test_an_interrupted_call_gives_its_pick_back(registry):
    def send(instance):
        raise KeyboardInterrupt

    with make(registry) as balancer:
        with pytest.raises(KeyboardInterrupt):
            balancer.call("orders", send, idempotent=True)
        assert figures(balancer) == (0, 0, 1)


def test_room_is_bounded(registry):
    registry.set("orders", THREE[:1])
    with make(registry, concurrency=ConcurrencyLimits(max_in_flight=1)) as balancer:

        def send(instance):
            with pytest.raises(SaturatedError, match="orders"):  # This call takes all the room.
                balancer.call("orders", Backend())
            return "first"

        assert balancer.call("orders", send) == "first"
        assert figures(balancer) == (1, 0, 0)
