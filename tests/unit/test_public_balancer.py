"""`Balancer`: calls of the user's own function, sync, on asyncio and on trio."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import functools
import gc
import math
import os
import socket
import subprocess
import sys
import threading
import traceback
from collections import Counter
from http import HTTPStatus
from pathlib import Path
from random import Random
from unittest.mock import AsyncMock

import anyio
import anyio.lowlevel
import pytest
import trio

from trimtab import (
    Balancer,
    ClosedError,
    ConcurrencyLimits,
    ConfigurationError,
    DeadlineError,
    DiscoveryError,
    DiscoverySettings,
    DiscoveryTimeoutError,
    EnvoyOutliers,
    HealthSettings,
    HedgePolicy,
    Instance,
    NoInstancesError,
    PickError,
    RetryPolicy,
    SaturatedError,
    TrimtabError,
)
from trimtab.balancing.functions import FunctionExchange
from trimtab.errors import RegistryDeniedError
from trimtab.testing import FakePolledRegistry, FakeRegistry

WAIT_S = 10.0
THREE = [Instance(host="10.0.0.1", port=port, id=f"i{port}") for port in (1, 2, 3)]
QUICK = DiscoverySettings(grace_s=0, startup_timeout_s=WAIT_S)
NO_WAITS = {"backoff_first_s": 0.0, "backoff_max_s": 0.0}


class OursError(Exception):
    """An error of some client that Trimtab has never heard of."""


class OursRefusedError(OursError):
    """One kind of it."""


class Way:
    """How a program calls: sync, on asyncio or on trio. Its functions are written as sync ones."""

    def __init__(self, name):
        self.name = name
        self.is_async = name != "sync"

    def __repr__(self):
        return self.name

    def run(self, scenario):
        """Run an async function as programs of this way run; a sync one never suspends."""
        if self.name == "asyncio":
            return asyncio.run(scenario())
        if self.name == "trio":
            return trio.run(scenario)
        try:
            scenario().send(None)
        except StopIteration as done:
            return done.value
        raise AssertionError("a sync scenario was suspended")

    def sender(self, function):
        """Return the user's function of this way."""
        if not self.is_async:
            return function

        async def send(instance):
            await anyio.lowlevel.checkpoint()
            return function(instance)

        return send

    async def call(self, balancer, function, service="orders", **options):
        result = balancer.call(service, self.sender(function), **options)
        return await result if self.is_async else result

    async def close(self, balancer):
        return await balancer.aclose() if self.is_async else balancer.close()

    async def ready(self, balancer, *services):
        return await balancer.ready(*services) if self.is_async else balancer.ready_sync(*services)

    @contextlib.asynccontextmanager
    async def made(self, registry, **options):
        balancer = make(registry, **options)
        try:
            yield balancer
        finally:
            await self.close(balancer)


SYNC, ASYNCIO, TRIO = WAYS = [Way("sync"), Way("asyncio"), Way("trio")]
only_async = pytest.mark.parametrize("way", [ASYNCIO, TRIO], ids=repr)


class Backend:
    """The instances: which of them fail and how, and which were called.

    Args:
        always: what each call raises.
        errors: what calls of one instance raise, by its id.
    """

    def __init__(self, always=None, **errors):
        self.always, self.errors = always, errors
        self.called = []

    def __call__(self, instance):
        self.called.append(instance.id)
        error = self.errors.get(instance.id, self.always)
        if error is not None:
            raise error() if isinstance(error, type) else error
        return f"answer of {instance.id}"


def make(registry, **options):
    options = {"discovery": QUICK, "rng": Random(3), "strategy": "round_robin"} | options
    return Balancer(registry, **options)


def figures(balancer, service="orders"):
    """Return successes, failures and cancelled calls, of all instances together."""
    members = balancer.statistics()[service].members.values()
    assert all(each.in_flight == 0 for each in members)
    return tuple(
        sum(getattr(each, name) for each in members)
        for name in ("successes", "failures", "cancelled")
    )


def refused(number=errno.ECONNREFUSED):
    return OSError(number, os.strerror(number))


