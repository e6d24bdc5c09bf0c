"""The contract of registries, as tests to inherit: for the built-in ones, and for yours.

Write a `RegistryHarness` for the registry, and a test class::

    class TestMyRegistry(RegistryContract, RegistrarContract):
        def harness(self):
            return MyHarness()

pytest and unittest both run it. Tests of what a registry cannot do are skipped: see the harness.
"""

# ruff: noqa: D102 - the name of a test says what it shows

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from trimtab.errors import NotRegisteredError, RegistryRequestError, RegistryUnavailableError
from trimtab.instance import Instance, Status
from trimtab.registries.protocol import Registrar, Registry
from trimtab.testing.registry_harness import Contract, RegistryHarness, clause, follow, until

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Coroutine

    from trimtab.registries.protocol import Listing

__all__ = ["RegistrarContract", "RegistryContract"]

_A = Instance(
    id="a",
    host="10.0.0.1",
    port=8001,
    weight=3,
    zone="east",
    priority=2,
    metadata={"rack": "r7"},
)
_B = Instance(id="b", host="::1", port=8002, scheme="https")
_C = Instance(id="c", host="inventory.example", port=8003, status=Status.CRITICAL)
_D = Instance(id="d", host="10.0.0.4", port=8004, status=Status.WARNING)


