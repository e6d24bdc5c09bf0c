"""`Balancer`: calls, arguments, lifetimes; sync, on asyncio and on trio."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import math
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path
from unittest.mock import AsyncMock

import anyio
import anyio.lowlevel
import pytest

from calling_kit import (
    ASYNCIO,
    NO_WAITS,
    THREE,
    WAIT_S,
    WAYS,
    AsyncCallable,
    Backend,
    OursError,
    figures,
    listing,
    make,
    only_async,
    refused,
    with_more,
)
from trimtab import (
    Balancer,
    ClosedError,
    ConfigurationError,
    Instance,
    RetryPolicy,
)
from trimtab.testing import FakePolledRegistry, FakeRegistry


@pytest.fixture(params=WAYS, ids=repr)
def way(request):
    return request.param


@pytest.fixture
def registry():
    return listing()


# -- calls ---------------------------------------------------------------------------------------


def test_calls_are_spread_and_results_come_back(way, registry):
    async def main():
        backend = Backend()
        async with way.made(registry) as balancer:
            answers = [await way.call(balancer, backend) for _ in range(9)]
            assert Counter(backend.called) == {"i1": 3, "i2": 3, "i3": 3}
            assert answers == [f"answer of {id_}" for id_ in backend.called]
            assert figures(balancer) == (9, 0, 0)

    way.run(main)


@pytest.mark.parametrize("result", [None, False, 0, OursError("a result, not raised")], ids=repr)
def test_a_result_may_be_anything(way, registry, result):
    async def main():
        async with way.made(registry) as balancer:
            assert await way.call(balancer, lambda _: result) is result

    way.run(main)


def test_the_call_is_in_flight_until_the_function_returns(way, registry):
    async def main():
        seen = []
        async with way.made(registry) as balancer:
            await way.call(balancer, lambda _: seen.append(balancer.statistics()["orders"]))
            assert seen[0].in_flight == 1
            assert figures(balancer) == (1, 0, 0)

    way.run(main)


def test_a_call_counts_its_cost(way, registry):
    async def main():
        async with way.made(registry) as balancer:
            seen = []
            await way.call(
                balancer, lambda _: seen.append(balancer.statistics()["orders"]), cost=12
            )
            assert (seen[0].in_flight, seen[0].requests_in_flight) == (12, 1)
            assert balancer.statistics()["orders"].in_flight == 0

    way.run(main)


def test_one_key_goes_to_one_instance(way, registry):
    async def main():
        async with way.made(registry, strategy="ring_hash") as balancer:
            homes = {}
            for number in range(60):
                backend = Backend()
                await way.call(balancer, backend, key=f"customer {number % 20}")
                homes.setdefault(number % 20, set()).update(backend.called)
            assert all(len(ids) == 1 for ids in homes.values())
            assert set.union(*homes.values()) == {"i1", "i2", "i3"}

    way.run(main)


def test_several_services_are_kept_apart(way, registry):
    async def main():
        registry.set("users", [Instance(host="10.0.0.9", port=9, id="u")])
        async with way.made(registry) as balancer:
            await way.ready(balancer, "orders", "users")
            assert set(balancer.state()) == {"orders", "users"}
            assert balancer.state()["orders"].instances == 3
            assert await way.call(balancer, Backend(), "users") == "answer of u"
            assert (figures(balancer), figures(balancer, "users")) == ((0, 0, 0), (1, 0, 0))

    way.run(main)


class Callable:
    def __call__(self, instance):
        return instance.id


SYNC_FUNCTIONS = {
    "lambda": lambda instance: instance.id,
    "object": Callable(),
    "partial": functools.partial(lambda _item, instance: instance.id, 7),
    "built-in": functools.partial(getattr, THREE[0], "id"),
}
ASYNC_FUNCTIONS = {
    "object": AsyncCallable(),
    "method": AsyncCallable().method,
    "partial": functools.partial(with_more, 7),
    "partial of partial": functools.partial(functools.partial(with_more, 7), _more=1),
    "partial of object": functools.partial(AsyncCallable()),
    "mock": AsyncMock(return_value="i1"),
}


@pytest.mark.parametrize("function", SYNC_FUNCTIONS.values(), ids=[*SYNC_FUNCTIONS])
def test_whatever_blocks_can_be_called(registry, function):
    with make(registry) as balancer:
        assert balancer.call("orders", function)


@pytest.mark.parametrize("function", ASYNC_FUNCTIONS.values(), ids=[*ASYNC_FUNCTIONS])
def test_whatever_is_async_can_be_awaited(registry, function):
    async def main():
        async with make(registry) as balancer:
            assert await balancer.call("orders", function) in {"i1", "i2", "i3"}
            assert await asyncio.create_task(balancer.call("orders", function))

    asyncio.run(main())


def test_a_call_lives_on_the_loop_that_awaits_it(registry):
    balancer = make(registry)
    # Made where no loop runs.
    assert asyncio.run(balancer.call("orders", AsyncCallable())) in {"i1", "i2", "i3"}
    assert [loop.is_closed() for loop in balancer._services] == [True]


def test_a_call_that_is_not_awaited_sends_nothing(registry):
    balancer, backend = make(registry), Backend()
    balancer.call("orders", ASYNCIO.sender(backend)).close()
    assert (backend.called, balancer.statistics()) == ([], {})


# -- arguments -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "facts"),
    [
        ({"failures": "no_response"}, "failures is 'no_response'.*mapping.*function"),
        ({"failures": OursError}, "failures is .*OursError.*mapping.*function"),
        ({"failures": [OursError]}, "failures is .*OursError"),
        ({"failures": AsyncCallable()}, "failures is .*not async"),
        ({"failures": {OursError: "nonsense"}}, "Ours.*'nonsense'.*no_response.*refused"),
        ({"failures": {OursError: None}}, "Ours.*None.*refused"),
        ({"failures": {OursError: ["refused"]}}, "Ours.*refused"),
        ({"failures": {"OursError": "refused"}}, "'OursError'.*classes"),
        ({"failures": {503: "refused"}}, "503.*classes"),
        ({"failures": {int: "refused"}}, "int.*classes of `Exception`s"),
        ({"failures": {asyncio.CancelledError: "refused"}}, "CancelledError.*`Exception`s"),
        ({"status": 200}, "status is 200.*function"),
        ({"status": AsyncCallable()}, "status is .*not async"),
        ({"retry": False}, r"retry is False.*RetryPolicy\(\.\.\.\)"),
        ({"retry": 3}, r"retry is 3.*RetryPolicy\(\.\.\.\)"),
        ({"hedge": True}, r"hedge is True.*HedgePolicy\(\.\.\.\)"),
        ({"health": "envoy"}, r"health is 'envoy'.*HealthSettings"),
        ({"health": 0}, r"health is 0.*HealthSettings"),
        ({"concurrency": 10}, r"concurrency is 10.*ConcurrencyLimits"),
        ({"discovery": 5.0}, r"discovery is 5.0.*DiscoverySettings"),
        ({"probe": "http:/health"}, r"probe is .*ProbeSettings"),
        ({"rng": 5}, r"rng is 5.*Random\(\.\.\.\)"),
        ({"strategy": "fastest"}, "fastest"),
        ({"deadline_s": 0}, "deadline_s is 0.*above 0"),
        ({"deadline_s": -1.0}, "deadline_s is -1.0.*above 0"),
        ({"deadline_s": math.nan}, "deadline_s is nan.*above 0"),
        ({"deadline_s": "1"}, "deadline_s is '1'.*number"),
        ({"deadline_s": True}, "deadline_s is True.*number"),
    ],
    ids=repr,
)
def test_wrong_settings_are_refused_when_made(options, facts):
    with pytest.raises(ConfigurationError, match=facts):
        Balancer("static://h:1", **options)


@pytest.mark.parametrize(
    "registry", [None, 5, Path("/x"), FakeRegistry, "nonsense://h", ""], ids=repr
)
def test_a_registry_is_a_url_or_an_object(registry):
    with pytest.raises(ConfigurationError):
        Balancer(registry)


@pytest.mark.parametrize(
    ("arguments", "options", "facts"),
    [
        (("", len), {}, "service is ''"),
        ((None, len), {}, "service is None"),
        ((len, "orders"), {}, "service is .*len"),
        (("orders", "orders"), {}, "'orders'.*send is 'orders'.*function"),
        (("orders", None), {}, "send is None.*function"),
        (("orders", len), {"idempotent": "no"}, "idempotent is 'no'.*True or False"),
        (("orders", len), {"idempotent": None}, "idempotent is None"),
        (("orders", len), {"key": 7}, "key is 7.*string"),
        (("orders", len), {"cost": 0}, "'orders': cost is 0.*above 0"),
        (("orders", len), {"cost": "12"}, "cost is '12'"),
        (("orders", len), {"deadline_s": 0}, "deadline_s is 0.*above 0"),
        (("orders", len), {"deadline_s": math.nan}, "deadline_s is nan"),
        (("orders", len), {"deadline_s": "1"}, "deadline_s is '1'"),
        (("orders", AsyncCallable()), {"key": 7}, "key is 7"),
    ],
    ids=repr,
)
def test_wrong_arguments_are_refused_at_the_call(registry, arguments, options, facts):
    balancer = make(registry)
    with pytest.raises(ConfigurationError, match=facts):
        balancer.call(*arguments, **options)
    assert balancer.statistics() == {}


class Awaitable:
    """What some clients return: it can be awaited, and ended."""

    def __init__(self, method):
        self.ended = []
        setattr(self, method, lambda: self.ended.append(method))

    def __await__(self):
        yield


@pytest.mark.parametrize("failures", [None, {Exception: "no_response"}, lambda _: "no_response"])
def test_a_sync_function_that_returns_an_awaitable_is_refused(registry, failures):
    with make(registry, failures=failures) as balancer:
        for method in ("close", "cancel"):
            awaitable = Awaitable(method)
            with pytest.raises(ConfigurationError, match=r"awaitable.*async def"):
                balancer.call("orders", lambda _, given=awaitable: given, idempotent=True)
            assert awaitable.ended == [method]
        # Its coroutine is closed: no warning that it was never awaited.
        with pytest.raises(ConfigurationError, match=r"awaitable.*async def"):
            balancer.call("orders", lambda instance: with_more(7, instance))
        gc.collect()
        assert figures(balancer) == (0, 0, 3)


def test_what_may_be_sent_twice_is_said_by_idempotent_alone(way, registry):
    async def main():
        retry = RetryPolicy(methods=(), max_attempts=2, **NO_WAITS)
        async with way.made(registry, retry=retry) as balancer:
            backend = Backend(always=ConnectionResetError)
            with pytest.raises(ConnectionResetError):
                await way.call(balancer, backend, idempotent=True)
            assert len(backend.called) == 2

    way.run(main)


def test_it_says_what_it_is(registry):
    assert repr(Balancer("consul://10.0.0.1:8500")) == "<Balancer consul://10.0.0.1:8500>"
    assert "fake://" in repr(make(registry))
    assert "secret" not in repr(Balancer("consul://10.0.0.1:8500?token=secret"))


# -- lifetimes -----------------------------------------------------------------------------------


def test_closing_ends_the_lists_and_the_next_call_begins_anew(way, registry):
    async def main():
        balancer = make(registry)
        assert await way.call(balancer, Backend())
        for _ in range(2):
            await way.close(balancer)
            assert balancer.statistics() == {}
        assert registry.watching == 0
        assert not registry.closed  # It is the caller's.
        assert await way.call(balancer, Backend())
        assert figures(balancer) == (1, 0, 0)
        await way.close(balancer)

    way.run(main)


def test_a_balancer_is_a_context(registry):
    with make(registry) as balancer:
        balancer.call("orders", Backend())
    assert balancer.statistics() == {}

    async def main():
        async with make(registry) as balancer:
            await balancer.call("orders", AsyncCallable())
        assert balancer.statistics() == {}
        with contextlib.suppress(OursError):
            async with make(registry) as balancer:
                await balancer.call("orders", AsyncCallable())
                raise OursError
        assert balancer.statistics() == {}

    asyncio.run(main())


@only_async
def test_closing_ends_a_call_that_waits_for_a_list(way):
    async def main():
        registry = FakePolledRegistry(delay_s=WAIT_S)
        balancer = make(registry)
        ended = []

        async def one():
            with pytest.raises(ClosedError, match=r"orders.*closed") as caught:
                await way.call(balancer, Backend())
            assert "transport" not in str(caught.value)
            ended.append(True)

        async with anyio.create_task_group() as group:
            for _ in range(3):
                group.start_soon(one)
            await anyio.sleep(0.05)
            await way.close(balancer)
        assert len(ended) == 3

    way.run(main)


@only_async
def test_a_call_that_is_under_way_outlives_closing(way, registry):
    async def main():
        balancer = make(registry)
        began, gate = anyio.Event(), anyio.Event()
        answers = []

        async def send(instance):
            began.set()
            await gate.wait()
            return instance.id

        async def one():
            answers.append(await balancer.call("orders", send))

        async with anyio.create_task_group() as group:
            group.start_soon(one)
            await began.wait()
            await way.close(balancer)
            gate.set()
        assert len(answers) == 1

    way.run(main)


def test_sync_code_and_event_loops_keep_lists_apart(registry):
    balancer = make(registry)
    seen = []

    async def main():
        assert await balancer.call("orders", AsyncCallable())
        seen.append(len(balancer._services))
        await balancer.aclose()

    assert balancer.call("orders", Backend())
    asyncio.run(main())
    asyncio.run(main())
    assert seen == [2, 2]
    # What the loops used is gone, what sync code uses is not.
    assert figures(balancer) == (1, 0, 0)
    balancer.close()


def test_what_a_loop_left_unclosed_goes_with_the_next_loop(registry):
    balancer = make(registry)

    async def main():
        await balancer.call("orders", AsyncCallable())

    for _ in range(3):
        asyncio.run(main())
        assert len(balancer._services) == 1


def test_two_loops_in_two_threads_share_one_balancer(registry):
    balancer, answers, problems = make(registry), [], []

    async def main():
        answers.extend([await balancer.call("orders", AsyncCallable()) for _ in range(50)])
        await balancer.aclose()

    def work():
        try:
            asyncio.run(main())
        except BaseException as error:  # noqa: BLE001 - looked at below
            problems.append(error)

    in_parallel(4, work)
    assert problems == []
    assert Counter(answers).keys() == {"i1", "i2", "i3"}
    assert (len(answers), balancer._services) == (200, {})


def test_many_threads_share_one_balancer(registry):
    backend = Backend(i2=refused())
    answers = []

    def work():
        answers.extend(balancer.call("orders", backend) for _ in range(100))

    with make(registry) as balancer:
        in_parallel(8, work)
        assert len(answers) == 800
        assert set(answers) == {"answer of i1", "answer of i3"}
        assert figures(balancer) == (800, backend.called.count("i2"), 0)


def test_threads_may_close_while_others_call(registry):
    balancer, problems, over = make(registry), [], threading.Event()

    def call():
        while not over.is_set():
            try:
                balancer.call("orders", Backend())
            except ClosedError:
                pass
            except BaseException as error:  # noqa: BLE001 - looked at below
                problems.append(error)

    def close():
        for _ in range(30):
            balancer.close()
            balancer.statistics()
        over.set()

    threads = [threading.Thread(target=each) for each in (call, call, call, close)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_S)
    balancer.close()
    assert problems == []
    assert registry.watching == 0


def in_parallel(count, work):
    threads = [threading.Thread(target=work) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_S)
    assert not any(thread.is_alive() for thread in threads)


FORKING = """
import os, sys, threading
from random import Random
from trimtab import Balancer

seeded = sys.argv[1] == "seeded"
balancer = Balancer("static://10.0.0.1:1,10.0.0.2:2,10.0.0.3:3,10.0.0.4:4", strategy="random",
                    rng=Random(1) if seeded else None)
def send(instance):
    return instance.port
def picks():
    return [balancer.call("any", send) for _ in range(30)]
picks()
reader, writer = os.pipe()
for _ in range(2):
    child = os.fork()
    if not child:
        os.write(writer, repr(picks()).encode() + b"\\n")
        balancer.close()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
picks()
balancer.close()
os.close(writer)
first, second = os.fdopen(reader).read().splitlines()
print(first == second, threading.active_count() <= 2)
"""


@pytest.mark.parametrize("kind", ["seeded", "unseeded"])
def test_a_forked_child_calls_with_lists_and_chance_of_its_own(kind, python):
    assert python(FORKING, kind) == f"{kind == 'seeded'} True\n"


@pytest.fixture
def python():
    """A function that runs a program in a fresh process and returns what it prints."""

    def run(program, *arguments):
        done = subprocess.run(
            [sys.executable, "-W", "ignore::DeprecationWarning", "-c", program, *arguments],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run