@pytest.fixture(params=WAYS, ids=repr)
def way(request):
    return request.param


@pytest.fixture
def registry():
    registry = FakeRegistry()
    registry.set("orders", THREE)
    return registry


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


def test_several_services_are_told_apart(way, registry):
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


class AsyncCallable:
    def __repr__(self):
        # Names of tests must not hold an address.
        return "AsyncCallable()"

    async def __call__(self, instance):
        return instance.id

    async def method(self, instance):
        return instance.id


async def with_more(_item, instance, *, _more=None):
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


# -- what counts as a failure --------------------------------------------------------------------


@pytest.mark.parametrize(
    "error",
    [
        ConnectionRefusedError("no"),
        refused(),
        type("ClientOSError", (OSError,), {})(errno.ECONNREFUSED, "no"),
        socket.gaierror("no such name"),
        ExceptionGroup("from a task group", [refused()]),
    ],
    ids=repr,
)
def test_a_refused_connection_is_tried_elsewhere_even_if_not_idempotent(way, registry, error):
    async def main():
        backend = Backend(i1=error, i2=error)
        async with way.made(registry) as balancer:
            for _ in range(3):
                assert await way.call(balancer, backend) == "answer of i3"
            assert figures(balancer)[0] == 3
            assert figures(balancer)[1] == len(backend.called) - 3 > 0

    way.run(main)


BROKEN = [ConnectionResetError("gone"), EOFError("gone"), OSError("gone"), BrokenPipeError("gone")]


@pytest.mark.parametrize("error", BROKEN, ids=repr)
@pytest.mark.parametrize("idempotent", [True, False])
def test_a_broken_connection_is_tried_elsewhere_if_idempotent(way, registry, error, idempotent):
    async def main():
        backend = Backend(i1=error, i2=error)
        async with way.made(registry, retry=RetryPolicy(**NO_WAITS)) as balancer:
            outcomes = []
            for _ in range(3):
                try:
                    outcomes.append(await way.call(balancer, backend, idempotent=idempotent))
                except type(error):
                    outcomes.append("failed")
            wanted = {"answer of i3"} if idempotent else {"answer of i3", "failed"}
            assert set(outcomes) == wanted
            assert figures(balancer)[1] == backend.called.count("i1") + backend.called.count("i2")

    way.run(main)


def test_a_time_out_counts_and_is_tried_again_only_on_request(way, registry):
    async def main():
        backend = Backend(i1=TimeoutError, i2=TimeoutError)
        async with way.made(registry) as balancer:
            raised = []
            for _ in range(3):
                with contextlib.suppress(TimeoutError):
                    raised.append(await way.call(balancer, backend, idempotent=True))
            assert raised == ["answer of i3"]
            assert figures(balancer) == (1, 2, 0)
        policy = RetryPolicy(failures={"timeout"}, **NO_WAITS)
        async with way.made(registry, retry=policy) as balancer:
            for _ in range(3):
                assert await way.call(balancer, backend, idempotent=True) == "answer of i3"

    way.run(main)


@pytest.mark.parametrize(
    "error",
    [
        OursError("not known"),
        ValueError("a bug"),
        ConfigurationError("of a client within"),
        ExceptionGroup("two", [OursError("a"), OSError("b")]),
    ],
    ids=repr,
)
def test_any_other_error_is_the_callers_own(way, registry, error):
    async def main():
        backend = Backend(always=error)
        # Also where all that is an Exception counts: a wrong configuration never does.
        options = {"failures": {Exception: "unknown"}} if "of a client" in str(error) else {}
        async with way.made(registry, **options) as balancer:
            with pytest.raises(type(error)) as caught:
                await way.call(balancer, backend, idempotent=True)
            assert caught.value is error
            assert not hasattr(error, "__notes__")
            assert error.__cause__ is None
            assert error.__context__ is None
            assert len(backend.called) == 1
            assert figures(balancer) == (0, 0, 1)

    way.run(main)


