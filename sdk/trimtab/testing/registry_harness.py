"""What a registry's contract needs to act on the registry under test."""

from __future__ import annotations

import asyncio
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING, Any, cast
from unittest import SkipTest

from trimtab.errors import RegistryUnavailableError
from trimtab.registries.protocol import Registry, WatchableRegistry

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable

    from trimtab.instance import Instance
    from trimtab.registries.protocol import Listing

__all__ = ["Contract", "RegistryHarness", "clause", "follow", "until"]

_POLL_S = 0.02


class RegistryHarness:
    """Let the contract act on the registry under test; override what it can do.

    Attributes:
        unknown_is_empty: whether a service never heard of is an empty list; else it is a
            RegistryRequestError.
        lapsed_is_gone: whether a registration whose lease has lapsed is removed; else it is
            listed as critical.
        ttl_s: the shortest lease that the registry keeps reliably.
        deadline_s: how long the contract waits for what must happen.
    """

    unknown_is_empty = True
    lapsed_is_gone = False
    ttl_s = 1.0
    deadline_s = 60.0

    def connect(self, secret: str | None = None) -> Registry:
        """Make a new adapter object; skip (`raise SkipTest`) if there are no secrets."""
        raise NotImplementedError(f"connect with secret={secret!r}")

    async def start(self) -> None:
        """Make ready, on the test's loop."""

    async def stop(self) -> None:
        """Clean up."""

    async def publish(self, service: str, instances: Iterable[Instance]) -> None:
        """Make the registry list exactly these, by other means than the adapter."""
        raise NotImplementedError(f"list {instances!r} for {service!r}")

    async def publish_with_bad_entry(self, service: str, instances: Iterable[Instance]) -> None:
        """List these and one entry that makes no instance."""
        raise SkipTest(f"this registry holds no bad entries: {service}, {instances}")

    async def let_lapse(self, registry: Registry) -> None:
        """Hasten the end of a lease of `ttl_s` that nobody renews, where waiting is too long."""

    async def begin_outage(self) -> None:
        """Make the registry unreachable."""
        raise SkipTest("this registry is never unreachable")

    async def end_outage(self) -> None:
        """Make it reachable again; it may have forgotten all."""

    def connections(self) -> int:
        """Count the connections that this process has to the registry."""
        return 0


async def follow(registry: Registry, service: str) -> AsyncGenerator[Listing, None]:
    """Yield listings as they come: pushed if the registry can, else polled."""
    if isinstance(registry, WatchableRegistry):
        watch = cast("AsyncGenerator[Listing, None]", registry.watch(service))
        async with aclosing(watch):
            async for listing in watch:
                yield listing
    while True:
        yield await registry.fetch(service)
        await asyncio.sleep(_POLL_S)


async def until(
    registry: Registry,
    service: str,
    condition: Callable[[Listing], bool],
    deadline_s: float,
    *,
    after_outage: bool = False,
) -> Listing:
    """Follow a service until a listing meets the condition, and give that listing.

    Args:
        registry: the adapter.
        service: its name.
        condition: what the listing must meet.
        deadline_s: how long to wait for it.
        after_outage: ask again when the registry is unavailable, as clients do while it starts.

    Raises:
        AssertionError: no listing met it in time; the message has the last one.
    """
    last: Listing | RegistryUnavailableError | None = None
    with suppress(TimeoutError):
        async with asyncio.timeout(deadline_s):
            while True:
                try:
                    async with aclosing(follow(registry, service)) as listings:
                        async for listing in listings:
                            last = listing
                            if condition(listing):
                                return listing
                except RegistryUnavailableError as error:
                    if not after_outage:
                        raise
                    last = error
                    await asyncio.sleep(_POLL_S)
    raise AssertionError(f"not within {deadline_s:g} s; the last answer was {last}")


class Contract:
    """Runs each clause on a loop of its own, and checks that nothing is left running."""

    def harness(self) -> RegistryHarness:
        """Make the harness of one test."""
        raise NotImplementedError


def clause(
    test: Callable[[Any, RegistryHarness, Any], Coroutine[Any, Any, None]],
) -> Callable[[Any], None]:
    """Make a plain test method of a coroutine that asks for a harness and a registry."""

    def run(self: Contract) -> None:
        asyncio.run(_run(test, self))

    # Not functools.wraps: pytest would take the inner arguments for fixtures.
    run.__name__, run.__doc__ = test.__name__, test.__doc__
    return run


async def _run(test: Any, contract: Contract) -> None:
    harness = contract.harness()
    await harness.start()
    try:
        registry = harness.connect()
        try:
            await test(contract, harness, registry)
        finally:
            await registry.aclose()
        await _nothing_is_left(harness)
    finally:
        await harness.stop()


async def _nothing_is_left(harness: RegistryHarness) -> None:
    def left() -> list[str]:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        return sorted(str(task) for task in others) + ["connection"] * harness.connections()

    try:
        async with asyncio.timeout(harness.deadline_s):
            while left():  # noqa: ASYNC110 - servers notice a closed connection unannounced
                await asyncio.sleep(_POLL_S)
    except TimeoutError:
        raise AssertionError(f"still there after the registry was closed: {left()}") from None
