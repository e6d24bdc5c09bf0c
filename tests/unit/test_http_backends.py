"""The guards between a connect and the first byte: who answers, and what a cancelled one leaves."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import httpx
import httpx2
import pytest
import trio

from trimtab.http.backends import AsyncBackend, Backend
from trimtab.http.families import Family

FAMILIES = pytest.mark.parametrize("module", [httpx, httpx2], ids=["httpx", "httpx2"])
KINDS = pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])


class Stream:
    """A connection of either kind, which notes when it is closed."""

    def __init__(self, peer, *, is_async, tls_error=None):
        self.peer, self.is_closed, self.tls_error = peer, False, tls_error
        for name in ("read", "write"):
            setattr(self, name, lambda *_, name=name: name)
        self.close, self.aclose = self._close, _awaited(self._close)
        self.start_tls = _awaited(self._start_tls) if is_async else self._start_tls

    def get_extra_info(self, info):
        if info == "socket":
            return None
        assert info == "server_addr"
        if isinstance(self.peer, Exception):
            raise self.peer
        return self.peer

    def _close(self):
        self.is_closed = True

    def _start_tls(self, *args, **options):
        if self.tls_error:
            raise self.tls_error
        return Encrypted(args, options)


class Encrypted:
    """A connection after its TLS handshake, with what that was asked for."""

    def __init__(self, args, options):
        self.asked = args, options

    def get_extra_info(self, info):
        assert info == "socket"


def _awaited(function):
    async def awaited(*args, **options):
        return function(*args, **options)

    return awaited


def connect(module, host, stream, *, is_async, refused=("169.254.",)):
    """Connect through a backend whose network gives this stream."""
    asked = []

    def connect_tcp(host, port, **options):
        asked.append((host, port, options))
        return stream

    network = SimpleNamespace(connect_tcp=_awaited(connect_tcp) if is_async else connect_tcp)
    kind = AsyncBackend if is_async else Backend
    backend = kind(Family(module).core, refused and refusing(refused), network)
    return run(backend.connect_tcp(host=host, port=80, timeout=3)), asked


def refusing(prefix):
    reason = {True: "where clouds keep their metadata", False: None}
    return lambda address: reason[address.startswith(prefix)]


def run(made):
    return asyncio.run(made) if asyncio.iscoroutine(made) else made


@FAMILIES
@KINDS
def test_a_permitted_peer_is_spoken_to_directly(module, is_async):
    stream = Stream(("10.0.0.7", 80), is_async=is_async)
    got, asked = connect(module, "orders-1", stream, is_async=is_async)
    assert asked == [("orders-1", 80, {"timeout": 3})]
    assert (got.read, got.write) == (stream.read, stream.write)
    assert got.get_extra_info("server_addr") == ("10.0.0.7", 80)
    tls = run(got.start_tls("context", server_hostname="orders"))
    assert tls.asked == (("context",), {"server_hostname": "orders"})
    assert not stream.is_closed
    run(got.aclose() if is_async else got.close())
    assert stream.is_closed


@FAMILIES
@KINDS
def test_a_name_that_leads_to_a_refused_address_is_closed_before_a_byte_is_sent(module, is_async):
    stream = Stream(("169.254.169.254", 80), is_async=is_async)
    said = "not called: orders-1 leads to 169.254.169.254: where clouds"
    with pytest.raises(Family(module).core.ConnectError, match=said):
        connect(module, "orders-1", stream, is_async=is_async)
    assert stream.is_closed


@FAMILIES
@KINDS
def test_a_refused_address_is_not_even_connected_to(module, is_async):
    stream = Stream(None, is_async=is_async)
    with pytest.raises(Family(module).core.ConnectError, match="not called: where clouds"):
        connect(module, "169.254.169.254", stream, is_async=is_async)


@FAMILIES
@KINDS
def test_a_peer_that_has_gone_is_a_connect_error(module, is_async):
    stream = Stream(OSError(107, "not connected"), is_async=is_async)
    with pytest.raises(Family(module).core.ConnectError, match=r"orders-1.*not connected"):
        connect(module, "orders-1", stream, is_async=is_async)
    assert stream.is_closed


@FAMILIES
@KINDS
@pytest.mark.parametrize("error", [KeyboardInterrupt, asyncio.CancelledError, OSError])
def test_a_handshake_that_ends_early_closes_its_connection(module, is_async, error):
    stream = Stream(("10.0.0.7", 80), is_async=is_async, tls_error=error())
    got, _ = connect(module, "orders-1", stream, is_async=is_async)
    with pytest.raises(error):
        run(got.start_tls("context"))
    assert stream.is_closed


@FAMILIES
@KINDS
def test_without_a_policy_no_address_is_looked_at(module, is_async):
    stream = Stream(OSError(107, "not connected"), is_async=is_async)
    connect(module, "169.254.169.254", stream, is_async=is_async, refused=None)
    assert not stream.is_closed


@FAMILIES
@pytest.mark.parametrize(
    ("run", "name"),
    [(asyncio.run, "AnyIOBackend"), (lambda made: trio.run(lambda: made), "TrioBackend")],
    ids=["asyncio", "trio"],
)
def test_the_sockets_are_those_of_the_library_that_runs(module, monkeypatch, run, name):
    core, connected = Family(module).core, []

    async def connect_tcp(self, host, port, **options):
        connected.append((type(self).__name__, host, port, options))
        return Stream(None, is_async=True)

    monkeypatch.setattr(getattr(core, name), "connect_tcp", connect_tcp)
    run(AsyncBackend(core).connect_tcp("orders-1", 80, timeout=3))
    assert connected == [(name, "orders-1", 80, {"timeout": 3})]