def test_failures_are_named_by_class_and_the_nearest_class_counts(way, registry):
    async def main():
        policy = RetryPolicy(max_attempts=2, **NO_WAITS)
        failures = {OursError: "no_response", OursRefusedError: "refused"}
        async with way.made(registry, failures=failures, retry=policy) as balancer:
            sub = type("Sub", (OursRefusedError,), {})
            # Refused by two, and not idempotent: tried on the third.
            assert await way.call(balancer, Backend(i1=sub, i2=sub, i3=None))
            backend = Backend(always=OursError)
            with pytest.raises(OursError):
                await way.call(balancer, backend, idempotent=True)
            assert len(backend.called) == 2
            with pytest.raises(OursError):
                await way.call(balancer, Backend(always=OursError))

    way.run(main)


def test_a_mapping_that_changes_later_changes_nothing(registry):
    failures = {OursError: "no_response"}
    with make(registry, failures=failures) as balancer:
        failures[OursError] = "caller"
        with pytest.raises(OursError):
            balancer.call("orders", Backend(always=OursError))
        assert figures(balancer) == (0, 1, 0)


def test_the_usual_meaning_can_be_overridden(registry):
    failures = {OSError: "caller", ConnectionRefusedError: "unknown"}
    with make(registry, failures=failures) as balancer:
        for error, so_far in ((refused(), (0, 1, 0)), (OSError(errno.EIO, "disk"), (0, 1, 1))):
            with pytest.raises(OSError, match=r"refused|disk"):
                balancer.call("orders", Backend(always=error), idempotent=True)
            assert figures(balancer) == so_far


def test_failures_are_told_by_a_function_and_none_means_as_usual(way, registry):
    async def main():
        def failure_of(error):
            return {"busy": "no_response", "mine": "caller", "odd": "unknown"}.get(str(error))

        backend = Backend()
        async with way.made(
            registry, failures=failure_of, retry=RetryPolicy(max_attempts=2, **NO_WAITS)
        ) as balancer:
            for error, attempts, failures, cancelled in (
                (OursError("busy"), 2, 2, 0),
                (OursError("odd"), 1, 3, 0),
                (OSError("mine"), 1, 3, 1),
                (OursError("other"), 1, 3, 2),
                (ConnectionResetError("other"), 2, 5, 2),
            ):
                backend.always, backend.called = error, []
                with pytest.raises(type(error), match=str(error)):
                    await way.call(balancer, backend, idempotent=True)
                assert len(backend.called) == attempts
                assert figures(balancer) == (0, failures, cancelled)

    way.run(main)


@pytest.mark.parametrize("hedge", [None, HedgePolicy(after_s=WAIT_S)], ids=["plain", "hedged"])
def test_an_error_in_the_function_that_tells_failures_is_raised(way, registry, hedge):
    async def main():
        def failure_of(error):
            raise RuntimeError("a bug in failure_of")

        async with way.made(registry, failures=failure_of, hedge=hedge) as balancer:
            with pytest.raises(RuntimeError, match="a bug in failure_of") as caught:
                await way.call(balancer, Backend(always=OSError("gone")), idempotent=True)
            assert str(caught.value.__cause__) == "gone"
            assert figures(balancer) == (0, 0, 1)

        def again(error):
            raise error

        gone = OSError("gone")
        async with way.made(registry, failures=again, hedge=hedge) as balancer:
            with pytest.raises(OSError, match="gone") as caught:
                await way.call(balancer, Backend(always=gone), idempotent=True)
            assert caught.value is gone
            assert gone.__cause__ is None

    way.run(main)


@pytest.mark.parametrize("kind", ["no such kind", 503, True, OursError, ["refused"]], ids=repr)
@pytest.mark.parametrize("hedge", [None, HedgePolicy(after_s=WAIT_S)], ids=["plain", "hedged"])
def test_a_function_must_return_a_kind_of_failure(way, registry, hedge, kind):
    async def main():
        async with way.made(registry, failures=lambda error: kind, hedge=hedge) as balancer:
            with pytest.raises(ConfigurationError, match=r"failures returned .*no_response") as e:
                await way.call(balancer, Backend(always=OursError("gone")), idempotent=True)
            assert isinstance(e.value.__cause__, OursError)
            assert figures(balancer) == (0, 0, 1)

    way.run(main)


