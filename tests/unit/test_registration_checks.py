"""An instance's own check at its registration, in virtual time, by either side."""

import asyncio
import logging
from itertools import pairwise
from random import Random

import pytest

from trimtab import Instance, RegistryUnavailableError, Status, register
from trimtab.check import Check
from trimtab.probing import ProbeResult
from trimtab.testing import FakePolledRegistry
from trimtab_sim.loop import run

ME = Instance(host="10.0.0.7", port=8080)
CHECK = Check(kind="http", path="/health", interval_s=5.0, timeout_s=2.0, rise=2, fall=3)


class Noting(FakePolledRegistry):
    """Notes when an instance is registered, and as what."""

    def __init__(self):
        super().__init__()
        self.registered = []

    async def register(self, service, instance, *, ttl_s):
        self.registered.append((asyncio.get_running_loop().time(), instance.status.value))
        await super().register(service, instance, ttl_s=ttl_s)

    async def status(self):
        return [each.status.value for each in (await self.fetch("orders")).instances]


class Checking(Noting):
    """Runs TCP checks by itself, as far as the registrant can tell."""

    def __init__(self):
        super().__init__()
        self.checks = []

    def can_check(self, check):
        return check.kind == "tcp"

    async def register(self, service, instance, *, ttl_s, checks=()):
        self.checks.append(checks)
        await super().register(service, instance, ttl_s=ttl_s)


class App:
    """What is probed: well, or ill, or silent; it keeps the times of all probes."""

    def __init__(self, status=Status.PASSING):
        self.status, self.probed_at = status, []

    async def carrier(self, check, instance):
        assert (check.kind, instance.id) == ("http", ME.id)
        self.probed_at.append(asyncio.get_running_loop().time())
        if self.status is None:
            await asyncio.Event().wait()
        return ProbeResult(self.status, f"it is {self.status}")


def registered(registry, app, instance=ME, **settings):
    return register(
        registry,
        "orders",
        instance,
        **{"ttl_s": 30.0, "check": CHECK, "carrier": app.carrier, "rng": Random(7), **settings},
    )


def test_a_fault_is_registered_after_fall_probes_and_the_recovery_after_rise():
    async def main():
        registry, app = Noting(), App()
        async with registered(registry, app) as registration:
            await asyncio.sleep(60)
            app.status = Status.CRITICAL
            await asyncio.sleep(60)
            assert registration.instance.status is Status.CRITICAL
            assert await registry.status() == ["critical"]
            app.status = Status.PASSING
            await asyncio.sleep(60)
            assert await registry.status() == ["passing"]
        return registry.registered, app.probed_at

    (began, ill, well), probed_at = run(main())
    assert began == (0.0, "passing")
    # One probe before it is registered, then every 5 s from anywhere in the first interval.
    assert probed_at[0] == 0.0
    assert all(b - a == pytest.approx(5.0) for a, b in pairwise(probed_at[1:]))
    assert 0 < probed_at[1] < 5.0
    first_ill = next(at for at in probed_at if at >= 60.0)
    assert ill == (pytest.approx(first_ill + 2 * 5.0), "critical")
    first_well = next(at for at in probed_at if at >= 120.0)
    assert well == (pytest.approx(first_well + 5.0), "passing")


def test_silence_is_a_fault_seen_within_the_bounds_of_the_closed_form():
    async def main():
        registry, app = Noting(), App()
        async with registered(registry, app):
            await asyncio.sleep(60)
            app.status = None
            await asyncio.sleep(60)
        return registry.registered[1]

    at, status = run(main())
    assert status == "critical"
    assert 2 * 5.0 + 2.0 <= at - 60.0 <= 3 * 5.0 + 2.0


def test_what_is_not_well_at_the_start_is_registered_as_such(caplog):
    caplog.set_level(logging.INFO, "trimtab.registration")

    async def main():
        registry, app = Noting(), App(Status.CRITICAL)
        async with registered(registry, app):
            assert await registry.status() == ["critical"]
            app.status = Status.PASSING
            await asyncio.sleep(15)
            assert await registry.status() == ["passing"]
        return app.probed_at, registry.registered

    probed_at, statuses = run(main())
    assert statuses == [(0.0, "critical"), (pytest.approx(probed_at[2]), "passing")]
    assert "instance 10.0.0.7:8080 at fake://test: now critical: it is critical" in caplog.text
    assert "now passing: it is passing" in caplog.text


