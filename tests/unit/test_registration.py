"""Registrations in virtual time: leases kept, outages survived, clean leaving."""

import asyncio
import logging
from random import Random

import pytest

from trimtab import (
    ConfigurationError,
    Instance,
    RegistryDeniedError,
    RegistryUnavailableError,
    Status,
    register,
)
from trimtab.registries.static import StaticRegistry
from trimtab.testing import FakePolledRegistry, FakeRegistry
from trimtab_sim.loop import run

ME = Instance(host="10.0.0.7", port=8080)


class Noting(FakePolledRegistry):
    """Notes when it is called, and can hang or break in one method."""

    def __init__(self, *, hang=(), broken=(), **kwargs):
        super().__init__(**kwargs)
        self.at, self.hang, self.broken = [], set(hang), set(broken)

    async def _answer(self, call):
        self.at.append((call, asyncio.get_running_loop().time()))
        if call in self.hang:
            await asyncio.Event().wait()
        if call in self.broken:
            raise TypeError("a bug")
        await super()._answer(call)

    def times(self, call):
        return [at for name, at in self.at if name == call]


async def status(registry):
    return [each.status for each in (await registry.fetch("orders")).instances]


def test_the_lease_is_kept_at_a_third_of_the_ttl_and_the_instance_leaves():
    async def main():
        registry = Noting()
        async with register(registry, "orders", ME, ttl_s=9.0) as registration:
            assert (registration.service, registration.instance) == ("orders", ME)
            assert (await registry.fetch("orders")).instances == (ME,)
            await asyncio.sleep(31)
            assert await status(registry) == [Status.PASSING]
        assert (await registry.fetch("orders")).instances == ()
        await asyncio.sleep(60)
        return registry

    registry = run(main())
    assert registry.times("heartbeat") == [3.0 * n for n in range(1, 11)]
    assert (registry.calls["register"], registry.calls["deregister"]) == (1, 1)
    assert not registry.closed


def test_the_heartbeat_can_be_named():
    async def main():
        registry = Noting()
        async with register(registry, "orders", ME, ttl_s=10.0, heartbeat_s=2.0):
            await asyncio.sleep(5)
        return registry.times("heartbeat")

    assert run(main()) == [2.0, 4.0]


def test_a_registry_that_forgot_gets_a_new_registration(caplog):
    async def main():
        registry = Noting()
        async with register(registry, "orders", ME, ttl_s=9.0):
            await asyncio.sleep(1)
            registry.forget()
            await asyncio.sleep(2.5)
            assert await status(registry) == [Status.PASSING]
            await asyncio.sleep(10)
            assert registry.calls["register"] == 2

    run(main())
    assert "forgotten by the registry" in caplog.text


def test_an_outage_is_survived_and_logged_once(caplog):
    async def main():
        registry = Noting()
        async with register(registry, "orders", ME, ttl_s=9.0, rng=Random(1)):
            registry.fail()
            await asyncio.sleep(300)
            assert await_lapse(registry)
            registry.forget()
            registry.heal()
            await asyncio.sleep(5.1)
            assert await status(registry) == [Status.PASSING]
            before = len(registry.times("heartbeat"))
            await asyncio.sleep(30)
            assert len(registry.times("heartbeat")) - before == 10  # the usual pace again
        return registry

    def await_lapse(registry):
        return 50 < len(registry.times("heartbeat")) < 400

    run(main())
    assert caplog.text.count("trying again") == 1


def test_a_heartbeat_that_hangs_once_does_not_cost_the_lease():
    async def main():
        registry = Noting()
        async with register(registry, "orders", ME, ttl_s=9.0, rng=Random(1)):
            await asyncio.sleep(1)
            registry.hang.add("heartbeat")
            await asyncio.sleep(3)
            registry.hang.clear()
            for _ in range(100):
                await asyncio.sleep(0.1)
                assert await status(registry) == [Status.PASSING]

    run(main())


def test_a_bug_in_the_registry_is_logged_and_survived(caplog):
    async def main():
        registry = Noting(broken=["heartbeat"])
        async with register(registry, "orders", ME, ttl_s=9.0):
            await asyncio.sleep(20)
            registry.broken.clear()
            await asyncio.sleep(9)
            assert await status(registry) == [Status.PASSING]

    run(main())
    assert "TypeError: a bug" in caplog.text


@pytest.mark.parametrize("trouble", ["down", "hanging", "broken", "closed"])
def test_leaving_is_bounded_when_the_registry_fails_or_hangs(trouble, caplog, monkeypatch):
    made = Noting()
    monkeypatch.setattr("trimtab.registration.registration.connect", lambda url: made)

    async def main():
        async with register("fake://test", "orders", ME, ttl_s=9.0):
            await asyncio.sleep(1)
            if trouble == "down":
                made.fail()
            elif trouble == "hanging":
                made.hang.add("deregister")
            elif trouble == "broken":
                made.broken.add("deregister")
            else:
                await made.aclose()
            left_at = asyncio.get_running_loop().time()
        return asyncio.get_running_loop().time() - left_at

    assert run(main()) <= 9.0
    assert made.closed
    assert "deregistration failed" in caplog.text


