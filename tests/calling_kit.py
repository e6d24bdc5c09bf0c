"""What the tests of `Balancer` share: three ways to call, and functions that are called."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
from random import Random

import anyio
import anyio.lowlevel
import pytest
import trio

from trimtab import (
    Balancer,
    DiscoverySettings,
    Instance,
)
from trimtab.testing import FakeRegistry

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


def listing():
    """Return a registry that lists three instances of "orders"."""
    registry = FakeRegistry()
    registry.set("orders", THREE)
    return registry


class AsyncCallable:
    """An object whose call is async. Its `repr` is in names of tests, and must not vary."""

    def __repr__(self):
        return "AsyncCallable()"

    async def __call__(self, instance):
        return instance.id

    async def method(self, instance):
        return instance.id


async def with_more(_item, instance, *, _more=None):
    return instance.id