class RegistryContract(Contract):
    """The reading side: lists are complete and current, and failures are reported."""

    @clause
    async def test_the_first_list_comes_at_once_and_is_complete(
        self, harness: RegistryHarness, registry: Registry
    ) -> None:
        await harness.publish("orders", [_A, _B])
        for listing in (await registry.fetch("orders"), await _first(registry, "orders")):
            assert _by_id(listing) == {"a": _A, "b": _B}
            assert not listing.skipped

    @clause
    async def test_every_field_of_an_instance_is_kept(
        self, harness: RegistryHarness, registry: Registry
    ) -> None:
        await harness.publish("orders", [_A, _B, _C, _D])
        listing = await registry.fetch("orders")
        assert _by_id(listing) == {"a": _A, "b": _B, "c": _C, "d": _D}
        assert dict(_by_id(listing)["a"].metadata) == {"rack": "r7"}

    @clause
    async def test_an_instance_added_changed_and_removed_is_seen(
        self, harness: RegistryHarness, registry: Registry
    ) -> None:
        heavier = _A.with_(weight=7.0)
        for instances in ([_A], [_A, _B], [heavier, _B], [_B]):
            await harness.publish("orders", instances)
            wanted = {instance.id: instance for instance in instances}
            await until(registry, "orders", _lists(wanted), harness.deadline_s)

    @clause
    async def test_one_watch_sees_every_change(
        self, harness: RegistryHarness, registry: Registry
    ) -> None:
        await harness.publish("orders", [_A])
        async with (
            asyncio.timeout(harness.deadline_s),
            aclosing(follow(registry, "orders")) as listings,
        ):
            for instances in ([_A], [_A, _B], [_A, _B, _C], [_C], [_C, _D]):
                await harness.publish("orders", instances)
                wanted = {instance.id: instance for instance in instances}
                async for listing in listings:
                    if _by_id(listing) == wanted:
                        break

    @clause
    async def test_the_version_is_equal_while_nothing_changes(
        self, harness: RegistryHarness, registry: Registry
    ) -> None:
        await harness.publish("orders", [_A, _B])
        first, second = await registry.fetch("orders"), await registry.fetch("orders")
        assert first.version == second.version
        await harness.publish("orders", [_A])
        changed = await until(registry, "orders", _lists({"a": _A}), harness.deadline_s)
        assert changed.version != first.version

    @clause
    async def test_an_unknown_service_is_empty_or_refused(
        self, harness: RegistryHarness, registry: Registry
    ) -> None:
        await harness.publish("orders", [_A])
        if harness.unknown_is_empty:
            assert (await registry.fetch("unknown")).instances == ()
            assert (await _first(registry, "unknown")).instances == ()
            return
        for asked in (registry.fetch("unknown"), _first(registry, "unknown")):
            error = await _raised(asked)
            assert isinstance(error, RegistryRequestError), error
            assert "unknown" in str(error)

    @clause
    async def test_a_bad_entry_is_left_out_and_named(
        self, harness: RegistryHarness, registry: Registry
    ) -> None:
        await harness.publish_with_bad_entry("orders", [_A, _B])
        listing = await registry.fetch("orders")
        assert _by_id(listing) == {"a": _A, "b": _B}
        assert len(listing.skipped) == 1
        assert "orders" in listing.skipped[0]

    @clause
    async def test_the_services_are_named_in_order(
        self, harness: RegistryHarness, registry: Registry
    ) -> None:
        await harness.publish("orders", [_A])
        await harness.publish("billing", [_B])
        names = await registry.services()
        assert names == sorted(names)
        assert {"billing", "orders"} <= set(names)

    @clause
    async def test_watches_of_two_services_do_not_mix(
        self, harness: RegistryHarness, registry: Registry
    ) -> None:
        await harness.publish("orders", [_A])
        await harness.publish("billing", [_B])
        seen = [
            asyncio.create_task(
                until(registry, service, _lists({last.id: last}), harness.deadline_s)
            )
            for service, last in (("orders", _C), ("orders", _C), ("billing", _D))
        ]
        await harness.publish("orders", [_C])
        await harness.publish("billing", [_D])
        await asyncio.gather(*seen)

    @clause
    async def test_a_cancelled_watch_leaves_no_task_and_no_connection(
        self, harness: RegistryHarness, registry: Registry
    ) -> None:
        await harness.publish("orders", [_A])
        running = asyncio.Event()

        async def consume() -> None:
            async with aclosing(follow(registry, "orders")) as listings:
                async for _ in listings:
                    running.set()

        tasks = [asyncio.create_task(consume()) for _ in range(3)]
        await asyncio.wait_for(running.wait(), harness.deadline_s)
        for task in tasks:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(result, asyncio.CancelledError) for result in results), results
        assert _by_id(await registry.fetch("orders")) == {"a": _A}

    @clause
    async def test_an_outage_is_unavailable_and_ends(
        self, harness: RegistryHarness, registry: Registry
    ) -> None:
        await harness.publish("orders", [_A])
        assert _by_id(await _first(registry, "orders")) == {"a": _A}
        await harness.begin_outage()
        for asked in (registry.fetch("orders"), _first(registry, "orders")):
            error = await _raised(asked)
            assert isinstance(error, RegistryUnavailableError), error
        await harness.end_outage()
        await harness.publish("orders", [_B])
        wanted = _lists({"b": _B})
        await until(registry, "orders", wanted, harness.deadline_s, after_outage=True)

    @clause
    async def test_a_running_watch_reports_an_outage(
        self, harness: RegistryHarness, registry: Registry
    ) -> None:
        await harness.publish("orders", [_A])
        async with (
            asyncio.timeout(harness.deadline_s),
            aclosing(follow(registry, "orders")) as listings,
        ):
            await anext(listings)
            await harness.begin_outage()
            error = await _raised(_drained(listings))
        assert isinstance(error, RegistryUnavailableError), error
        await harness.end_outage()

    @clause
    async def test_equal_keys_for_the_same_registry(
        self, harness: RegistryHarness, registry: Registry
    ) -> None:
        other = harness.connect()
        assert other.key == registry.key
        assert other.url == registry.url
        await other.aclose()

    @clause
    async def test_secrets_make_keys_differ_and_are_never_shown(
        self, harness: RegistryHarness, registry: Registry
    ) -> None:
        guarded = [harness.connect(secret) for secret in ("s3cr3t-1", "s3cr3t-2")]
        assert len({registry.key, *(each.key for each in guarded)}) == 1 + len(guarded)
        for each in guarded:
            assert "s3cr3t" not in f"{each.key} {each.url} {each!r}"
            await each.aclose()

    @clause
    async def test_closing_again_does_nothing(
        self, harness: RegistryHarness, registry: Registry
    ) -> None:
        await harness.publish("orders", [_A])
        await registry.fetch("orders")
        await registry.aclose()
        await registry.aclose()


