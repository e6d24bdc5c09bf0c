"""Synchronous calls that break off at any of their steps, by an error or by Ctrl-C: no leaks."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from random import Random

import h11
import httpx
import httpx2
import pytest

from trimtab import BalancedTransport, DiscoverySettings, Instance, RetryPolicy
from trimtab.http.families import Family
from trimtab.http.making import Maker
from trimtab.testing import FakeRegistry

INSTANCES = [
    Instance(host=f"10.0.0.{number}", port=80, scheme=("http", "https")[number % 2])
    for number in range(1, 5)
]
POINTS = 500
LAST_STEP = 16
ERRORS = ["ConnectTimeout", "ReadTimeout", "ReadError", "WriteError", KeyboardInterrupt, OSError]


class Network:
    """Servers in memory; the step that the test has named fails.

    Attributes:
        open: the connections that no client has closed yet.
        steps: how many steps are left until one fails.
    """

    def __init__(self, core, rng):
        self.core, self.rng = core, rng
        self.open, self.steps, self.error = [], 0, None
        self.failed = Counter()

    def step(self):
        self.steps -= 1
        if self.steps == 0:
            error = self.error
            self.failed[error if isinstance(error, str) else error.__name__] += 1
            raise getattr(self.core, error) if isinstance(error, str) else error

    def connect_tcp(self, host, port, **_options):
        self.step()
        connection = Connection(self, (host, port))
        self.open.append(connection)
        return connection


class Connection:
    def __init__(self, network, peer):
        self._network, self._peer = network, peer
        self._http, self._inbox = h11.Connection(h11.SERVER), []

    def start_tls(self, *_args, **_options):
        self._network.step()
        return self

    def write(self, buffer, timeout=None):
        self._network.step()
        if buffer:
            self._http.receive_data(buffer)
            while not isinstance(event := self._http.next_event(), type):
                if isinstance(event, h11.EndOfMessage):
                    self._answer()
                    return

    def read(self, max_bytes, timeout=None):
        self._network.step()
        # After a failed write there is nothing to come.
        return self._inbox.pop(0) if self._inbox else b""

    def close(self):
        if self in self._network.open:
            self._network.open.remove(self)
        if not isinstance(self._network.error, str):  # httpcore's own come from other calls
            self._network.step()

    def get_extra_info(self, info):
        if info == "server_addr":
            return self._peer
        return bool(self._inbox) if info == "is_readable" else None

    def _answer(self):
        http = self._http
        status = self._network.rng.choice([200, 200, 503])
        head = h11.Response(status_code=status, headers=[("content-length", "2")])
        self._inbox += [http.send(head), http.send(h11.Data(b"o")), http.send(h11.Data(b"k"))]
        self._inbox[-1] += http.send(h11.EndOfMessage())
        http.start_next_cycle()


class Program:
    def __init__(self, module):
        self.rng, self.family = Random(1), Family(module)
        self.network = Network(self.family.core, self.rng)
        limits = module.Limits(keepalive_expiry=None)
        self._maker = Maker(limits=limits, trust_env=False, network=self.network)
        registry = FakeRegistry()
        registry.set("orders", INSTANCES)
        self.transport = BalancedTransport(
            registry,
            inner=self._inner,
            discovery=DiscoverySettings(grace_s=0),
            retry=RetryPolicy(statuses={503}, backoff_first_s=1e-4, backoff_max_s=1e-4),
            rng=self.rng,
        )
        self.client = module.Client(transport=self.transport, trust_env=False)

    def _inner(self, instance):
        return self._maker.make(self.family, instance, is_async=False)

    def request(self):
        kind = self.rng.randrange(3)
        if kind == 0:
            self.client.post("http://orders/", content=b"parcel")
        elif kind == 1:
            self.client.get("http://orders/")
        else:
            with self.client.stream("GET", "http://orders/") as response:
                for _ in response.iter_raw():
                    self.network.step()

    def check(self):
        figures = self.transport.statistics()["orders"]
        assert figures.in_flight == 0
        for member in figures.members.values():
            assert member.picks == member.successes + member.failures + member.cancelled
        (side,) = self.transport._sides()
        assert side.connections.in_use == 0
        transports = [inner.transport for inner in side.connections._inner.values()]
        assert all(each.is_quiet for each in transports)
        pools = [pool for each in transports for pool in each._pools()]
        for pool in pools:
            assert pool._requests == []
            assert all(each.is_idle() or each.is_closed() for each in pool.connections), pool
        kept = sum(not each.is_closed() for pool in pools for each in pool.connections)
        assert len(self.network.open) == kept


@pytest.mark.parametrize("module", [httpx, httpx2], ids=["httpx", "httpx2"])
def test_broken_off_at_any_step_a_call_leaves_nothing_behind(module):
    program = Program(module)
    network, core = program.network, program.network.core
    expected = (module.TransportError, core.NetworkError, core.TimeoutException)
    with program.client:
        while network.failed.total() < POINTS:
            network.steps = program.rng.randrange(1, LAST_STEP)
            network.error = program.rng.choice(ERRORS)
            with suppress(*expected, KeyboardInterrupt, OSError):
                program.request()
            network.steps = 0
            program.check()
    assert network.open == []
    assert len(network.failed) == len(ERRORS)