def test_leaving_waits_drain_s():
    async def main():
        registry = Noting()
        async with register(registry, "orders", ME, ttl_s=9.0, drain_s=4.0):
            await asyncio.sleep(10)
        return registry, asyncio.get_running_loop().time()

    registry, left_at = run(main())
    assert (registry.times("deregister"), left_at) == ([10.0], 14.0)
    assert registry.times("heartbeat")[-1] < 10.0, "a heartbeat would register it again"


def test_leaving_passes_on_an_error_of_the_block():
    async def main():
        registry = Noting()
        with pytest.raises(KeyError):
            async with register(registry, "orders", ME):
                raise KeyError("of the block")
        assert registry.calls["deregister"] == 1

    run(main())


@pytest.mark.parametrize("error", [RegistryUnavailableError("later"), RegistryDeniedError("no")])
def test_a_start_that_fails_raises_and_closes_what_was_made(error, monkeypatch):
    made = Noting()
    made.fail(error)
    monkeypatch.setattr("trimtab.registration.registration.connect", lambda url: made)

    async def main():
        with pytest.raises(type(error)):
            async with register("fake://test", "orders", ME):
                raise AssertionError("not reached")

    run(main())
    assert made.closed
    assert made.calls["deregister"] == 0


def test_a_start_that_hangs_ends_with_an_error():
    async def main():
        with pytest.raises(RegistryUnavailableError, match="no answer within 10 s"):
            await register(Noting(hang=["register"]), "orders", ME, ttl_s=3.0).start()
        return asyncio.get_running_loop().time()

    assert run(main()) == 10.0


def test_a_persistent_start_waits_for_the_registry_and_keeps_it_open(monkeypatch):
    made = Noting()
    made.fail()
    monkeypatch.setattr("trimtab.registration.registration.connect", lambda url: made)

    async def main():
        asyncio.get_running_loop().call_later(30.0, made.heal)
        registration = register("fake://test", "orders", ME, ttl_s=9.0)
        await registration.start_persistently()
        assert 30 <= asyncio.get_running_loop().time() <= 35
        assert not made.closed
        await asyncio.sleep(20)
        assert await status(made) == [Status.PASSING]
        await registration.stop()
        await registration.stop()  # again: nothing

    run(main())
    assert made.closed


def test_a_persistent_start_fails_if_the_registry_refuses(monkeypatch):
    made = Noting()
    made.fail(RegistryDeniedError("no"))
    monkeypatch.setattr("trimtab.registration.registration.connect", lambda url: made)

    async def main():
        with pytest.raises(RegistryDeniedError):
            await register("fake://test", "orders", ME).start_persistently()

    run(main())
    assert made.closed


def test_an_abandoned_registration_lapses():
    async def main():
        registry = Noting()
        registration = register(registry, "orders", ME, ttl_s=9.0)
        await registration.start()
        registration.abandon()
        registration.abandon()
        await asyncio.sleep(9.1)
        assert await status(registry) == [Status.CRITICAL]
        await registration.stop()
        assert registry.calls["deregister"] == 0

    run(main())


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"ttl_s": 0}, "ttl_s is 0"),
        ({"ttl_s": -1}, "ttl_s is -1"),
        ({"ttl_s": float("inf")}, "ttl_s is inf"),
        ({"ttl_s": float("nan")}, "ttl_s is nan"),
        ({"heartbeat_s": 0}, "heartbeat_s is 0"),
        ({"heartbeat_s": 10}, "heartbeat_s is 10"),
        ({"drain_s": -1}, "drain_s is -1"),
        ({"drain_s": float("inf")}, "drain_s is inf"),
    ],
)
def test_intervals_out_of_range_are_refused_by_name(wrong, said):
    with pytest.raises(ConfigurationError, match=said):
        register(FakeRegistry(), "orders", ME, **wrong)


def test_a_registry_that_cannot_be_written_to_is_refused():
    with pytest.raises(ConfigurationError, match="cannot be written to"):
        register(StaticRegistry([ME]), "orders", ME)
    with pytest.raises(ConfigurationError, match="static://a:1 cannot be written to"):
        register("static://a:1", "orders", ME)


def test_synchronous_programs_use_a_plain_with(wait_until, caplog):
    registry = FakeRegistry()
    with caplog.at_level(logging.WARNING), register(registry, "orders", ME, ttl_s=0.3):
        assert registry._lists["orders"] == (ME,)
        wait_until(lambda: registry.calls["heartbeat"] >= 2)
    assert registry._lists["orders"] == ()
    registry.fail(RegistryDeniedError("no"))
    with pytest.raises(RegistryDeniedError), register(registry, "orders", ME):
        raise AssertionError("not reached")


def test_its_repr_names_service_instance_registry_and_status_without_secrets():
    async def main():
        registration = register("consul://127.0.0.1:1?token=hunter2", "orders", ME)
        registry = FakePolledRegistry()
        async with register(registry, "orders", ME) as open_one:
            return repr(registration), repr(open_one)

    closed, opened = run(main())
    assert "hunter2" not in closed
    for text, state in ((closed, "closed"), (opened, "open")):
        assert text.startswith(f"<Registration of service 'orders', instance {ME.id} at ")
        assert text.endswith(f", passing, {state}>")