class RegistrarContract(Contract):
    """The writing side: registered instances are listed, and leases end without heartbeats."""

    @clause
    async def test_what_is_registered_is_listed_with_every_field(
        self, harness: RegistryHarness, registry: Any
    ) -> None:
        assert _is_registrar(registry)
        light = _B.with_(weight=0.25)
        none = Instance(id="z", host="10.0.0.9", port=9, weight=0, status=Status.DRAINING)
        for instance in (_A, light, none, _D):
            await registry.register("orders", instance, ttl_s=60)
        wanted = {"a": _A, "b": light, "z": none, "d": _D}
        listing = await until(registry, "orders", _lists(wanted), harness.deadline_s)
        assert dict(_by_id(listing)["a"].metadata) == {"rack": "r7"}

    @clause
    async def test_registering_again_replaces(
        self, harness: RegistryHarness, registry: Any
    ) -> None:
        await registry.register("orders", _A, ttl_s=60)
        moved = _A.with_(port=9001, weight=1.5, zone="west", priority=1)
        await registry.register("orders", moved, ttl_s=60)
        await until(registry, "orders", _lists({"a": moved}), harness.deadline_s)

    @clause
    async def test_a_lease_that_lapses_counts_until_the_instance_comes_back(
        self, harness: RegistryHarness, registry: Any
    ) -> None:
        await _lapse(harness, registry)
        if harness.lapsed_is_gone:
            error = await _raised(registry.heartbeat("orders", _A))
            assert isinstance(error, NotRegisteredError), error
            await registry.register("orders", _A, ttl_s=60)
        await registry.heartbeat("orders", _A)
        await until(registry, "orders", _lists({"a": _A}), harness.deadline_s)

    @clause
    async def test_registering_again_revives_a_lapsed_lease(
        self, harness: RegistryHarness, registry: Any
    ) -> None:
        await _lapse(harness, registry)
        await registry.register("orders", _A, ttl_s=60)
        await until(registry, "orders", _lists({"a": _A}), harness.deadline_s)

    @clause
    async def test_the_heartbeat_of_an_unknown_registration_is_an_error(
        self, harness: RegistryHarness, registry: Any
    ) -> None:
        assert harness.ttl_s > 0
        error = await _raised(registry.heartbeat("orders", _A))
        assert isinstance(error, NotRegisteredError), error

    @clause
    async def test_deregistering_removes_and_may_be_repeated(
        self, harness: RegistryHarness, registry: Any
    ) -> None:
        await registry.register("orders", _A, ttl_s=60)
        await registry.register("orders", _B, ttl_s=60)
        await until(registry, "orders", _lists({"a": _A, "b": _B}), harness.deadline_s)
        await registry.deregister("orders", _A)
        await registry.deregister("orders", _A)
        await until(registry, "orders", _lists({"b": _B}), harness.deadline_s)
        error = await _raised(registry.heartbeat("orders", _A))
        assert isinstance(error, NotRegisteredError), error

    @clause
    async def test_writing_during_an_outage_is_unavailable(
        self, harness: RegistryHarness, registry: Any
    ) -> None:
        await harness.begin_outage()
        for asked in (
            registry.register("orders", _A, ttl_s=60),
            registry.heartbeat("orders", _A),
            registry.deregister("orders", _A),
        ):
            error = await _raised(asked)
            assert isinstance(error, RegistryUnavailableError), error
        await harness.end_outage()


def _is_registrar(registry: object) -> bool:
    return isinstance(registry, Registrar)


def _by_id(listing: Listing) -> dict[str, Instance]:
    assert len({each.id for each in listing.instances}) == len(listing.instances), listing
    return {each.id: each for each in listing.instances}


def _lists(wanted: dict[str, Instance]) -> Callable[[Listing], bool]:
    return lambda listing: _by_id(listing) == wanted


async def _first(registry: Registry, service: str) -> Listing:
    async with aclosing(follow(registry, service)) as listings:
        return await anext(listings)


async def _raised(asked: Coroutine[Any, Any, object]) -> BaseException:
    (result,) = await asyncio.gather(asked, return_exceptions=True)
    assert isinstance(result, BaseException), f"raised nothing, and returned {result}"
    return result


async def _drained(listings: AsyncGenerator[Listing, None]) -> None:
    async for _ in listings:
        pass


async def _lapse(harness: RegistryHarness, registry: Any) -> None:
    """Register, wait until the lease lapses, and check that."""
    await registry.register("orders", _A, ttl_s=harness.ttl_s)
    await until(registry, "orders", _lists({"a": _A}), harness.deadline_s)
    await harness.let_lapse(registry)
    lapsed = {} if harness.lapsed_is_gone else {"a": _A.with_(status=Status.CRITICAL)}
    await until(registry, "orders", _lists(lapsed), harness.deadline_s)
