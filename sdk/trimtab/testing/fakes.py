"""Fakes for tests of programs that use Trimtab: a manual clock, and registries in memory."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from contextlib import contextmanager
from itertools import count
from typing import TYPE_CHECKING

from trimtab.errors import (
    ClosedError,
    ConfigurationError,
    NotRegisteredError,
    RegistryUnavailableError,
)
from trimtab.instance import Status
from trimtab.registries.protocol import Listing

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator

    from trimtab.instance import Instance

__all__ = ["FakePolledRegistry", "FakeRegistry", "ManualClock"]

_numbers = count(1)


class FakePolledRegistry:
    """An in-memory registry and registrar that can only be polled; `FakeRegistry` also pushes.

    The test controls it with `set`, `fail`, `heal` and `forget`, from any thread, and reads
    `calls` afterwards. Registrations become critical when their lease ends, on the running
    loop's clock.

    Args:
        name: part of `url`. Each object has its own `key`, even if names are equal.
        delay_s: how long every answer takes, seconds on the running loop's clock; may be changed.

    Attributes:
        calls: how often each method was called, by its name; failed calls count.
        closed: whether `aclose` was called.
    """

    def __init__(self, name: str = "test", *, delay_s: float = 0.0) -> None:
        self.url = f"fake://{name}"
        self.key = f"fake {name} {next(_numbers)}"
        self.delay_s = delay_s
        self.calls: Counter[str] = Counter()
        self.closed = False
        self._lists: dict[str, tuple[Instance, ...]] = {}
        self._skipped: dict[str, tuple[str, ...]] = {}
        self._leases: dict[tuple[str, str], tuple[float, float]] = {}
        self._error: Exception | None = None
        self._version = 1
        self._generation = 0
        self._fetched_in: dict[str, int] = {}
        self._waiters: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    # For the test.

    def set(
        self, service: str, instances: Iterable[Instance], *, skipped: Iterable[str] = ()
    ) -> None:
        """List these instances for the service from now on, and wake the watches."""
        self._lists[service] = tuple(instances)
        self._skipped[service] = tuple(skipped)
        self._changed()

    def fail(self, error: Exception | None = None) -> None:
        """Raise `error` from every call and every running watch, until `heal`."""
        self._error = error or RegistryUnavailableError(f"{self.url} is down: the test says so")
        self._wake()

    def heal(self) -> None:
        """Answer again."""
        self._error = None
        self._wake()

    def forget(self) -> None:
        """Lose everything, as a restart without a disk does; the next listing has `reset`."""
        self._lists.clear()
        self._skipped.clear()
        self._leases.clear()
        self._generation += 1
        self._version = 0
        self._changed()

    @property
    def watching(self) -> int:
        """The number of watches that wait for a change."""
        return len(self._waiters)

    # The registry protocol.

    async def fetch(self, service: str) -> Listing:
        """Return the list of the service; it is empty if it was never set."""
        await self._answer("fetch")
        known = self._fetched_in.get(service, self._generation)
        self._fetched_in[service] = self._generation
        return self._listing(service, reset=known != self._generation)

    async def services(self) -> list[str]:
        """Return the names of the services that have a list."""
        await self._answer("services")
        return sorted(self._lists)

    async def aclose(self) -> None:
        """Refuse every call from now on, and end the watches."""
        self.calls["aclose"] += 1
        self.closed = True
        self._wake()

    # The registrar protocol.

    async def register(self, service: str, instance: Instance, *, ttl_s: float) -> None:
        """List the instance with a lease of `ttl_s` seconds."""
        await self._answer("register")
        others = [each for each in self._lists.get(service, ()) if each.id != instance.id]
        self._lists[service] = (*others, instance)
        self._leases[service, instance.id] = (ttl_s, self._time() + ttl_s)
        self._changed()

    async def heartbeat(self, service: str, instance: Instance) -> None:
        """Renew the lease."""
        await self._answer("heartbeat")
        if (service, instance.id) not in self._leases:
            raise NotRegisteredError(f"{self.url}: {service}: {instance.id!r} is not registered")
        ttl_s, until = self._leases[service, instance.id]
        self._leases[service, instance.id] = (ttl_s, self._time() + ttl_s)
        if until <= self._time():
            self._changed()  # The lease had ended, and is renewed.
        else:
            self._wake()  # Watches must compute the next end of a lease anew.

    async def deregister(self, service: str, instance: Instance) -> None:
        """Remove the instance, if it exists."""
        await self._answer("deregister")
        self._leases.pop((service, instance.id), None)
        rest = tuple(each for each in self._lists.get(service, ()) if each.id != instance.id)
        if rest != self._lists.get(service, ()):
            self._lists[service] = rest
            self._changed()

    async def _answer(self, call: str) -> None:
        self.calls[call] += 1
        self._raise_if_failing()
        await asyncio.sleep(self.delay_s)
        self._raise_if_failing()

    def _raise_if_failing(self) -> None:
        if self.closed:
            raise ClosedError(f"{self.url} is closed")
        if self._error is not None:
            raise self._error

    def _listing(self, service: str, *, reset: bool = False) -> Listing:
        now = self._time()
        lapsed = {
            key[1] for key, (_, until) in self._leases.items() if key[0] == service and until <= now
        }
        return Listing(
            instances=tuple(
                each.with_(status=Status.CRITICAL) if each.id in lapsed else each
                for each in self._lists.get(service, ())
            ),
            version=f"{self._generation}.{self._version}.{len(lapsed)}",
            reset=reset,
            skipped=self._skipped.get(service, ()),
        )

    def _changed(self) -> None:
        self._version += 1
        self._wake()

    def _wake(self) -> None:
        for loop, event in tuple(self._waiters):
            if loop is _running_loop():
                event.set()
            else:
                loop.call_soon_threadsafe(event.set)

    @staticmethod
    def _time() -> float:
        return asyncio.get_running_loop().time()


class FakeRegistry(FakePolledRegistry):
    """An in-memory registry and registrar that pushes its changes.

    Use it where a test decides what the registry lists::

        registry = FakeRegistry()
        registry.set("orders", [Instance(host="10.0.0.7", port=8080)])
        registry.fail()     # an outage; `heal()` ends it
        registry.forget()   # a restart without a disk
        assert registry.calls["fetch"] == 0
    """

    async def watch(self, service: str) -> AsyncIterator[Listing]:
        """Yield the list now and after every change; raise the error given to `fail`."""
        await self._answer("watch")
        seen, generation = "", self._generation
        while True:
            self._raise_if_failing()
            with self._waiter() as event:
                listing = self._listing(service, reset=generation != self._generation)
                if listing.version != seen:
                    seen, generation = listing.version, self._generation
                    yield listing
                await self._change_or_lapse(service, event)

    @contextmanager
    def _waiter(self) -> Iterator[asyncio.Event]:
        waiter = (asyncio.get_running_loop(), asyncio.Event())
        self._waiters.append(waiter)
        try:
            yield waiter[1]
        finally:
            self._waiters.remove(waiter)

    async def _change_or_lapse(self, service: str, event: asyncio.Event) -> None:
        now = self._time()
        lapses = [
            until - now
            for key, (_, until) in self._leases.items()
            if key[0] == service and until > now
        ]
        try:
            async with asyncio.timeout(min(lapses, default=None)):
                await event.wait()
        except TimeoutError:
            return


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


class ManualClock:
    """A clock that the test moves: call it for the time, `advance` it to move it.

    Pass it as any `clock`; the test then does not depend on the machine's speed.

    Args:
        start: the first `now`, in seconds.
    """

    def __init__(self, start: float = 0.0) -> None:
        self._now = _finite("start", start)

    def __call__(self) -> float:
        """Return the present time, in seconds."""
        return self._now

    def advance(self, seconds: float) -> float:
        """Move the time by `seconds`, 0 or more, and return it.

        Raises:
            ConfigurationError: time would run backwards, or not be a finite number.
        """
        if _finite("seconds", seconds) < 0:
            raise ConfigurationError(f"a clock cannot go back by {-seconds} s")
        self._now += seconds
        return self._now


def _finite(name: str, value: float) -> float:
    if not math.isfinite(value):
        raise ConfigurationError(f"{name} is {value!r}; it must be a finite number of seconds")
    return float(value)