# -- statuses ------------------------------------------------------------------------------------


def test_a_status_counts_and_is_tried_again_on_request(way, registry):
    async def main():
        statuses = {"i1": 503, "i2": HTTPStatus.SERVICE_UNAVAILABLE, "i3": 200}
        options = {"status": lambda result: statuses[result]}
        async with way.made(registry, **options) as balancer:
            results = [await way.call(balancer, lambda each: each.id) for _ in range(6)]
            assert Counter(results) == {"i1": 2, "i2": 2, "i3": 2}
            assert figures(balancer) == (2, 4, 0)
        policy = RetryPolicy(statuses={503}, **NO_WAITS)
        async with way.made(registry, retry=policy, **options) as balancer:
            for _ in range(3):
                assert await way.call(balancer, lambda each: each.id, idempotent=True) == "i3"
            once = [await way.call(balancer, lambda each: each.id) for _ in range(3)]
            assert Counter(once) == {"i1": 1, "i2": 1, "i3": 1}  # Not idempotent.

    way.run(main)


def test_without_another_attempt_the_last_result_is_returned(way, registry):
    async def main():
        backend, policy = Backend(), RetryPolicy(max_attempts=2, statuses={429}, **NO_WAITS)
        async with way.made(registry, retry=policy, status=lambda _: 429) as balancer:
            answer = await way.call(balancer, backend, idempotent=True)
            assert (answer, len(backend.called)) == (f"answer of {backend.called[-1]}", 2)
            assert figures(balancer) == (0, 2, 0)

    way.run(main)


@pytest.mark.parametrize("status", [None, True, "503", 14, 0, 600, 200.0], ids=repr)
@pytest.mark.parametrize("hedge", [None, HedgePolicy(after_s=WAIT_S)], ids=["plain", "hedged"])
def test_a_function_must_return_a_status(way, registry, status, hedge):
    async def main():
        async with way.made(registry, status=lambda _: status, hedge=hedge) as balancer:
            with pytest.raises(ConfigurationError, match=r"status returned .*from 100 to 599"):
                await way.call(balancer, Backend(), idempotent=True)
            assert figures(balancer) == (0, 0, 1)

    way.run(main)


def test_an_error_in_the_function_that_reads_statuses_is_raised(way, registry):
    async def main():
        async with way.made(registry, status=lambda result: result.status) as balancer:
            with pytest.raises(AttributeError, match="status"):
                await way.call(balancer, Backend(), idempotent=True)
            assert figures(balancer) == (0, 0, 1)

    way.run(main)


def test_outliers_are_ejected_by_the_functions_failures(way, registry):
    async def main():
        health = HealthSettings(
            outliers=EnvoyOutliers(consecutive_failures=2, max_ejected_ratio=0.5)
        )
        backend = Backend(i1=OursError)
        async with way.made(registry, health=health, failures={OursError: "unknown"}) as balancer:
            for _ in range(12):
                with contextlib.suppress(OursError):
                    await way.call(balancer, backend)
            assert backend.called.count("i1") == 2
            assert balancer.statistics()["orders"].members["i1"].reason == "ejected"

    way.run(main)


# -- errors --------------------------------------------------------------------------------------


def test_an_error_says_which_attempts_were_made(way, registry):
    async def main():
        async with way.made(registry, retry=RetryPolicy(**NO_WAITS)) as balancer:
            errors = {
                "i1": ConnectionResetError("reset by peer"),
                "i2": EOFError(),
                "i3": OSError("x" * 5_000 + "\n  and more"),
            }
            with pytest.raises((OSError, EOFError)) as caught:
                await way.call(balancer, Backend(**errors), idempotent=True)
            (note,) = caught.value.__notes__
            for fact in ("'orders'", "3 attempts", "10.0.0.1:1", "10.0.0.1:2", "10.0.0.1:3"):
                assert fact in note
            assert "no response: reset by peer" in note
            assert "EOFError" in note
            assert len(note) < 1_000
            assert "\n" not in note
            # What was raised last, by the user's own function.
            assert caught.value in errors.values()
            assert caught.value.__cause__ is None

    way.run(main)