def test_one_or_two_failures_are_not_believed():
    async def main():
        registry, app = Noting(), App()
        async with registered(registry, app):
            for _ in range(10):
                app.status = Status.CRITICAL
                await asyncio.sleep(9.9)
                app.status = Status.PASSING
                await asyncio.sleep(10)
        return registry.registered

    assert run(main()) == [(0.0, "passing")]


@pytest.mark.parametrize(
    ("own", "found", "shown"),
    [
        ("passing", "warning", "warning"),
        ("warning", "passing", "warning"),
        ("warning", "critical", "critical"),
        ("critical", "passing", "critical"),
        ("draining", "critical", "draining"),
    ],
)
def test_the_worse_of_what_it_says_and_what_is_found_holds(own, found, shown):
    async def main():
        registry, app = Noting(), App(Status(found))
        async with registered(registry, app, ME.with_(status=own)):
            await asyncio.sleep(60)
            return await registry.status()

    assert run(main()) == [shown]


def test_a_turn_during_an_outage_is_told_when_the_registry_is_back():
    async def main():
        registry, app = Noting(), App()
        async with registered(registry, app, ttl_s=9.0):
            registry.fail(RegistryUnavailableError("down"))
            app.status = Status.CRITICAL
            await asyncio.sleep(100)
            registry.heal()
            await asyncio.sleep(5.1)
            assert await registry.status() == ["critical"]
            registry.forget()
            await asyncio.sleep(3.1)
            assert await registry.status() == ["critical"]

    run(main())


def test_a_probe_that_raises_counts_as_a_failure():
    async def broken(check, instance):
        raise ValueError("a bug")

    async def main():
        registry, app = Noting(), App()
        async with registered(registry, app, carrier=broken):
            return await registry.status()

    assert run(main()) == ["critical"]


def test_no_probes_after_leaving():
    async def main():
        registry, app = Noting(), App()
        async with registered(registry, app):
            await asyncio.sleep(7)
        seen = len(app.probed_at)
        await asyncio.sleep(100)
        assert len(app.probed_at) == seen
        assert len(asyncio.all_tasks()) == 1

    run(main())


def test_a_registry_that_can_checks_by_itself():
    check = Check(kind="tcp")

    async def main():
        registry = Checking()

        async def carrier(check, instance):
            return ProbeResult(Status.PASSING, "")

        async with register(registry, "orders", ME, check=check, carrier=carrier, ttl_s=9.0):
            await asyncio.sleep(61)
            registry.forget()
            await asyncio.sleep(3.1)
        return registry

    registry = run(main())
    assert registry.checks == [(check,), (check,)]
    assert registry.registered == [(0.0, "passing"), (pytest.approx(63.0), "passing")]


def test_a_checking_registry_gets_the_status_of_the_first_probe_at_once():
    async def main():
        registry = Checking()

        async def carrier(check, instance):
            return ProbeResult(Status.CRITICAL, "")

        async with register(registry, "orders", ME, check=Check(kind="tcp"), carrier=carrier):
            await asyncio.sleep(1)
        return registry.registered

    # The registry keeps the status of its own check; the registration itself is fine.
    assert run(main()) == [(0.0, "critical"), (0.0, "passing")]


def test_what_such_a_registry_cannot_check_the_registrant_does():
    async def main():
        registry, app = Checking(), App()
        async with registered(registry, app):
            app.status = Status.CRITICAL
            await asyncio.sleep(60)
            assert await registry.status() == ["critical"]
        return registry.checks

    assert set(run(main())) == {()}


def test_persistent_starts_probe_again_and_keep_the_given_status():
    async def main():
        registry = Checking()
        registry.fail()
        check = Check(kind="tcp")

        async def carrier(check, instance):
            return ProbeResult(Status.CRITICAL, "")

        registration = register(registry, "orders", ME, check=check, carrier=carrier, rng=Random(1))
        starting = asyncio.create_task(registration.start_persistently())
        await asyncio.sleep(20)
        registry.heal()
        await starting
        await asyncio.sleep(1)
        await registration.stop()
        return [status for _, status in registry.registered[-2:]]

    assert run(main()) == ["critical", "passing"]
