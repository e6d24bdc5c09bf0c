"""Fixtures for all tests: the real servers of `tests/real`, and waiting for conditions."""

from __future__ import annotations

import sys
import threading

import hypothesis
import pytest

# How long an example takes says more of the machine than of the code.
hypothesis.settings.register_profile("trimtab", deadline=None)
hypothesis.settings.load_profile("trimtab")

# Before anything imports the suites: their assertions explain themselves like those of tests.
pytest.register_assert_rewrite("trimtab.testing", "real")

from real.consul import (  # noqa: E402, F401 - fixtures
    consul,
    consul_cluster,
    guarded_consul,
    own_consul,
    second_consul,
    secure_consul,
)
from real.dns import consul_dns, dnsmasq, knot, own_knot  # noqa: E402, F401 - fixtures
from real.etcd import etcd, etcd34, etcd35, etcd_cluster, own_etcd  # noqa: E402, F401 - fixtures
from real.nginx import nginx  # noqa: E402, F401 - a fixture
from real.server import wait_until as _wait_until  # noqa: E402
from real.zookeeper import (  # noqa: E402, F401 - fixtures
    guarded_zookeeper,
    own_zookeeper,
    zookeeper,
    zookeepers,
)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items):
    """Begin with the long simulations, so that no worker ends a run alone with one of them."""
    items.sort(key=lambda item: item.get_closest_marker("untraced") is None)


@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_runtest_call(item):
    """Run long simulations without a trace function, which makes them three times as slow.

    pytest-cov's own marker does nothing in the workers of xdist: pausing their measurement takes up
    the one that was begun before.
    """
    if item.get_closest_marker("untraced") is None:
        return (yield)
    here, new_threads = sys.gettrace(), threading.gettrace()
    sys.settrace(None)
    threading.settrace(None)
    try:
        return (yield)
    finally:
        threading.settrace(new_threads)
        sys.settrace(here)


@pytest.fixture(scope="session")
def anyio_backend():
    return "asyncio"


@pytest.fixture(scope="session")
def wait_until():
    """A function that waits until `condition()` is true, and fails after `deadline_s`."""
    return _wait_until
