"""What the results and errors of a `Balancer`'s function mean; sync, on asyncio and on trio."""

from __future__ import annotations

import contextlib
import errno
import gc
import socket
import threading
import traceback
from collections import Counter
from http import HTTPStatus

import anyio
import anyio.lowlevel
import pytest

from calling_kit import (
    NO_WAITS,
    SYNC,
    TRIO,
    WAIT_S,
    WAYS,
    Backend,
    OursError,
    OursRefusedError,
    figures,
    listing,
    make,
    only_async,
    refused,
)
from trimtab import (
    ConfigurationError,
    DiscoveryError,
    EnvoyOutliers,
    HealthSettings,
    HedgePolicy,
    NoInstancesError,
    PickError,
    RetryPolicy,
)
from trimtab.balancing.functions import FunctionDelivery
from trimtab.errors import RegistryDeniedError
from trimtab.testing import FakePolledRegistry


@pytest.fixture(params=WAYS, ids=repr)
def way(request):
    return request.param


@pytest.fixture
def registry():
    return listing()


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


def test_failures_may_be_named_by_a_function_and_none_means_as_usual(way, registry):
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
def test_an_error_in_the_function_that_names_failures_is_raised(way, registry, hedge):
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


def deliveries():
    return {id(each) for each in gc.get_objects() if isinstance(each, FunctionDelivery)}


def test_an_error_leaves_no_circle_of_references(way, registry):
    async def main():
        async with way.made(registry) as balancer:
            before = deliveries()
            gc.disable()
            try:
                for error in (OursError, ConnectionResetError):
                    with pytest.raises(error):
                        await way.call(balancer, Backend(always=error), idempotent=True)
                after = deliveries()
            finally:
                gc.enable()
            assert after <= before

    way.run(main)


def test_a_strategy_that_would_ask_for_load_picks_without(way, registry):
    async def main():
        strategy = "least_load(ask_after_s=0.001)"
        async with way.made(registry, strategy=strategy) as balancer:
            for _ in range(3):
                assert (await way.call(balancer, Backend())).startswith("answer of")

    way.run(main)