def test_one_attempt_leaves_no_note(way, registry):
    async def main():
        error = ConnectionResetError("gone")
        async with way.made(registry) as balancer:
            with pytest.raises(ConnectionResetError) as caught:
                await way.call(balancer, Backend(always=error))
            assert caught.value is error
            assert not hasattr(error, "__notes__")

    way.run(main)


def test_a_callers_error_after_a_failure_says_so(way, registry):
    async def main():
        wrong = OursError("wrong order")
        async with way.made(registry) as balancer:
            with pytest.raises(OursError) as caught:
                await way.call(balancer, Backend(always=wrong, i1=refused(), i2=refused()))
            assert caught.value is wrong
            notes = "".join(getattr(wrong, "__notes__", []))
            assert ("refused" in notes) == (figures(balancer)[1] > 0)

    way.run(main)


def test_without_instances_there_is_no_call(way, registry):
    async def main():
        backend = Backend()
        registry.set("orders", [])
        async with way.made(registry) as balancer:
            with pytest.raises(NoInstancesError, match="orders") as caught:
                await way.call(balancer, backend)
            assert isinstance(caught.value, PickError)
            assert backend.called == []

    way.run(main)


@pytest.mark.parametrize(
    "way", [SYNC, TRIO], ids=repr
)  # On asyncio, `send` blocks the list's loop.
def test_the_functions_error_is_the_cause_when_no_instance_is_left(way, registry):
    async def main():
        def send(instance):
            registry.set("orders", [])
            until_listed(balancer, 0)
            raise ConnectionResetError("gone")

        retry = RetryPolicy(backoff_first_s=0.001, backoff_max_s=0.001)
        async with way.made(registry, retry=retry) as balancer:
            with pytest.raises(NoInstancesError) as caught:
                await way.call(balancer, send, idempotent=True)
            assert str(caught.value.__cause__) == "gone"

    way.run(main)


def until_listed(balancer, count):
    end = threading.Event()
    for _ in range(1_000):
        if balancer.state()["orders"].instances == count:
            return
        end.wait(0.005)
    raise AssertionError("the list did not change")


def test_a_registry_that_refuses_is_an_error_of_discovery(way, registry):
    async def main():
        registry.fail(RegistryDeniedError("no rights"))
        async with way.made(registry) as balancer:
            with pytest.raises(DiscoveryError, match="no rights"):
                await way.call(balancer, Backend())
            with pytest.raises(DiscoveryError, match="no rights"):
                await way.ready(balancer, "orders")

    way.run(main)


@only_async
def test_callers_that_wait_together_get_errors_of_their_own(way):
    async def main():
        registry = FakePolledRegistry(delay_s=0.05)
        registry.fail(RegistryDeniedError("no rights"))
        errors = []

        async def one(balancer):
            with pytest.raises(DiscoveryError, match="no rights") as caught:
                await way.call(balancer, Backend())
            errors.append(caught.value)

        async with way.made(registry) as balancer, anyio.create_task_group() as group:
            for _ in range(20):
                group.start_soon(one, balancer)
        assert len({id(each) for each in errors}) == 20
        assert {each.service for each in errors} == {"orders"}
        # No caller's traceback has the frames of others.
        lengths = {len(traceback.extract_tb(each.__traceback__)) for each in errors}
        assert max(lengths) < 12

    way.run(main)


def exchanges():
    return {id(each) for each in gc.get_objects() if isinstance(each, FunctionExchange)}


def test_an_error_leaves_no_circle_of_references(way, registry):
    async def main():
        async with way.made(registry) as balancer:
            before = exchanges()
            gc.disable()
            try:
                for error in (OursError, ConnectionResetError):
                    with pytest.raises(error):
                        await way.call(balancer, Backend(always=error), idempotent=True)
                after = exchanges()
            finally:
                gc.enable()
            assert after <= before

    way.run(main)


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
